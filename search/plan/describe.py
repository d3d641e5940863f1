"""The plan in words: what `--dry-run` prints, and the report repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frostline.search.plan.budget import expected_epochs, worst_case_epochs
from frostline.search.plan.plan import Plan
from frostline.spaces import Budget

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """The plan as labelled lines, for `--dry-run`."""
    budget, data, base = plan.budget, plan.search.base.data, plan.search.base
    rows = [
        ("space", f"{plan.search.space} ({base.family}), metric: validation {plan.search.metric.name}"),
        ("profile", f"{plan.search.profile}: {plan.search.profile_reason}"),
        *(
            (
                "model",
                f"{name}: {model.parameters / 1e6:.1f} M parameters, {model.blocks} blocks and a head; {model.inputs}",
            )
            for name, model in plan.search.models.items()
        ),
        (
            "data",
            f"{data.source}: {', '.join(f'{size} {split}' for split, size in plan.data.sizes.items())}; "
            f"{len(plan.data.classes)} classes; {plan.data.duplicates} duplicate rows left out; "
            f"fingerprint {plan.data.fingerprint[:12]}",
        ),
        *(("data", remark) for remark in plan.data.remarks),
    ]
    rows += [("parameter", f"{name}: {_range(d)}") for name, d in plan.search.distributions.items()]
    rows += [
        ("tried first", f"{label}: " + ", ".join(f"{k} {v}" for k, v in plan.complete(recipe).items()))
        for label, recipe in plan.search.recipes.items()
    ]
    resources = plan.resources
    stops = ", ".join(f"{rung:g}" for rung in plan.schedule.rungs) or "none"
    rows += [
        (
            "trials",
            f"{limit(budget)}, of up to {budget.epochs} epochs ({plan.data.sizes['train'] * budget.epochs} examples)",
        ),
        (
            "rungs",
            f"after {stops} epochs; about one trial in {budget.reduction_factor:g} goes on (ASHA); "
            f"measured after {', '.join(_measured(plan))} epochs",
        ),
        ("at once", f"{plan.resources.slots} trials: {plan.resources.slots_reason}"),
        (
            "each trial",
            f"{resources.need} on {resources.device}, {resources.threads} thread{'s' * (resources.threads > 1)}",
        ),
        *([] if budget.trials is None else [("epochs", _epochs(budget.trials, budget))]),
        ("confirm", _confirmation(budget)),
        (
            "safety",
            f"a snapshot of each trial every {plan.resources.checkpoint_every:g} s; "
            f"a trial whose process dies goes on from it, up to {plan.resources.retries} times",
        ),
        ("disk", f"at most {plan.resources.disk / 1e6:.0f} MB in {plan.place}"),
        *(("cache", text) for text in _prefix(plan)),
        (
            "wandb",
            f"{plan.wandb.mode}: {plan.wandb.reason}"
            + ("; the winner's model goes up too" if plan.wandb.artifact else ""),
        ),
        ("seed", str(plan.search.seed)),
    ]
    return rows


def _prefix(plan: Plan) -> list[str]:
    """What is kept of frozen blocks' outputs, a line a model."""
    lines = []
    for name, model in plan.search.models.items():
        found, of = model.prefix, f"{name}: " if len(plan.search.models) > 1 else ""
        if not found.kept:
            nothing = "nothing is kept of what frozen blocks put out: no pass over the data would pay, or it is off"
            lines.append(f"{of}{nothing}")
            continue
        depths = ", ".join(f"{depth}{' (first token)' if depth in found.first_only else ''}" for depth in found.kept)
        lines.append(
            f"{of}the outputs of the first {depths} blocks are kept, {model.cache_dtype}, {found.bytes / 1e6:.0f} MB "
            f"(limit {plan.resources.cache_limit / 1e9:.1f} GB): about {found.spent:.0f} s once, "
            f"to save about {found.saved:.0f} s"
        )
    return lines


def _measured(plan: Plan) -> list[str]:
    """Epochs of each report, and how much of the validation slice it looks at where that is not all."""
    whole = plan.data.sizes["validation"]
    return [
        f"{at:g}" + (f" (on {look} of {whole} examples)" if look < whole else "")
        for at, look in zip(plan.schedule.report_at, plan.schedule.validate_on, strict=True)
    ]


def limit(budget: Budget) -> str:
    """How many trials, in words."""
    limits = [] if budget.trials is None else [str(budget.trials)]
    if budget.seconds is not None:
        limits.append(f"{'as many as' if budget.trials is None else 'those that'} fit into {budget.seconds / 60:g} min")
    return ", ".join(limits)


def _epochs(trials: int, budget: Budget) -> str:
    worst, expected = worst_case_epochs(trials, budget), expected_epochs(trials, budget)
    return f"at worst {worst:g}, about {expected:g} if every rung halts its share"


def _confirmation(budget: Budget) -> str:
    recipes, seeds = budget.confirm_recipes, budget.confirm_seeds
    if not (recipes and seeds):
        return "off: the best trial wins as it is"
    epochs = recipes * seeds * budget.epochs
    return f"the best {recipes} recipes again, with {seeds} fresh seeds each: at most {epochs} epochs"


def _range(distribution: BaseDistribution) -> str:
    choices = getattr(distribution, "choices", None)
    if choices:
        return "one of " + ", ".join(map(str, choices))
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    return f"{low:g} to {high:g}" + (", log" if getattr(distribution, "log", False) else "")
