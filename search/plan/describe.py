"""The plan in words: what `--dry-run` prints, and the report repeats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from frostline.search.plan import forecast as forecasts
from frostline.search.plan.budget import COMPANIONS, FEWEST, STEPS, worst_case_epochs
from frostline.search.plan.plan import Plan
from frostline.search.words import duration, plural
from frostline.spaces import Budget
from frostline.trainables._baseline import SECONDS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """The plan as pairs of a label and a text; several lines may have one label."""
    time = [("time", text)] if (text := time_line(plan)) else []
    return [*_searched(plan), *_data(plan), *_parameters(plan), *_trials(plan), *time, *_safety(plan)]


def time_line(plan: Plan) -> str:
    """How long the search takes, and what it costs; empty if that is not known."""
    expected, budget = forecasts.forecast(plan), plan.budget
    seconds = expected.search if expected else budget.seconds
    if seconds is None:
        return ""
    about = "" if budget.trials is None else "about "
    parts = [f"{about}{duration(seconds)} in all"]
    if expected:
        low, high = duration(expected.shortest), duration(expected.longest)
        parts.append(f"a trial that is trained whole takes about {low if low == high else f'{low} to {high}'}")
    if budget.trials is None:
        parts.append("--time-budget gives more or less")
    gpus = plan.resources.need.gpus * plan.resources.need.workers * plan.resources.slots
    hours = seconds / 3600 * (gpus or 1)
    if gpus:
        parts.append(f"{hours:.3g} GPU hours")
    if (price := plan.resources.price_per_hour) is not None:
        parts.append(f"it costs {hours * price:.2f} at {price:g} an hour")
    return "; ".join(parts)


def _searched(plan: Plan) -> list[tuple[str, str]]:
    search = plan.search
    family = search.base.family
    metric = f"validation {search.metric.name}, {search.metric.better} is better"
    return [
        ("space", f"{search.space} ({family}), metric: {metric}"),
        ("profile", f"{search.profile}: {search.profile_reason}"),
        *(
            (
                "model",
                f"{name}: {model.parameters / 1e6:.1f} M parameters, {model.blocks} blocks and a head; {model.inputs}",
            )
            for name, model in search.models.items()
        ),
    ]


def _data(plan: Plan) -> list[tuple[str, str]]:
    data, given = plan.data, plan.search.base.data
    beside = {"validation": given.validation_source, "test": given.test_source}
    source = given.source + "".join(f", {split} {place}" for split, place in beside.items() if place is not None)
    groups = f"; rows of one {given.group!r} in one slice" if given.group else ""
    line = f"{source}: {rows_line(plan)}; {len(data.classes)} classes{groups}; fingerprint {data.fingerprint[:12]}"
    return [("data", line), *(("data", remark) for remark in data.remarks)]


def rows_line(plan: Plan) -> str:
    """Rows that were read, left out and why, in each slice, and not used."""
    data = plan.data
    left_out = data.rows_left_out if data.rows_read else {"duplicates": data.duplicates}
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    parts = [
        f"{data.rows_read:,} rows read" if data.rows_read else "",
        f"{sum(left_out.values()):,} left out ({reasons})" if left_out else "",
        ", ".join(f"{size:,} {split}" for split, size in data.sizes.items()),
        f"{data.rows_unused:,} not used{_why_unused(plan)}" if data.rows_unused else "",
    ]
    return "; ".join(filter(None, parts))


def _why_unused(plan: Plan) -> str:
    data = plan.search.base.data
    if data.most is None:
        return f" by the profile {plan.search.profile}"
    return "" if data.train is None else f" (--train-rows {data.train})"


def _parameters(plan: Plan) -> list[tuple[str, str]]:
    ranges = [("parameter", f"{name}: {_range(values)}") for name, values in plan.search.distributions.items()]
    recipes = []
    for label, recipe in plan.search.recipes.items():
        values = ", ".join(f"{name} {value}" for name, value in plan.complete(recipe).items())
        recipes.append(("tried first", f"{label}: {values}"))
    return [*ranges, *recipes]


def _trials(plan: Plan) -> list[tuple[str, str]]:
    budget, resources = plan.budget, plan.resources
    examples = math.ceil(plan.data.sizes["train"] * budget.epochs)
    expected = plan.schedule.expected
    about = "" if expected is None else f"; about {plural(expected, 'training')} fit into the time"
    threads = f"{resources.threads} thread{'s' * (resources.threads > 1)}"
    return [
        ("trials", f"{limit(budget)}, of up to {epochs(budget.epochs)} ({examples} examples){about}"),
        ("rungs", f"{_rungs(plan)}; measured after {', '.join(_measured(plan))} epochs"),
        ("at once", f"{resources.slots} trials: {resources.slots_reason}"),
        ("each trial", f"{resources.need} on {resources.device}, {threads}"),
        *([] if budget.trials is None else [("epochs", _epochs(budget.trials, plan))]),
        ("confirm", _confirmation(budget, plan.search.prefer)),
        *([("baseline", text)] if (text := _baseline(plan)) else []),
    ]


def _safety(plan: Plan) -> list[tuple[str, str]]:
    resources, wandb = plan.resources, plan.wandb
    upload = "; the winner's model is uploaded" if wandb.artifact else ""
    return [
        (
            "safety",
            f"a snapshot of each trial every {resources.checkpoint_every:g} s; "
            f"a trial whose process dies goes on from it, up to {resources.retries} times",
        ),
        ("disk", f"at most {resources.disk / 1e6:.0f} MB in {plan.place}"),
        *(("cache", text) for text in _prefix(plan)),
        ("wandb", f"{wandb.mode}: {wandb.reason}{upload}"),
        ("seed", str(plan.search.seed)),
    ]


def _prefix(plan: Plan) -> list[str]:
    """Which outputs of frozen blocks the prefix cache keeps, one line per model."""
    lines = []
    for name, model in plan.search.models.items():
        decision, prefix = model.prefix, f"{name}: " if len(plan.search.models) > 1 else ""
        if not decision.kept:
            lines.append(f"{prefix}no outputs of frozen blocks are kept: it would not save time, or it is off")
            continue
        stored = {depth: ["first token"] for depth in decision.first_only}
        stored.setdefault(decision.kept[-1], []).extend(decision.pooled)
        depths = ", ".join(
            f"{depth} ({', '.join(stored[depth])})" if stored.get(depth) else str(depth) for depth in decision.kept
        )
        lines.append(
            f"{prefix}the outputs of the first {depths} blocks are kept, {model.cache_dtype}, "
            f"{decision.bytes / 1e6:.0f} MB (limit {plan.resources.cache_limit / 1e9:.1f} GB): "
            f"about {decision.spent:.0f} s once, to save about {decision.saved:.0f} s"
        )
    return lines


def _rungs(plan: Plan) -> str:
    """Where a trial may stop, and what decides it."""
    rungs, budget = plan.schedule.rungs, plan.budget
    if not rungs:
        few = budget.trials is not None and budget.trials < FEWEST and budget.first_rung < budget.epochs
        return "none: every trial trains to its end" + f" (there are fewer than {FEWEST})" * few
    where = ", ".join(f"{rung:g}" for rung in rungs)
    return (
        f"after {where} epoch{'s' * (where != '1')} a trial stops if a new one promises twice as much a second, by "
        f"what the trials that trained to their end had shown there; not before {COMPANIONS} of them, {STEPS} steps "
        "and its warm-up"
    )


def _measured(plan: Plan) -> list[str]:
    """Epochs of each report, with its number of validation examples where that is not all of them."""
    total = plan.data.sizes["validation"]
    return [
        f"{epoch:g}" + (f" (on {count} of {total} examples)" if count < total else "")
        for epoch, count in zip(plan.schedule.report_at, plan.schedule.validate_on, strict=True)
    ]


def epochs(count: float) -> str:
    """A number of epochs, in words."""
    return f"{count:g} epoch{'s' * (count != 1)}"


def limit(budget: Budget) -> str:
    """The number of trials, or the time for them, in words."""
    limits = [] if budget.trials is None else [str(budget.trials)]
    if budget.seconds is not None:
        limits.append(f"as many as fit into {duration(budget.seconds)}")
    return ", or ".join(limits)


def _epochs(trials: int, plan: Plan) -> str:
    fewer = "; fewer where trials are stopped at a rung" if plan.schedule.rungs else ""
    return f"at worst {worst_case_epochs(trials, plan.budget):g}{fewer}"


def _confirmation(budget: Budget, prefer: str) -> str:
    recipes, seeds = budget.confirm_recipes, budget.confirm_seeds
    if not (recipes and seeds):
        return "off: the best trial wins without being trained again"
    most = recipes * seeds
    if recipes == 1:
        return f"the best recipe again, with {plural(seeds, 'fresh seed')}: at most {epochs(most * budget.epochs)}"
    offered = "; the cheapest of tied recipes is exported" if prefer == "cheapest" else ""
    return (
        f"the best recipes again with fresh seeds, {recipes} at most, until one of them wins, or {most} times: at most "
        f"{epochs(most * budget.epochs)}{offered}"
    )


def _baseline(plan: Plan) -> str:
    """The simple model beside the search; empty if there is none."""
    if not (name := plan.search.baseline):
        return ""
    return f"{name}, trained on the same rows beside the trials, in {SECONDS} s at most; the result compares the winner"


def _range(distribution: BaseDistribution) -> str:
    choices = getattr(distribution, "choices", None)
    if choices and distribution.single():
        return f"{choices[0]}, fixed"
    if choices:
        return "one of " + ", ".join(map(str, choices))
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    return f"{low:g} to {high:g}" + (", log" if getattr(distribution, "log", False) else "")
