"""Frostline with pauses: a trial gives its slot up at each rung, and the slot goes to what promises most.

Two rules. `pausing`: the paused trial or the new recipe that is the likeliest to be one of the best, for each part of a
training that is left (after freeze-thaw, Swersky, Snoek, Adams 2014, arXiv:1406.3896). By seconds, what is quick would
end first, new recipes would look as quick, and hardly a slow one would ever be trained whole. `promotion`: a paused
trial that is among the better half at its rung by validation loss, else a new recipe (ASHA, Li et al. 2020,
arXiv:1810.05934). What they gain is in tests/bench/README.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from frostline.search.ledger import rungs, study
from frostline.search.ledger.gaussian.surrogate import Array, _warped
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs, Signals
from frostline.search.plan import budget as budgets
from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome
from frostline.spaces import Budget
from tests.bench.curves import ours
from tests.bench.curves.replay import Method, Start
from tests.bench.curves.standin import Point, StandIn

_PAUSES = (0.5, 1.0, 2.0)
"""Epochs at which a trial gives its slot up."""
_COMPANIONS = 3
"""Whole trainings before a trial is paused for its signals. To be stopped it takes six; a pause can be undone."""
_LEAST_KEPT, _KEPT = 8, 2
"""Paused trials at once, at most, and for each slot: each has a snapshot. The worst one is stopped for good."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What is expected of a training before it has shown anything, in units of the process."""

    mean: float
    variance: float
    """Of the score of a training: of the recipe's mean, and luck."""


def chance(
    prior: Prior, bar: float, shown: Sequence[float] = (), known: Array | None = None, finals: Array | None = None
) -> tuple[float, float]:
    """Probability that a training ends above a score, and its expected final score.

    Given the final score, a signal is normal around it, with an unknown correlation (`rungs.agreement`): that is
    `rungs.chance`, with what the process expects of the recipe instead of the mean of all.

    Args:
        prior: of the recipe.
        bar: the score.
        shown: signals of the training at a rung; empty if it has not begun.
        known: [trials, signals]: those of the trials that were trained whole.
        finals: [trials]: their scores. All scores are in units of the process.
    """
    from scipy.special import ndtr

    means, variances, weights = np.array([prior.mean]), np.array([prior.variance]), np.ones(1)
    if known is not None and finals is not None and (agreed := rungs.agreement(shown, known, finals)):
        center, scale = float(finals.mean()), max(float(finals.std()), 1e-6)
        precise = agreed.correlations / (1 - agreed.correlations**2) / scale
        variances = 1 / (1 / prior.variance + precise * agreed.correlations / scale)
        told = agreed.correlations * center / scale + agreed.places
        means = variances * (prior.mean / prior.variance + precise * told)
        weights = agreed.weights
    return float(weights @ ndtr((means - bar) / np.sqrt(variances))), float(weights @ means)


class _Pausing(Ledger):
    """The product's ledger with trials that may be paused."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.rungs = Rungs(self.plan)
        self._paused: dict[tuple[int, int], Paused] = {}
        self._peeked: tuple[object, dict[str, Any] | None] = None, None

    def pauses(self, paused: Paused) -> bool:
        """Take the slot of a trial that has just reported, unless too little is known."""
        warmup = paused.job.params.get("warmup", self.plan.search.base.warmup)
        if paused.step < budgets.STEPS or paused.epoch <= warmup * self.plan.budget.epochs:
            return False  # a rung there says too little for the product, too
        if len(self.rungs._known[paused.epoch]) < _COMPANIONS or self._knowledge.surrogate is None:
            return False
        self._put(paused)
        trial = self._trial(paused.job)
        _, expected = self._chances([paused])[0]
        if trial and expected < 0:  # below the median: proposals have to know
            self._knowledge.put(dataclasses.replace(trial, outcome=Outcome.PRUNED))
        return True

    def _put(self, paused: Paused) -> None:
        self._paused[paused.job.key] = paused
        self._running.pop(paused.job.key)
        self._no_trial_pays = False
        if len(self._paused) > max(_LEAST_KEPT, _KEPT * self.plan.resources.slots):
            self.end(self._worst().job, Outcome.PRUNED)

    def end(self, job: Job, outcome: Outcome, reason: str = "") -> Line:
        self._paused.pop(job.key, None)
        return super().end(job, outcome, reason)

    def _worst(self) -> Paused:
        paused = list(self._paused.values())
        return paused[int(np.argmin(self._rates(paused)))]

    def _more_trials(self) -> bool:
        return super()._more_trials() or (not self._no_trial_pays and bool(self._in_time()))

    def _in_time(self) -> list[Paused]:
        return [one for one in self._paused.values() if one.left <= self._seconds_left]

    def _new_trial(self) -> Job | None:
        """The paused trial that goes on, or a new one."""
        there = self._in_time()
        new = super()._more_trials()
        chosen = self._best(there, new) if there else None
        if chosen is None:
            job = super()._new_trial() if new else None
            self._no_trial_pays = job is None
            return job
        del self._paused[chosen.job.key]
        return chosen.job

    def _begin(self, job: Job) -> None:
        if job.key in self._started:
            self._again = 0
        else:
            super()._begin(job)

    def _best(self, paused: Sequence[Paused], new: bool) -> Paused | None:
        """The paused trial that goes on; None if a new recipe is better, or a training with a fresh seed.

        Args:
            paused: trials that would end in time, at least one.
            new: whether a new trial may begin.
        """
        count = len(self._contest._found)
        rates = self._rates(paused)
        params = self._next_recipe() if new else None
        least = self._chances([params])[0][0] if params is not None else min(rungs._TOP, count // 2) / (count + 1)
        place = int(np.argmax(rates))
        return paused[place] if rates[place] >= least else None

    def _rates(self, paused: Sequence[Paused]) -> list[float]:
        shares = [1 - one.epoch / self.plan.budget.epochs for one in paused]
        return [promises / share for (promises, _), share in zip(self._chances(paused), shares, strict=True)]

    def _next_recipe(self) -> dict[str, Any] | None:
        """What the study would propose."""
        if upcoming := self._study.upcoming():
            return dict(upcoming)
        running = [trial.params for _, trial in sorted(self._study._open.items())]
        key = self._knowledge.surrogate, self._asked, len(running)
        if self._peeked[0] != key:
            proposed = self._knowledge.propose(running, np.random.default_rng(self._asked), self._seconds_left)
            self._peeked = key, proposed and proposed[0]
        return self._peeked[1]

    def _chances(self, those: Sequence[Paused | dict[str, Any]]) -> list[tuple[float, float]]:
        """Probability of each training to be one of the best, and its expected final score in units of the process."""
        process, axes = self._knowledge._known(), self._knowledge.axes
        expected = process.expect(axes.places([one.job.params if isinstance(one, Paused) else one for one in those]))
        apart = expected.deviations**2 + (expected.means - expected.mean) ** 2 + (process.luck**2)[:, None]
        ended = sorted(self._in_units([*self._contest._found.values()]))
        bar, rows = float(ended[-max(1, min(rungs._TOP, len(ended) // 2))]), []
        for one, mean, variance in zip(those, expected.mean, expected.weights @ apart, strict=True):
            prior = Prior(mean=float(mean), variance=float(variance))
            if isinstance(one, Paused):
                signals, finals = zip(*self.rungs._known[one.epoch], strict=True)
                rows.append(chance(prior, bar, one.shown, np.array(signals), self._in_units(finals)))
            else:
                rows.append(chance(prior, bar))
        return rows

    def _in_units(self, scores: Sequence[float]) -> Array:
        process = self._knowledge._known()
        return _warped((np.array(scores) - process.median) / process.unit)


class _Promotion(_Pausing):
    """By rank of the validation loss alone."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._shown: dict[float, list[float]] = {}

    def pauses(self, paused: Paused) -> bool:
        self._shown.setdefault(paused.epoch, []).append(paused.shown[1])
        self._put(paused)
        return True

    def _best(self, paused: Sequence[Paused], new: bool) -> Paused | None:
        best = max(paused, key=lambda one: (self._is_better_half(one), one.epoch, one.shown[1]))
        return best if self._is_better_half(best) or not new else None

    def _worst(self) -> Paused:
        return min(self._paused.values(), key=lambda one: (self._is_better_half(one), one.epoch, one.shown[1]))

    def _is_better_half(self, paused: Paused) -> bool:
        shown = self._shown[paused.epoch]
        return sum(one > paused.shown[1] for one in shown) < len(shown) // self.plan.budget.reduction_factor


class Pausing(ours.Frostline):
    """Frostline, whose trials give their slots up at the rungs."""

    _books: type[_Pausing] = _Pausing
    _ledger: _Pausing

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


class Promotion(Pausing):
    """The same by rank."""

    _books = _Promotion


def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """By expected improvement for each second."""
    return Pausing(stand_in, workers, ours.budget_of(stand_in, seconds), seed)


def promotion(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """By rank at each rung."""
    return Promotion(stand_in, workers, ours.budget_of(stand_in, seconds), seed)
