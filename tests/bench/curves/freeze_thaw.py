"""Frostline with pauses, where a slot goes to what promises most (after Swersky, Snoek, Adams 2014, arXiv:1406.3896).

That is the paused trial or the new recipe that is the likeliest to be one of the best, for each part of a training that
is left. By seconds it does not work: what is quick ends first, new recipes look as quick, and hardly a slow one is ever
trained whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline.search.ledger import rungs
from frostline.search.ledger.gaussian.surrogate import Array, _warped
from frostline.search.plan import budget as budgets
from frostline.search.records.trials import Outcome
from tests.bench.curves import ours
from tests.bench.curves.pausing import Paused, Pausing, Promoting
from tests.bench.curves.replay import Method
from tests.bench.curves.standin import StandIn

_COMPANIONS = 3
"""Whole trainings before a trial is paused. To be stopped it takes six; a pause can be undone."""


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


class _Thawing(Promoting):
    """By what the process and the signals say together."""

    _peeked: tuple[object, dict[str, Any] | None] = None, None
    """The next proposal, and what it follows from."""

    def pauses(self, paused: Paused) -> bool:
        warmup = paused.job.params.get("warmup", self.plan.search.base.warmup)
        if paused.step < budgets.STEPS or paused.epoch <= warmup * self.plan.budget.epochs:
            return False  # a rung there says too little for the product, too
        if len(self.rungs._known[paused.epoch]) < _COMPANIONS or self._knowledge.surrogate is None:
            return False
        self._pause(paused)
        trial = self._trial(paused.job)
        _, expected = self._chances([paused])[0]
        if trial and expected < 0:  # below the median: proposals have to know
            self._knowledge.put(dataclasses.replace(trial, outcome=Outcome.PRUNED))
        return True

    def _chosen(self, paused: Sequence[Paused], new: bool) -> Paused | None:
        rates, count = self._rates(paused), len(self._contest._found)
        params = self._next_recipe() if new else None
        least = self._chances([params])[0][0] if params is not None else min(rungs._TOP, count // 2) / (count + 1)
        place = int(np.argmax(rates))
        return paused[place] if rates[place] >= least else None

    def _worst(self) -> Paused:
        paused = list(self._paused.values())
        return paused[int(np.argmin(self._rates(paused)))]

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


class FreezeThaw(Pausing):
    """The search."""

    _books = _Thawing


def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """The search."""
    return FreezeThaw(stand_in, workers, ours.budget_of(stand_in, seconds), seed)
