"""Budget -> ASHA: where a trial may be stopped, and the scheduler that stops it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from frostline.spaces import Budget

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from frostline.search.records.trials import Trial


def rungs(budget: Budget) -> tuple[float, ...]:
    """Epochs at which ASHA may stop a trial: `first_rung`, times `reduction_factor` each, below `epochs`."""
    found, at = [], budget.first_rung
    while at < budget.epochs:
        found.append(float(at))
        at *= budget.reduction_factor
    return tuple(found)


def report_points(budget: Budget) -> tuple[float, ...]:
    """Epochs at which a trial is measured: every rung and every whole epoch."""
    return tuple(sorted({*rungs(budget), *map(float, range(1, budget.epochs + 1))}))


def looks(budget: Budget, train: int, validation: int) -> tuple[int, ...]:
    """How many validation examples each report looks at: all from the first whole epoch on, before it fewer.

    A forward pass is about a third of a training step, so half as many as have been trained on take a seventh of
    the time; 100 at least, below which a score says little.
    """
    return tuple(
        validation if point >= 1 else min(validation, max(100, math.ceil(point * train / 2)))
        for point in report_points(budget)
    )


def worst_case_epochs(trials: int, budget: Budget) -> float:
    """Epochs of training if ASHA stopped nothing."""
    return float(trials * budget.epochs)


def expected_epochs(trials: int, budget: Budget) -> float:
    """Epochs of training if exactly one trial in `reduction_factor` passes each rung."""
    points, alive, total = (0.0, *rungs(budget), float(budget.epochs)), float(trials), 0.0
    for start, stop in itertools.pairwise(points):
        total += math.ceil(alive) * (stop - start)
        alive /= budget.reduction_factor
    return total


def asha(budget: Budget) -> AsyncHyperBandScheduler:
    """Ray's ASHA on epochs as we count them, deciding by the report's `objective` (larger is better)."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="objective",
        mode="max",
        grace_period=budget.first_rung,
        max_t=budget.epochs,
        reduction_factor=budget.reduction_factor,
    )


class _Numbered(NamedTuple):
    """What ASHA asks of a Tune trial. Tune's own ids are new in every session, our numbers are not."""

    trial_id: str


class Rungs:
    """ASHA's decisions by trial number; made again from the records, since Ray does not keep them (ray#30838)."""

    def __init__(self, budget: Budget) -> None:
        self._asha = asha(budget)
        self._seen: set[int] = set()

    def stops(self, number: int, epoch: float, objective: float) -> bool:
        """Whether the trial stops at this report: it is over, or ASHA leaves it behind."""
        trial = _Numbered(str(number))
        if number not in self._seen:
            self._seen.add(number)
            self._asha.on_trial_add(None, trial)
        action = self._asha.on_trial_result(None, trial, {"epoch": epoch, "objective": objective})
        return bool(action == self._asha.STOP)

    def replay(self, trials: Iterable[Trial], metric: str) -> set[int]:
        """Take in what earlier sessions recorded; the trials that were stopped at their last report."""
        lines = [line for trial in trials for line in trial.reports]
        stopped: set[int] = set()
        for line in sorted(lines, key=lambda line: line.time):
            decided = self.stops(line.number, line.epoch, line.metrics.get(metric, -math.inf))
            (stopped.add if decided else stopped.discard)(line.number)
        return stopped
