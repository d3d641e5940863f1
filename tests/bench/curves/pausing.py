"""Frostline with pauses: a trial gives its slot up at each rung, and the slot goes to another trial or comes back.

What goes on is a matter of a rule. The one here is that of ASHA (Li et al. 2020, arXiv:1810.05934): a paused trial that
is among the better half at its rung by validation loss, else a new recipe. `freeze_thaw.py` has another one. Neither
gains anything: see tests/bench/README.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from frostline.search.ledger import study
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs, Signals
from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome
from frostline.spaces import Budget
from tests.bench.curves import ours
from tests.bench.curves.replay import Method, Start
from tests.bench.curves.standin import Point, StandIn

_PAUSES = (0.5, 1.0, 2.0)
"""Epochs at which a trial gives its slot up."""
_LEAST_KEPT, _KEPT = 8, 2
"""Paused trials, at most: in all, or for each slot if that is more. Each has a snapshot. The worst is stopped then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paused:
    """A trial that has no slot."""

    job: Job
    epoch: float
    """The rung."""
    shown: Signals
    seconds: float
    """What it has taken."""
    left: float
    """What the rest takes."""
    step: int
    reports: int


class Promoting(Ledger):
    """The product's ledger, whose trials may be paused."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """See `Ledger`."""
        super().__init__(*given, **named)
        self.rungs = Rungs(self.plan)
        self._paused: dict[tuple[int, int], Paused] = {}
        self._shown: dict[float, list[float]] = {}
        """Losses at each rung, negative."""

    def pauses(self, paused: Paused) -> bool:
        """Whether a trial that has just reported gives its slot up."""
        self._shown.setdefault(paused.epoch, []).append(paused.shown[1])
        self._pause(paused)
        return True

    def _pause(self, paused: Paused) -> None:
        self._paused[paused.job.key] = paused
        self._running.pop(paused.job.key)
        self._no_trial_pays = False
        if len(self._paused) > max(_LEAST_KEPT, _KEPT * self.plan.resources.slots):
            self.end(self._worst().job, Outcome.PRUNED)

    def end(self, job: Job, outcome: Outcome, reason: str = "") -> Line:
        self._paused.pop(job.key, None)
        return super().end(job, outcome, reason)

    def _more_trials(self) -> bool:
        return super()._more_trials() or (not self._no_trial_pays and bool(self._in_time()))

    def _in_time(self) -> list[Paused]:
        return [one for one in self._paused.values() if one.left <= self._seconds_left]

    def _new_trial(self) -> Job | None:
        """The paused trial that goes on, or a new one."""
        there, new = self._in_time(), super()._more_trials()
        chosen = self._chosen(there, new) if there else None
        if chosen is not None:
            del self._paused[chosen.job.key]
            return chosen.job
        job = super()._new_trial() if new else None
        self._no_trial_pays = job is None
        return job

    def _begin(self, job: Job) -> None:
        if job.key in self._started:
            self._again = 0
        else:
            super()._begin(job)

    def _chosen(self, paused: Sequence[Paused], new: bool) -> Paused | None:
        """The paused trial that goes on; None if there is something better to do.

        Args:
            paused: trials that would end in time, at least one.
            new: whether a new trial may begin instead.
        """
        best = max(paused, key=self._rank)
        return best if not new or self._is_better_half(best) else None

    def _worst(self) -> Paused:
        return min(self._paused.values(), key=self._rank)

    def _rank(self, paused: Paused) -> tuple[bool, float, float]:
        return self._is_better_half(paused), paused.epoch, paused.shown[1]

    def _is_better_half(self, paused: Paused) -> bool:
        shown = self._shown[paused.epoch]
        return sum(one > paused.shown[1] for one in shown) < len(shown) // self.plan.budget.reduction_factor


class Pausing(ours.Frostline):
    """Frostline, whose trials give their slots up at the rungs."""

    _books: type[Promoting] = Promoting
    _ledger: Promoting

    def __init__(self, stand_in: StandIn, workers: int, budget: Budget, seed: int) -> None:
        """See `ours.Frostline`."""
        super().__init__(stand_in, workers, budget, seed)
        self._rungs, self._epochs = self._ledger.rungs, stand_in.epochs
        self._before: dict[Hashable, Paused] = {}

    def ask(self, now: float) -> Start | None:
        # What is paused would count as a trial, and TPE would soon propose.
        with mock.patch.object(study, "MODELLED", math.inf):
            start = super().ask(now)
        if start is None or (paused := self._before.pop(start.key, None)) is None:
            return start
        self._began[start.key] = now - paused.seconds
        return dataclasses.replace(start, after=paused.reports)

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        goes_on, job = super().report(key, point, last, now), self._jobs[key]
        if not goes_on or job.confirms or point.epoch not in _PAUSES:
            return goes_on
        seconds = now - self._began[key]
        paused = Paused(
            job=job,
            epoch=point.epoch,
            shown=(point.accuracy, -point.loss, -point.train_loss),
            seconds=seconds,
            left=seconds * (self._plan.budget.epochs / point.epoch - 1),
            step=point.step,
            reports=self._epochs.index(point.epoch) + 1,
        )
        if not self._ledger.pauses(paused):
            return True
        self._before[key] = paused
        return False


def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """By rank at each rung."""
    return Pausing(stand_in, workers, ours.budget_of(stand_in, seconds), seed)
