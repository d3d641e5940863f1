"""`summary.json`, and the table of scores that a search prints when it ends."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from frostline.search.ledger import confirm
from frostline.search.plan.plan import Plan, versions
from frostline.search.plan.remarks import beside
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Trial
from frostline.search.report.compared import Compared
from frostline.search.report.references import Reference
from frostline.search.words import interval, plural, score
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
    baseline: Compared | None = None,
) -> dict[str, Any]:
    """The content of `summary.json`, which `--json` prints.

    Args:
        plan: plan of the search.
        family: family of its recipes.
        ledger: its records.
        rows: baselines and the space's own recipes.
        interrupted: True if Ctrl-C ended the search.
        failure: why the search stopped before its end; empty if it did not.
        baseline: the winner beside the trained baseline; None if there is none.
    """
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
            "rows_read": plan.data.rows_read,
            "rows_left_out": plan.data.rows_left_out,
            "rows_unused": plan.data.rows_unused,
            "imbalance": plan.data.imbalance,
        },
        "metric": plan.search.metric.name,
        "better": plan.search.metric.better,
        "best": best,
        "confirmed": [dataclasses.asdict(row) for row in confirmed],
        "tied": [row.number for row in confirm.tied(confirmed)],
        "test": dict(test["metrics"]) if test else None,
        "test_interval": (list(test["interval"]) or None) if test else None,
        "test_reads": ledger.conclusions.test_reads(),
        "optimism": optimism(plan.search.metric, best["validation"], test["metrics"]) if best and test else None,
        "references": [dataclasses.asdict(row) for row in rows],
        "baseline": dataclasses.asdict(baseline) if baseline else None,
        "counts": trial_records.counts(ledger.trials),
        "interrupted": interrupted,
        "failure": failure,
        "seconds": round(ledger.took, 1),
        "seed": plan.search.seed,
        "run": str(plan.place),
        **({"copy": str(plan.place.run)} if plan.place.url else {}),
        "load": family.load_line(recipe).replace("MODEL_FOLDER", str(plan.place.run / "best")) if won else None,
        "versions": versions(),
    }


def _best(plan: Plan, ledger: Ledger, training: Trial) -> dict[str, Any]:
    """The training whose weights are exported; `found` is the score that its recipe was picked for."""
    line, metric = training.best, plan.search.metric
    assert line is not None  # a winner has a score
    trial = next((trial for trial in ledger.trials if trial.number == training.number), None)
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


def optimism(metric: Metric, validation: float, test: Mapping[str, float]) -> float | None:
    """By how much the validation score is better than the test score, in units of the metric.

    None where the test score is undefined.
    """
    difference = metric.objective(validation) - metric.objective(test[metric.name])
    return None if math.isnan(difference) else difference


def table(summary: Mapping[str, Any]) -> Table:
    """The scores of the winner with their intervals, above those of its references."""
    metric = summary["metric"]
    scores = Table(show_edge=False)
    for column in ("", f"validation {metric}", f"test {metric}", "first report"):
        scores.add_column(column, justify="right" if column else "left")
    for name, validation, test in score_rows(summary):
        scores.add_row(name, validation, test, "", style="bold green" if name.startswith("winner") else "")
    for row in summary["references"]:
        scores.add_row(row["name"], *(score(row[key]) for key in ("validation", "test", "first_rung")))
    return scores


def score_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, validation and test score of the winner, and the scores that it was chosen by."""
    best, confirmed = summary["best"], summary["confirmed"]
    if not best:
        return []
    test = score(summary["test"] and summary["test"][summary["metric"]])
    seed = f", seed {best['seed']}" if confirmed else ""
    label = "" if best["recipe"] == "sampled" else f" ({best['recipe']})"
    rows = [(f"winner: trial {best['number']}{seed}{label}", score(best["validation"]), test)]
    if summary["test_interval"]:
        rows.append(("  95 % interval", "", interval(summary["test_interval"])))
    if name := beside(summary["metric"], summary.get("data", {}).get("imbalance", 1.0)):
        of_best, of_test = best.get("metrics", {}).get(name), (summary["test"] or {}).get(name)
        rows.append((f"  its {name}", score(of_best), score(of_test)))
    if confirmed:
        first = confirmed[0]
        rows.append(("  expected of its recipe", score(first["estimate"]), ""))
        rows.append(("  95 % interval", interval(first["interval"]), ""))
        if first["scores"]:
            rows.append((f"  mean of {plural(len(first['scores']), 'fresh seed')}", score(first["mean"]), ""))
        rows.append(("  as first found", score(best["found"]), ""))
    return rows


def dump(summary: Mapping[str, Any]) -> str:
    """The summary as JSON text; null where a number is undefined, since JSON knows no NaN."""
    return json.dumps(_plain(summary), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
