"""ASHA: which trial stops at a rung, decided by Ray's own scheduler."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from frostline.spaces import Budget

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from frostline.search.records.trials import Trial


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
    """The part of a Tune trial that ASHA reads. Tune's own ids are new in every session, our numbers are not."""

    trial_id: str


class Rungs:
    """ASHA's decisions by trial number. They are computed again from the records, since Ray does not keep them
    (ray#30838)."""

    def __init__(self, budget: Budget) -> None:
        self._asha = asha(budget)
        self._seen: set[int] = set()

    def stops(self, number: int, epoch: float, objective: float) -> bool:
        """True if the trial stops at this report: its budget is used up, or ASHA stops it."""
        trial = _Numbered(str(number))
        if number not in self._seen:
            self._seen.add(number)
            self._asha.on_trial_add(None, trial)
        action = self._asha.on_trial_result(None, trial, {"epoch": epoch, "objective": objective})
        return bool(action == self._asha.STOP)

    def replay(self, trials: Iterable[Trial]) -> set[int]:
        """Replay the reports of earlier sessions; returns the trials that were stopped at their last report."""
        lines = [line for trial in trials for line in trial.reports]
        stopped: set[int] = set()
        for line in sorted(lines, key=lambda line: line.time):
            objective = -math.inf if line.objective is None else line.objective
            decided = self.stops(line.number, line.epoch, objective)
            (stopped.add if decided else stopped.discard)(line.number)
        return stopped
