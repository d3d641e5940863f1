"""What people and programs read: the plan's lines, `summary.json`, the closing table, the model card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from frostline.search.ledger import confirm
from frostline.search.plan.budget import expected_epochs, worst_case_epochs
from frostline.search.plan.plan import Plan, versions
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Reference, Trial
from frostline.spaces import Budget

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from frostline.search.ledger.ledger import Ledger
    from frostline.trainables._family import Family


def summary(
    plan: Plan,
    family: Family,
    ledger: Ledger,
    rows: Sequence[Reference],
    interrupted: bool = False,
    failure: str = "",
) -> dict[str, Any]:
    """What `summary.json` holds and `--json` prints."""
    won, confirmed = ledger.winner(), ledger.confirmed()
    test = ledger.test_of(won[1]) if won else None
    best = _best(plan, ledger, won[0]) if won else None
    recipe = plan.recipe(won[0].params, won[0].seed) if won else plan.search.base
    return {
        "space": plan.search.space,
        "profile": plan.search.profile,
        "model": recipe.model,
        "data": {
            "source": plan.search.base.data.source,
            "fingerprint": plan.data.fingerprint,
            **plan.data.sizes,
            "classes": list(plan.data.classes),
        },
        "metric": plan.search.metric,
        "best": best,
        "confirmed": [dataclasses.asdict(row) for row in confirmed],
        "tied": [row.number for row in confirm.tied(confirmed)],
        "test": dict(test["metrics"]) if test else None,
        "test_interval": list(test["interval"]) if test else None,
        "test_reads": ledger.test_reads(),
        "optimism": best["validation"] - test["metrics"][plan.search.metric] if best and test else None,
        "references": [dataclasses.asdict(row) for row in rows],
        "counts": trial_records.counts(ledger.trials),
        "interrupted": interrupted,
        "failure": failure,
        "seconds": round(ledger.took, 1),
        "seed": plan.search.seed,
        "run": str(plan.place),
        **({"copy": str(plan.place.run)} if plan.place.url else {}),
        "load": family.load_line().replace("MODEL_FOLDER", str(plan.place.run / "best")) if won else None,
        "versions": versions(),
    }


def _best(plan: Plan, ledger: Ledger, training: Trial) -> dict[str, Any]:
    """The training whose weights are exported; `found` is what its recipe was picked for."""
    line = training.best(plan.search.metric)
    assert line is not None  # a winner has a score
    trial = ledger.trials.get(training.number, plan.search.seed)
    return {
        "number": training.number,
        "recipe": training.label or "sampled",
        "params": training.params,
        "seed": training.seed,
        "validation": line.metrics[plan.search.metric],
        "found": trial.score(plan.search.metric) if trial else None,
        "epoch": line.epoch,
        "metrics": line.metrics,
        "seconds": training.seconds,
    }


def table(found: Mapping[str, Any]) -> Table:
    """The winner, with how sure its scores are, above its references."""
    metric = found["metric"]
    shown = Table(show_edge=False)
    for column in ("", f"validation {metric}", f"test {metric}", "first report"):
        shown.add_column(column, justify="right" if column else "left")
    for name, validation, test in score_rows(found):
        shown.add_row(name, validation, test, "", style="bold green" if name.startswith("winner") else "")
    for row in found["references"]:
        shown.add_row(row["name"], *(_number(row[key]) for key in ("validation", "test", "first_rung")))
    return shown


def score_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, validation and test of the winner and of what it was chosen by."""
    best = found["best"]
    if not best:
        return []
    test = _number(found["test"] and found["test"][found["metric"]])
    seed = f", seed {best['seed']}" if found["confirmed"] else ""
    label = "" if best["recipe"] == "sampled" else f" ({best['recipe']})"
    rows = [(f"winner: trial {best['number']}{seed}{label}", _number(best["validation"]), test)]
    if found["test_interval"]:
        rows.append(("  95 % interval", "", _interval(found["test_interval"])))
    if found["confirmed"]:
        first = found["confirmed"][0]
        rows.append((f"  mean of {len(first['scores'])} fresh seeds", _number(first["mean"]), ""))
        if first["interval"]:
            rows.append(("  95 % interval", _interval(first["interval"]), ""))
        rows.append(("  as first found", _number(best["found"]), ""))
    return rows


def verdict(found: Mapping[str, Any]) -> list[str]:
    """What the scores do and do not say, one sentence a line."""
    lines, best, rows = [], found["best"], found["confirmed"]
    if rows:
        by_number = {row["number"]: row for row in rows}
        if found["tied"]:
            cost = ", ".join(f"trial {number} ({by_number[number]['seconds']:.0f} s)" for number in found["tied"])
            lines.append(f"Tied, cheapest training first: {cost}; their fresh seeds cannot tell them apart.")
        elif sum(not row["failed"] for row in rows) > 1:
            lines.append(f"Trial {rows[0]['number']} is better than the other confirmed recipes (Welch's test, 5 %).")
        failed = [row for row in rows if row["failed"]]
        lines += [f"Trial {row['number']} failed with {row['failed']} of its fresh seeds." for row in failed]
    if best and found["optimism"] is not None:
        trainings = sum(found["counts"].values()) + sum(len(row["scores"]) + row["failed"] for row in rows)
        lines.append(
            f"Validation minus test: {found['optimism']:+.4f}: chance, and the optimism of having picked the best of "
            f"{trainings} trainings by validation."
        )
    if found["test_reads"] > 1:
        lines.append(f"The test set was read {found['test_reads']} times: the search went on after its first winner.")
    return lines


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def recipe_line(params: Mapping[str, Any]) -> str:
    """Parameters on one line, floats to three digits."""
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())


def model_card(found: Mapping[str, Any], plan: Plan, family: Family) -> str:
    """`best/README.md`: what the model is, how well it does, how to load it."""
    recipe = plan.recipe(found["best"]["params"], found["best"]["seed"])
    model, usage = (
        plan.search.models[recipe.model],
        family.usage().replace("MODEL_FOLDER", str(plan.place.run / "best")),
    )
    metric, best, data = found["metric"], found["best"], plan.search.base.data
    tags = f"tags: [frostline, {plan.search.space}]"
    head = f"---\nbase_model: {recipe.model}\nlibrary_name: {family.library_name}\n{tags}\n---\n"
    (_, validation, test), *chosen_by = score_rows(found)
    rows = [f"| this model | {validation} | {test} |"]
    rows += [f"| {name.strip()} | {validation} | {test} |" for name, validation, test in chosen_by]
    rows += [
        f"| {row['name']} | {_number(row['validation'])} | {_number(row['test'])} |" for row in found["references"]
    ]
    sizes = ", ".join(f"{size} {split}" for split, size in plan.data.sizes.items())
    values = "\n".join(f"- {name}: {value}" for name, value in best["params"].items())
    table_rows, sentences = "\n".join(rows), "\n".join(f"- {line}" for line in verdict(found))
    return f"""{head}
# {plan.search.space}: the winner of a Frostline search

{recipe.model}, fine-tuned on {data.source} ({sizes} examples; classes {", ".join(plan.data.classes)}).

Validation chose this model among {sum(found["counts"].values())} trials; the test set was read for the winner
alone. The intervals: of a mean over seeds by Student's t, of a test score over examples by the bootstrap.

| | validation {metric} | test {metric} |
|---|---|---|
{table_rows}

{sentences}

## Use

```python
{usage}
```

## Recipe

{values}
- frozen blocks: {recipe.frozen_layers} of {model.blocks}, counted from the input
- seed: {best["seed"]}
- epochs: {best["epoch"]:g} of {plan.budget.epochs} (the best one is kept)
- {model.inputs}

`recipe.json` beside this file holds all of it.
"""


def dump(found: Mapping[str, Any]) -> str:
    """The summary as JSON text."""
    return json.dumps(found, indent=2)


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """The plan as labelled lines, for `--dry-run`."""
    budget, data, base = plan.budget, plan.search.base.data, plan.search.base
    rows = [
        ("space", f"{plan.search.space} ({base.family}), metric: validation {plan.search.metric}"),
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
