"""From measurements to a table: medians, ratios to Frostline, and whether the scores agree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One measured run of one system."""

    system: str
    repeat: int
    wall: float
    """Seconds, reckoned for all recipes where it was given some."""
    cpu: float
    """Seconds of user and system time of all its processes, reckoned likewise."""
    memory: float
    """Peak, bytes."""
    scores: tuple[float | None, ...] = ()
    """Final validation accuracy by recipe, None for one that it was not given; empty where recipes are not shared."""
    target: float | None = None
    """Score that a search has to reach."""
    best: tuple[tuple[float, float], ...] = ()
    """Seconds from the start of a search and the score, each time that it was the best so far."""
    per_trial: float | None = None
    """Median seconds of a trial, as the system says."""
    per_epoch: float | None = None
    """Seconds of its last epoch, evaluation included."""

    def until(self, score: float) -> float | None:
        """Seconds from its start until it first reported such a score; None where it did not."""
        return next((seconds for seconds, best in self.best if best >= score), None)

    @property
    def reached(self) -> float | None:
        """Seconds until its target."""
        return None if self.target is None else self.until(self.target)

    @property
    def share(self) -> float:
        """Share of the recipes that it was given."""
        return sum(score is not None for score in self.scores) / len(self.scores) if self.scores else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """The test that two systems' scores agree: the mean of their paired differences and its 95 % interval."""

    pairs: int
    mean: float
    """Peer minus Frostline."""
    half: float
    """Half the width of the 95 % interval (Student's t); infinite with fewer than two pairs."""

    @property
    def passed(self) -> bool | None:
        """True if 0 lies in the interval; None if there are too few pairs."""
        return None if math.isinf(self.half) else abs(self.mean) <= self.half

    def __str__(self) -> str:
        if self.passed is None:
            return "too few pairs"
        return f"{self.mean:+.4f} ± {self.half:.4f} {'ok' if self.passed else 'DIFFERS'}"


def gate(peer: Sequence[float], ours: Sequence[float]) -> Gate:
    """Compare scores of the same recipes with the same seeds, pair by pair.

    A paired difference leaves out what recipes differ by among themselves, which is far more than what systems do.
    That 0 lies in the interval does not prove them equal: its width says how much could be hidden.

    Raises:
        ValueError: not as many of one as of the other.
    """
    differences = [a - b for a, b in zip(peer, ours, strict=True)]
    if len(differences) < 2:
        return Gate(pairs=len(differences), mean=math.fsum(differences), half=math.inf)
    from scipy import stats

    count = len(differences)
    error = statistics.stdev(differences) / math.sqrt(count)
    return Gate(pairs=count, mean=statistics.fmean(differences), half=float(stats.t.ppf(0.975, count - 1)) * error)


def gates(runs: Sequence[Run], reference: str) -> dict[str, Gate]:
    """The gate of every other system. Repeats have different seeds: a recipe's difference is its mean over them,
    so that the pairs are independent of one another."""
    mine = {run.repeat: run.scores for run in runs if run.system == reference}
    found = {}
    for system in dict.fromkeys(run.system for run in runs):
        both = [(run.scores, mine[run.repeat]) for run in runs if run.system == system and run.repeat in mine]
        if system == reference or not both or not both[0][0]:
            continue
        theirs = [_mean(column) for column in zip(*(a for a, _ in both), strict=True)]
        ours = [_mean(column) for column in zip(*(b for _, b in both), strict=True)]
        pairs = [(a, b) for a, b in zip(theirs, ours, strict=True) if a is not None and b is not None]
        found[system] = gate([a for a, _ in pairs], [b for _, b in pairs])
    return found


def _mean(scores: Sequence[float | None]) -> float | None:
    """The mean of one recipe's scores; None where it was not trained."""
    given = [score for score in scores if score is not None]
    return statistics.fmean(given) if given else None


def typical(runs: Sequence[Run], field: str) -> dict[str, float]:
    """Median of a field by system; of `reached` the expected time, since not every search gets there."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.system, []).append(run)
    if field == "reached":
        return {system: expected([(run.reached, run.wall) for run in mine]) for system, mine in found.items()}
    return {system: statistics.median(getattr(run, field) for run in mine) for system, mine in found.items()}


def expected(times: Sequence[tuple[float | None, float]]) -> float:
    """Seconds until a target is reached where a search that ends without it is begun again with another seed.

    That is the time of all runs, those without success too, over the number of successes; infinite without any.
    Source: average runtime of Hansen et al. 2016, COCO: Performance Assessment (arXiv:1605.03560).

    Args:
        times: of each run of one system: seconds until the target, None where it was not reached, and in all.
    """
    spent = math.fsum(wall if reached is None else reached for reached, wall in times)
    successes = sum(reached is not None for reached, _ in times)
    return spent / successes if successes else math.inf


def targets(runs: Sequence[Run], names: Mapping[str, str], reference: str) -> str:
    """The expected seconds to the target score and to lower ones, which are less a matter of luck."""
    systems, bar = list(dict.fromkeys(run.system for run in runs)), runs[0].target or 0.0
    header = ["target"]
    for system in systems:
        header += [f"{system} {names[system]}", f"× {reference}", "reached"]
    rows = []
    for score in (bar - lower for lower in (0.0, 0.01, 0.02, 0.03, 0.05)):
        times = {system: [(run.until(score), run.wall) for run in runs if run.system == system] for system in systems}
        seconds = {system: expected(own) for system, own in times.items()}
        row = [f"{score:.4f}"]
        for system, ratio in ratios(seconds, reference).items():
            reached = sum(until is not None for until, _ in times[system])
            row += [number(seconds[system]), f"{ratio:.2f}", f"{reached} of {len(times[system])}"]
        rows.append(row)
    return markdown(header, rows)


def ratios(values: Mapping[str, float], reference: str) -> dict[str, float]:
    """How many times as much as the reference; not a number where there is none."""
    base = values.get(reference, math.nan)
    return {system: value / base if base and not math.isinf(base) else math.nan for system, value in values.items()}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns are aligned to be read as they are."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def report(runs: Sequence[Run], names: Mapping[str, str], reference: str, extra: str = "") -> str:
    """The table of a workload.

    Args:
        runs: all of them.
        names: of the systems, by letter.
        reference: the system that ratios are to.
        extra: a further field of `Run` to show with its ratio: `reached`, `per_trial` or `per_epoch`.
    """
    fields = (*([extra] if extra else []), "wall", "cpu")
    values = {field: typical(runs, field) for field in (*fields, "memory")}
    agree = gates(runs, reference)
    scored = any(run.scores for run in runs)
    # Means are over recipes that all of them have trained.
    common = [
        number for number, scores in enumerate(zip(*(run.scores for run in runs), strict=True)) if None not in scores
    ]
    header = ["system"]
    for field in fields:
        header += [f"{_TITLES[field]}", f"× {reference}"]
        header += ["reached"] if field == "reached" else []
    header += ["peak MB", "runs", *(["accuracy", f"minus {reference}, 95 %"] if scored else [])]
    rows = []
    for system in values["wall"]:
        mine = [run for run in runs if run.system == system]
        row = [f"{system} {names[system]}"]
        if mine[0].share < 1:
            row[0] += f", 1 recipe of {1 / mine[0].share:.3g}"
        for field in fields:
            row += [number(values[field][system]), f"{ratios(values[field], reference)[system]:.2f}"]
            if field == "reached":
                row += [f"{sum(run.reached is not None for run in mine)} of {len(mine)}"]
        row += [f"{values['memory'][system] / 1e6:.0f}", str(len(mine))]
        if scored:
            row += [
                f"{statistics.fmean(run.scores[n] or 0.0 for run in mine for n in common):.4f}",
                str(agree.get(system, "")),
            ]
        rows.append(row)
    return markdown(header, rows)


_TITLES = {
    "wall": "wall s",
    "cpu": "CPU s",
    "reached": "s to target",
    "per_trial": "s per trial",
    "per_epoch": "s per epoch",
}


def number(value: float) -> str:
    """Seconds with as many digits as are worth reading."""
    if math.isinf(value):
        return "not reached"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
