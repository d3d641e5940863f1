"""What the runs come to: test accuracy at each budget with its interval, the difference from Frostline, a plot."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.own_data.results import Point, Result
from tests.bench.own_data.rows import OwnData
from tests.bench.own_data.systems import SCIKIT
from tests.bench.table import markdown

REFERENCE = "F"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds and held-out rows, and its 95 % interval."""

    mean: float
    half: float
    """Half the width of the interval."""

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.half:.4f}"


def estimate(values: Sequence[Sequence[float]]) -> Estimate:
    """The mean of a table whose rows are seeds and whose columns are held-out rows; both are drawn by chance.

    Each seed is scored on the same held-out rows, so the luck of these does not average out over the seeds. Crossed
    random effects: the variance of the mean is (MS of columns + MS of rows - MS of what is left) / cells, its degrees
    of freedom are Satterthwaite's (Searle, Casella and McCulloch 1992, Variance Components, chapter 4). With one
    seed only the luck of the held-out rows is in the interval.

    Args:
        values: right or not (1, 0), or differences of these; all rows of the same length, two columns at least.
    """
    import numpy as np
    from scipy import stats

    table = np.asarray(values, dtype=float)
    seeds, examples = table.shape
    mean, by_seed, by_example = table.mean(), table.mean(axis=1), table.mean(axis=0)
    of_examples = seeds * by_example.var(ddof=1)
    if seeds == 1:
        error, freedom = math.sqrt(of_examples / examples), float(examples - 1)
    else:
        of_seeds = examples * by_seed.var(ddof=1)
        left = table - by_seed[:, None] - by_example[None, :] + mean
        of_left = (left**2).sum() / ((seeds - 1) * (examples - 1))
        total = of_examples + of_seeds - of_left
        if total <= max(of_examples, of_seeds):  # one of the two is no more than chance within cells
            total, freedom = max((of_examples, examples - 1), (of_seeds, seeds - 1))
        else:
            parts = ((of_examples, examples - 1), (of_seeds, seeds - 1), (of_left, (seeds - 1) * (examples - 1)))
            freedom = total**2 / sum(part**2 / count for part, count in parts)
        error = math.sqrt(total / (seeds * examples))
    return Estimate(mean=float(mean), half=float(stats.t.ppf(0.975, freedom)) * error)


def models(results: Sequence[Result], system: str, budget: float) -> dict[int, Point | None]:
    """The model of each seed of a system after some minutes; None for a run without one yet."""
    asked = [result for result in results if result.system == system and result.budget in (None, budget)]
    return {result.seed: result.at(budget) for result in asked if result.covers([budget])}


def difference(ours: Mapping[int, Point | None], theirs: Mapping[int, Point | None], once: bool) -> Estimate | None:
    """Theirs minus ours, row by row and seed by seed; None where no seed has both.

    Args:
        ours: Frostline's models by seed.
        theirs: another system's.
        once: whether its only run stands for every seed.
    """
    pairs = [(mine, theirs.get(0 if once else seed)) for seed, mine in ours.items()]
    rows = [
        [int(b) - int(a) for a, b in zip(mine.right, other.right, strict=True)]
        for mine, other in pairs
        if mine and other
    ]
    return estimate(rows) if rows else None


def table(results: Sequence[Result], names: Mapping[str, str], budgets: Sequence[float]) -> str:
    """One row a system, two columns a budget, in Markdown."""
    systems = [name for name in names if any(result.system == name for result in results)]
    header = ["system", *(cell for budget in budgets for cell in (f"{budget:g} min", f"minus {REFERENCE}"))]
    header += ["runs", "seconds"]
    rows = []
    for system in systems:
        mine = [result for result in results if result.system == system]
        row = [f"{system} {names[system]}"]
        for budget in budgets:
            found = models(results, system, budget)
            ours = models(results, REFERENCE, budget)
            other = difference(ours, found, system in SCIKIT) if system != REFERENCE else None
            row += [_accuracy(found, system), f"{other.mean:+.4f} ± {other.half:.4f}" if other else ""]
        rows.append([*row, str(len(mine)), _seconds(mine)])
    return markdown([*header], rows)


def _accuracy(found: Mapping[int, Point | None], system: str) -> str:
    there = [point for point in found.values() if point]
    if not found:
        return "not run"
    if not there:
        return "not done in time" if system in SCIKIT else "no model yet"
    shown = str(estimate([[int(digit) for digit in point.right] for point in there]))
    return shown if len(there) == len(found) else f"{shown} ({len(there)} of {len(found)})"


def _seconds(mine: Sequence[Result]) -> str:
    """Seconds: of Frostline at each budget, of a simple model until it was fitted, of a peer until its end."""
    by_budget: dict[float | None, list[float]] = {}
    for result in mine:
        fitted = result.system in SCIKIT and result.points
        by_budget.setdefault(result.budget, []).append(result.points[0].seconds if fitted else result.wall)
    ordered = sorted(by_budget.items(), key=lambda item: item[0] or 0.0)
    shown = " / ".join(f"{statistics.fmean(seconds):.1f}" for _, seconds in ordered)
    return shown if all(result.finished for result in mine) else f"{shown}, broken off"


def kept_time(results: Sequence[Result]) -> list[str]:
    """A sentence a budget: did Frostline keep its time?"""
    lines = []
    for budget in sorted({result.budget for result in results if result.budget is not None}):
        mine = [result for result in results if result.budget == budget]
        kept = sum(result.kept_its_time for result in mine)
        late = max(result.late for result in mine)
        ended = f"{late:.1f} s late" if late > 0 else f"{-late:.1f} s early"
        lines.append(f"F, {budget:g} min: the time was kept in {kept} of {len(mine)} runs; the last one ended {ended}.")
    return lines


def write(
    data: OwnData, results: Sequence[Result], names: Mapping[str, str], budgets: Sequence[float], folder: Path
) -> list[str]:
    """Write `table.md`, `figures.json` and `accuracy.png` of a data set; returns the lines of the table."""
    train, validation, test = data.sizes
    lines = [
        *dict.fromkeys(re.sub(r", load [\d.]+ at the start", "", line) for result in results for line in result.where),
        f"Data: {data.name}, {train + validation:,} rows of the user, {test:,} held out; "
        f"the peers validate on {validation:,} of the user's and cut to {data.length} tokens.",
        "",
        table(results, names, budgets),
        "",
        *kept_time(results),
    ]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    figures = {"data": dataclasses.asdict(data), "runs": [dataclasses.asdict(result) for result in results]}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(results, names, budgets, folder / "accuracy.png")
    return lines


def draw(results: Sequence[Result], names: Mapping[str, str], budgets: Sequence[float], path: Path) -> None:
    """Write a PNG: test accuracy of the model that a system has, over minutes, the mean of the seeds that have one.

    A line is thin until every seed has a model. Frostline has a dot a budget, with its interval.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for number, system in enumerate(name for name in names if any(result.system == name for result in results)):
        mine = [result for result in results if result.system == system]
        look = {"color": f"C{number}", "label": f"{names[system]} ({system})"}
        if mine[0].budget is not None:
            dots = [
                (budget, estimate([[int(digit) for digit in point.right] for point in there]))
                for budget in budgets
                if (there := [point for point in models(results, system, budget).values() if point])
            ]
            places, means, halves = (
                [budget for budget, _ in dots],
                [one.mean for _, one in dots],
                [one.half for _, one in dots],
            )
            axes.errorbar(places, means, yerr=halves, marker="o", capsize=4, linewidth=2, **look)
            continue
        ends = max(budgets)
        moments = sorted(
            {point.seconds / 60 for result in mine for point in result.points if point.seconds <= 60 * ends}
        )
        if not moments:
            continue
        have = [[point for result in mine if (point := result.at(moment))] for moment in (*moments, ends)]
        means = [statistics.fmean(point.accuracy for point in points) for points in have]
        full = next((place for place, points in enumerate(have) if len(points) == len(mine)), len(have))
        axes.step([*moments, ends][: full + 1], means[: full + 1], where="post", linewidth=0.8, color=look["color"])
        axes.step([*moments, ends][full:], means[full:], where="post", linewidth=2, **look)
    axes.set_xlabel("minutes from the command")
    axes.set_ylabel("test accuracy")
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
