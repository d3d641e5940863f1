"""Whether a trial stops at a rung: decided by what the trials that were trained whole had shown there.

Early reports rank recipes well on some data and not at all on others, by the score here and by a loss there. So a
search learns this from its own trials: how well the ranks by each signal of a report (objective, validation loss,
training loss) agree with the ranks of the final objectives. A trial stops if its probability of being one of the best
is so low that a new trial promises twice as much for each second. Where the signals say nothing, every trial is as
good as a new one and goes on.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.search.plan import budget as budgets
from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Line, Trial
from frostline.trainables._task import Measured

Array = NDArray[np.float64]
Signals = tuple[float, float, float]
"""What a report says of a trial, larger is better: objective, negative validation loss, negative training loss. NaN
where it says nothing."""

_TOP = 5
"""A trial is worth its time if it may be one of this many best trials, or of the better half if they are few."""
_CAUTION = 0.5
"""A trial stops if it promises less than this part of what a new one does, in the same time."""
_CORRELATIONS = np.linspace(0.0, 0.99, 34)
"""The grid over a signal's correlation with the final objective. No signal is believed to mislead."""
_MOST = 256
"""Companions that are looked at, the latest ones."""


@dataclass(kw_only=True, slots=True)
class _Training:
    shown: dict[float, Signals] = field(default_factory=dict)
    """By the rung's epoch."""
    best: float = -math.inf
    """Objective of its best report on all of the validation examples."""
    ended: bool = False
    """Whether it was trained whole."""


class Rungs:
    """The decisions of one search. They follow from the reports in their order alone, so that a search that goes on
    decides as if it had never been interrupted."""

    def __init__(self, plan: Plan) -> None:
        """No trial has reported.

        Args:
            plan: of the search.
        """
        self._budget, self._schedule, self._base = plan.budget, plan.schedule, plan.search.base
        self._slots = plan.resources.slots
        self._trainings: dict[int, _Training] = {}
        self._known: dict[float, list[tuple[Signals, float]]] = {rung: [] for rung in plan.schedule.rungs}
        self._longest = 0.0
        """Seconds of the longest whole training: the first ones are often the cheapest."""

    def stops(self, number: int, params: Mapping[str, Any], report: Line | Measured) -> bool:
        """True if the trial stops at this report: its budget is used up, or it gives way to a new trial.

        Args:
            number: of the trial.
            params: its parameters.
            report: of the trial. One that comes again changes nothing.
        """
        training, rung = self._trainings.setdefault(number, _Training()), self._rung_of(report.epoch)
        if rung is not None:
            training.shown.setdefault(rung, signals_of(report))
        if report.objective is not None and math.isfinite(report.objective) and not report.partial:
            training.best = max(training.best, report.objective)
        if report.epoch >= self._budget.epochs:
            self._learn(training, report.seconds)
            return True
        if rung is None or not self._may_stop(params, report):
            return False
        known = self._known[rung][-_MOST:]
        if len(known) < budgets.COMPANIONS:
            return False
        shown, finals = (np.array(column) for column in zip(*known, strict=True))
        return gives_way(training.shown[rung], shown, finals, report.epoch / self._budget.epochs)

    def _rung_of(self, epoch: float) -> float | None:
        """The rung that a report at this epoch was made for. Steps are whole, so it may come a little later."""
        place = bisect.bisect_right(self._schedule.report_at, epoch) - 1
        point = self._schedule.report_at[place] if place >= 0 else None
        return point if point in self._known else None

    def _learn(self, training: _Training, seconds: float) -> None:
        if training.ended:
            return
        training.ended, self._longest = True, max(self._longest, seconds)
        if math.isfinite(training.best):
            for rung, signals in training.shown.items():
                self._known[rung].append((signals, training.best))

    def _may_stop(self, params: Mapping[str, Any], report: Line | Measured) -> bool:
        """Whether the budget allows early stopping and the trial has trained long enough."""
        warmup = params.get("warmup", self._base.warmup)
        if report.step < budgets.STEPS or report.epoch <= warmup * self._budget.epochs:
            return False
        whole = report.seconds / report.epoch * self._budget.epochs  # while only short ones have ended
        longest = max(self._longest, whole)
        return budgets.whole_trainings(self._budget, self._slots, longest) >= budgets.FEWEST

    def replay(self, trials: Iterable[Trial]) -> set[int]:
        """Replay the reports of earlier sessions; returns the trials that were stopped at their last report."""
        lines = [line for trial in trials for line in trial.reports]
        stopped: set[int] = set()
        for line in sorted(lines, key=lambda line: line.time):
            decided = self.stops(line.number, line.params, line)
            (stopped.add if decided else stopped.discard)(line.number)
        return stopped


def signals_of(report: Line | Measured) -> Signals:
    """The signals of a report."""
    losses = (-report.metrics.get(name, math.nan) for name in ("loss", "train_loss"))
    objective = math.nan if report.objective is None else report.objective
    first, second, third = (value if math.isfinite(value) else math.nan for value in (objective, *losses))
    return first, second, third


def gives_way(shown: Sequence[float], known: Array, finals: Array, done: float) -> bool:
    """Whether a new trial promises much more in the same time than to go on with this one.

    The probability that a new trial is one of the best is the share of the best among all, and it costs a whole
    training. This one costs what is left of it.

    Args:
        shown: signals of this trial at the rung.
        known: [trials, signals]: those of the trials that were trained whole.
        finals: [trials]: their final objectives.
        done: share of its training that this trial has behind it.
    """
    best = min(_TOP, len(finals) // 2)
    of_new = best / (len(finals) + 1)
    return chance(shown, known, finals, best) < _CAUTION * of_new * (1 - done)


def chance(shown: Sequence[float], known: Array, finals: Array, best: int) -> float:
    """Probability that a trial ends with a better objective than the `best`-th best of the others.

    Ranks are turned into normal scores, and a signal's scores and the final ones are taken for bivariate normal with an
    unknown correlation from 0 to 1. It is integrated out, and signals count by how well each explains the finals. A
    correlation c has a prior density of 1 - c.

    Args:
        shown: signals of the trial.
        known: [trials, signals]: those of the others.
        finals: [trials]: final objectives of the others.
        best: number of trials that count as the best.
    """
    from scipy.special import ndtr, ndtri

    agreed = agreement(shown, known, finals)
    if agreed is None:
        return best / (len(finals) + 1)
    bar = float(ndtri(1 - best / (len(finals) + 1)))
    above = ndtr((agreed.correlations * agreed.places - bar) / np.sqrt(1 - agreed.correlations**2))
    return float(agreed.weights @ above)


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What a trial's signals say of its final objective: pairs of a signal and a correlation that it may have."""

    correlations: Array
    places: Array
    """Normal score of the trial among all by that signal."""
    weights: Array
    """They add up to 1."""


def agreement(shown: Sequence[float], known: Array, finals: Array) -> Agreement | None:
    """See `chance`. None if the trial has no signal."""
    ends, variances = normal_scores(finals), 1 - _CORRELATIONS**2
    fits, places = [], []
    for signal, value in enumerate(shown):
        if math.isnan(value):
            continue
        column = np.append(known[:, signal], value)
        place = normal_scores(np.where(np.isnan(column), -np.inf, column))
        away = ends - _CORRELATIONS[:, None] * place[:-1]
        fits.append(np.log(1 - _CORRELATIONS) - 0.5 * (len(finals) * np.log(variances) + (away**2).sum(1) / variances))
        places.append(place[-1])
    if not fits:
        return None
    weights = np.exp(np.array(fits) - np.max(fits)).ravel()
    return Agreement(
        correlations=np.tile(_CORRELATIONS, len(fits)),
        places=np.repeat(places, len(_CORRELATIONS)),
        weights=weights / weights.sum(),
    )


def normal_scores(values: Array) -> Array:
    """The normal quantile of each value's rank; equals share their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))
