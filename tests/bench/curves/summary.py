"""Tables of replayed searches, in Markdown.

A regret is the mean over searches. A ratio is that of two mean regrets over the same seeds, and over several tasks the
geometric mean of their ratios. Intervals are of the bootstrap over searches (percentiles, 95 %).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.bench.curves.replay import WHOLE
from tests.bench.curves.searches import FAR, NEAR, Searched

_DRAWS = 2000
_FLOOR = 0.01
"""Points that a mean regret is at least, so that a ratio is finite."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


Regrets = dict[int, float]
"""Regret by seed."""


def mean_of(regrets: Sequence[float]) -> Estimate:
    """The mean regret."""
    values = np.array(regrets)
    return _estimate(values.mean(), values[_draws(len(values))].mean(axis=1))


def ratio_of(pairs: Sequence[tuple[Regrets, Regrets]]) -> Estimate | None:
    """Geometric mean over tasks of the ratio of two methods' mean regrets; None if a task has no seed of both.

    Args:
        pairs: for each task the regrets of the two.
    """
    logs, drawn = [], []
    for number, (first, second) in enumerate(pairs):
        seeds = sorted(first.keys() & second.keys())
        if not seeds:
            return None
        ours, theirs = (np.array([own[seed] for seed in seeds]) for own in (first, second))
        draws = _draws(len(seeds), number)
        logs.append(_log_ratio(ours.mean(), theirs.mean()))
        drawn.append(_log_ratio(ours[draws].mean(axis=1), theirs[draws].mean(axis=1)))
    return _estimate(np.exp(np.mean(logs)), np.exp(np.mean(drawn, axis=0))) if logs else None


def tables(searches: Sequence[Searched], against: str | None = None) -> str:
    """A table for each task and number of workers, then one for each number of workers over all tasks.

    Args:
        searches: what was replayed. Of a task that was replayed on several recorded tables, the last one counts.
        against: the method that each other's regret is divided by, besides random search.
    """
    last = {(one.task, one.stand_in): one.table for one in searches}
    used = [one for one in searches if one.table == last[one.task, one.stand_in]]
    parts = [f"Left out, on earlier tables: {len(searches) - len(used)}."] * (len(used) < len(searches))
    for stand_in, whole in sorted({(one.stand_in, one.whole) for one in used}):
        own = [one for one in used if (one.stand_in, one.whole) == (stand_in, whole)]
        title = stand_in if whole == WHOLE else f"{stand_in}, {whole} whole trainings"
        for task in dict.fromkeys(one.task for one in own):
            for workers in sorted({one.workers for one in own if one.task == task}):
                here = [one for one in own if (one.task, one.workers) == (task, workers)]
                parts.append(f"### {task}, {_many(workers)}, {title}\n\n{_one(here, against)}")
        if len({one.task for one in own}) > 1:
            for workers in sorted({one.workers for one in own}):
                here = [one for one in own if one.workers == workers]
                parts.append(f"### All tasks, {_many(workers)}, {title}\n\n{_pooled(here, against)}")
            parts.append(f"### All tasks and numbers of workers, {title}\n\n{_pooled(own, against)}")
    return "\n\n".join(parts) + "\n"


def _one(searches: Sequence[Searched], against: str | None) -> str:
    """The table of one task and number of workers."""
    others = ["random", *([against] if against and against != "random" else [])]
    methods = _by_method(searches)
    regrets = {name: {one.seed: one.regret for one in own} for name, own in methods.items()}
    rows = []
    for name, own in sorted(methods.items(), key=lambda item: statistics.fmean(one.regret for one in item[1])):
        held = [one.holds for one in own if one.holds is not None]
        widths = [one.width for one in own if one.width is not None]
        rows.append(
            [
                name,
                str(mean_of([one.regret for one in own])),
                *(_text(ratio_of([(regrets[name], regrets[other])]) if other in regrets else None) for other in others),
                _share(statistics.median(one.within_far for one in own)),
                _share(statistics.median(one.within_near for one in own)),
                f"{100 * statistics.fmean(held):.0f} %" if held else "",
                f"{statistics.median(widths):.1f}" if widths else "",
                f"{statistics.fmean(one.decision_ms for one in own):.1f}",
                f"{statistics.fmean(one.trainings for one in own):.0f}",
                str(len(own)),
            ]
        )
    heads = ["method", "regret, points (95 %)", *(f"/ {other}" for other in others)]
    heads += [f"within {points:g}" for points in (FAR, NEAR)]
    return _markdown([*heads, "holds", "±", "ms", "trainings", "searches"], rows)


def _pooled(searches: Sequence[Searched], against: str | None) -> str:
    """The table over tasks: ratios alone. A method that was not replayed everywhere has none."""
    others = ["random", *([against] if against and against != "random" else [])]
    settings = sorted({(one.task, one.workers) for one in searches})
    regrets = {
        name: {
            setting: {one.seed: one.regret for one in own if (one.task, one.workers) == setting} for setting in settings
        }
        for name, own in _by_method(searches).items()
    }
    rows = []
    for name, own in regrets.items():
        ratios = [
            ratio_of([(own[setting], regrets[other][setting]) for setting in settings]) if other in regrets else None
            for other in others
        ]
        rows.append((ratios[-1].value if ratios[-1] else math.inf, [name, *map(_text, ratios)]))
    rows.sort(key=lambda row: row[0])
    return _markdown(["method", *(f"/ {other}" for other in others)], [row for _, row in rows])


def _by_method(searches: Sequence[Searched]) -> dict[str, list[Searched]]:
    methods: dict[str, list[Searched]] = {}
    for one in searches:
        methods.setdefault(one.method, []).append(one)
    return methods


def _draws(size: int, number: int = 0) -> Any:
    """[_DRAWS, size]: indices of the bootstrap."""
    return np.random.default_rng([number, size]).integers(size, size=(_DRAWS, size))


def _estimate(value: float, drawn: Floats) -> Estimate:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value=float(value), low=float(low), high=float(high))


def _log_ratio(first: Any, second: Any) -> Any:
    return np.log(np.maximum(first, _FLOOR) / np.maximum(second, _FLOOR))


def _text(estimate: Estimate | None) -> str:
    return "" if estimate is None else str(estimate)


def _share(time: float) -> str:
    return f"{100 * time:.0f} %" if math.isfinite(time) else "never"


def _many(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
