"""What people and programs read: the plan's lines, `summary.json`, the closing table, the model card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from search import results, scheduler
from search.plan import Plan, versions
from search.results import Reference, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def summary(
    plan: Plan,
    trials: Sequence[Trial],
    rows: Sequence[Reference],
    test: Mapping[str, float] | None,
    seconds: float,
    interrupted: bool,
) -> dict[str, Any]:
    """What `summary.json` holds and `--json` prints."""
    best = results.winner(trials, plan.metric)
    line = best.best(plan.metric) if best else None
    return {
        "space": plan.space,
        "profile": plan.profile,
        "model": plan.base.model,
        "data": {
            "source": plan.base.data.source,
            "fingerprint": plan.fingerprint,
            **plan.sizes,
            "classes": list(plan.classes),
        },
        "metric": plan.metric,
        "best": None
        if best is None or line is None
        else {
            "number": best.number,
            "recipe": best.label or "sampled",
            "params": best.params,
            "validation": line.metrics[plan.metric],
            "epoch": line.epoch,
            "metrics": line.metrics,
        },
        "test": dict(test) if test else None,
        "references": [dataclasses.asdict(row) for row in rows],
        "counts": results.counts(trials),
        "interrupted": interrupted,
        "seconds": round(seconds, 1),
        "seed": plan.seed,
        "run": str(plan.run),
        "versions": versions(),
    }


def table(found: Mapping[str, Any]) -> Table:
    """The winner above its references."""
    metric = found["metric"]
    shown = Table(show_edge=False)
    for column in ("", f"validation {metric}", f"test {metric}", "first report"):
        shown.add_column(column, justify="right" if column else "left")
    best, test = found["best"], found["test"]
    if best:
        name = f"winner: trial {best['number']} ({best['recipe']})"
        shown.add_row(name, _number(best["validation"]), _number(test and test[metric]), "", style="bold green")
    for row in found["references"]:
        shown.add_row(row["name"], *(_number(row[key]) for key in ("validation", "test", "first_rung")))
    return shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def recipe_line(params: Mapping[str, Any]) -> str:
    """Parameters on one line, floats to three digits."""
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in params.items())


def model_card(found: Mapping[str, Any], plan: Plan, usage: str) -> str:
    """`best/README.md`: what the model is, how well it does, how to load it."""
    metric, best, data = found["metric"], found["best"], plan.base.data
    head = f"---\nbase_model: {plan.base.model}\nlibrary_name: transformers\ntags: [frostline, {plan.space}]\n---\n"
    rows = [f"| this model | {_number(best['validation'])} | {_number(found['test'][metric])} |"]
    rows += [
        f"| {row['name']} | {_number(row['validation'])} | {_number(row['test'])} |" for row in found["references"]
    ]
    sizes = ", ".join(f"{size} {split}" for split, size in plan.sizes.items())
    recipe = "\n".join(f"- {name}: {value}" for name, value in best["params"].items())
    score_rows = "\n".join(rows)
    return f"""{head}
# {plan.space}: the winner of a Frostline search

{plan.base.model}, fine-tuned on {data.source} ({sizes} examples; classes {", ".join(plan.classes)}).

Validation chose this model among {sum(found["counts"].values())} trials; the test set was read once, for it alone.

| | validation {metric} | test {metric} |
|---|---|---|
{score_rows}

## Use

```python
{usage}
```

## Recipe

{recipe}
- frozen blocks: {best["params"].get("frozen_layers", 0)} of {plan.blocks}, counted from the input
- epochs: {best["epoch"]:g} of {plan.base.budget.epochs} (the best one is kept)
- at most {data.max_length} tokens

`recipe.json` beside this file holds all of it.
"""


def dump(found: Mapping[str, Any]) -> str:
    """The summary as JSON text."""
    return json.dumps(found, indent=2)


def load_line(found: Mapping[str, Any]) -> str:
    """One line of Python that loads the exported model."""
    return f'transformers.pipeline("text-classification", "{found["run"]}/best", truncation=True)'


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """The plan as labelled lines, for `--dry-run`."""
    budget, data, base = plan.base.budget, plan.base.data, plan.base
    rows = [
        ("space", f"{plan.space} ({base.family}), metric: validation {plan.metric}"),
        ("profile", f"{plan.profile}: {plan.profile_reason}"),
        ("model", f"{base.model}: {plan.parameters / 1e6:.1f} M parameters, {plan.blocks} blocks and a head"),
        (
            "data",
            f"{data.source}: {', '.join(f'{size} {split}' for split, size in plan.sizes.items())}; "
            f"{len(plan.classes)} classes; {plan.duplicates} duplicate rows left out; "
            f"at most {data.max_length} tokens; fingerprint {plan.fingerprint[:12]}",
        ),
    ]
    rows += [("parameter", f"{name}: {_range(d)}") for name, d in plan.distributions.items()]
    rows += [
        ("tried first", f"{label}: " + ", ".join(f"{k} {v}" for k, v in recipe.items()))
        for label, recipe in plan.recipes.items()
    ]
    stops = ", ".join(f"{rung:g}" for rung in plan.rungs) or "none"
    rows += [
        (
            "trials",
            f"{budget.trials}, of up to {budget.epochs} epochs ({plan.sizes['train'] * budget.epochs} examples)",
        ),
        (
            "rungs",
            f"after {stops} epochs; about one trial in {budget.reduction_factor:g} goes on (ASHA); "
            f"measured after {', '.join(f'{at:g}' for at in plan.report_at)} epochs",
        ),
        ("at once", f"{plan.slots} trials: {plan.slots_reason}"),
        ("each trial", f"{plan.need} on {plan.device}, {plan.threads} thread{'s' * (plan.threads > 1)}"),
        (
            "epochs",
            f"at worst {scheduler.worst_case_epochs(budget):g}, "
            f"about {scheduler.expected_epochs(budget):g} if every rung halts its share",
        ),
        ("disk", f"at most {plan.disk / 1e6:.0f} MB in {plan.run}"),
        ("seed", str(plan.seed)),
    ]
    return rows


def _range(distribution: BaseDistribution) -> str:
    choices = getattr(distribution, "choices", None)
    if choices:
        return "one of " + ", ".join(map(str, choices))
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    return f"{low:g} to {high:g}" + (", log" if getattr(distribution, "log", False) else "")
