"""What people and programs read: the plan's lines, `summary.json`, the closing table, the model card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from frostline.search.ledger import confirm
from frostline.search.plan.plan import Plan, versions
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Trial
from frostline.search.report.references import Reference
from frostline.search.words import interval, score
from frostline.spaces import Metric

if TYPE_CHECKING:
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
    won, confirmed = ledger.conclusions.winner(), ledger.conclusions.confirmed()
    test = ledger.conclusions.test_of(won[1]) if won else None
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
        "metric": plan.search.metric.name,
        "better": plan.search.metric.better,
        "best": best,
        "confirmed": [dataclasses.asdict(row) for row in confirmed],
        "tied": [row.number for row in confirm.tied(confirmed)],
        "test": dict(test["metrics"]) if test else None,
        "test_interval": list(test["interval"]) if test else None,
        "test_reads": ledger.conclusions.test_reads(),
        "optimism": optimism(plan.search.metric, best["validation"], test["metrics"]) if best and test else None,
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
    line, metric = training.best, plan.search.metric
    assert line is not None  # a winner has a score
    trial = ledger.trials.get(training.number, plan.search.seed)
    return {
        "number": training.number,
        "recipe": training.label or "sampled",
        "params": training.params,
        "seed": training.seed,
        "validation": metric.value(training.objective),
        "found": metric.value(trial.objective) if trial and trial.best else None,
        "epoch": line.epoch,
        "metrics": line.metrics,
        "seconds": training.seconds,
    }


def optimism(metric: Metric, validation: float, test: Mapping[str, float]) -> float:
    """By how much the validation score is better than the test score, in units of the metric."""
    return metric.objective(validation) - metric.objective(test[metric.name])


def table(found: Mapping[str, Any]) -> Table:
    """The winner, with how sure its scores are, above its references."""
    metric = found["metric"]
    shown = Table(show_edge=False)
    for column in ("", f"validation {metric}", f"test {metric}", "first report"):
        shown.add_column(column, justify="right" if column else "left")
    for name, validation, test in score_rows(found):
        shown.add_row(name, validation, test, "", style="bold green" if name.startswith("winner") else "")
    for row in found["references"]:
        shown.add_row(row["name"], *(score(row[key]) for key in ("validation", "test", "first_rung")))
    return shown


def score_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, validation and test of the winner and of what it was chosen by."""
    best = found["best"]
    if not best:
        return []
    test = score(found["test"] and found["test"][found["metric"]])
    seed = f", seed {best['seed']}" if found["confirmed"] else ""
    label = "" if best["recipe"] == "sampled" else f" ({best['recipe']})"
    rows = [(f"winner: trial {best['number']}{seed}{label}", score(best["validation"]), test)]
    if found["test_interval"]:
        rows.append(("  95 % interval", "", interval(found["test_interval"])))
    if found["confirmed"]:
        first = found["confirmed"][0]
        rows.append((f"  mean of {len(first['scores'])} fresh seeds", score(first["mean"]), ""))
        if first["interval"]:
            rows.append(("  95 % interval", interval(first["interval"]), ""))
        rows.append(("  as first found", score(best["found"]), ""))
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
        difference = "Test minus validation" if found.get("better") == "lower" else "Validation minus test"
        trainings = sum(found["counts"].values()) + sum(len(row["scores"]) + row["failed"] for row in rows)
        lines.append(
            f"{difference}: {found['optimism']:+.4f}: chance, and the optimism of having picked the best of "
            f"{trainings} trainings by validation."
        )
    if found["test_reads"] > 1:
        lines.append(f"The test set was read {found['test_reads']} times: the search went on after its first winner.")
    return lines


def dump(found: Mapping[str, Any]) -> str:
    """The summary as JSON text."""
    return json.dumps(found, indent=2)
