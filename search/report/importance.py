"""Which parameters set the best trials apart: PED-ANOVA, and how much of its result chance alone would give.

Trials that were stopped early have scores of different epochs, which do not compare. The scores of the trials that were
never stopped do compare, but these trials were chosen. PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) only asks
which trials are among the best, and a trial that a rung stopped is unlikely to be one of them. PED-ANOVA also treats a
log scale as one, which Optuna's fANOVA does not, and is quick with 2,000 trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from frostline.search.plan import parameters
from frostline.search.records.trials import Outcome, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

FEWEST = 10
"""With fewer trials no importance is computed."""
_BEST = 5
"""The least number of trials that count as the best (Optuna's own advice); a tenth of many."""
_SHUFFLES = 40
CHANCE = 0.95
"""Share of the shuffles that stay below the level of chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """How much each parameter sets the best trials apart."""

    shares: dict[str, float]
    """Share of the importance by parameter, largest first; the shares add up to 1."""
    chance: float
    """The level of chance: in 95 of 100 searches whose scores have nothing to do with their parameters, the largest
    share stays below it. In the unit of `shares`; may exceed 1."""
    best: int
    """Number of trials that count as the best."""
    trials: int
    """Number of trials that it was computed on."""

    @property
    def clear(self) -> list[str]:
        """Parameters above the level of chance, largest first."""
        return [name for name, share in self.shares.items() if share > self.chance]


def judged(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that the search has judged, worst first.

    Trials that a rung stopped come first, in the order of their last epoch. Trials that trained to the end follow.
    """

    def place(trial: Trial) -> tuple[float, float, int]:
        if trial.outcome == Outcome.COMPLETE:
            return math.inf, trial.objective, -trial.number
        last = trial.reports[-1]
        return round(last.epoch, 1), -math.inf if last.objective is None else last.objective, -trial.number

    complete = [trial for trial in trials if trial.outcome == Outcome.COMPLETE and trial.best]
    pruned = [trial for trial in trials if trial.outcome == Outcome.PRUNED and trial.reports]
    return sorted([*complete, *pruned], key=place)


def importance(trials: Sequence[Trial], distributions: Mapping[str, BaseDistribution]) -> Importance | None:
    """The importance of each searched parameter; None if too few trials were judged or all of them are alike."""
    import optuna

    searched = {name: space for name, space in distributions.items() if not space.single()}
    order = [t for t in judged(trials) if searched.keys() <= parameters.sampled(t.params).keys()]
    if len(order) < FEWEST or len(searched) < 2:
        return None
    best = max(_BEST, math.ceil(0.1 * len(order)))
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        evaluated = _evaluated(order, searched, best)
    finally:
        optuna.logging.set_verbosity(before)
    if evaluated is None:
        return None
    shares, largest = evaluated
    total = sum(shares.values())
    if not total > 0:
        return None
    return Importance(
        shares={name: share / total for name, share in sorted(shares.items(), key=lambda item: -item[1])},
        chance=float(np.quantile(largest, CHANCE)) / total,
        best=best,
        trials=len(order),
    )


def _evaluated(
    order: Sequence[Trial], searched: Mapping[str, BaseDistribution], best: int
) -> tuple[dict[str, float], list[float]] | None:
    """PED-ANOVA's value for each parameter, and its largest value in each shuffle of the order.

    None if a trial lies outside the space.
    """
    from optuna.importance import PedAnovaImportanceEvaluator

    study = _study(order, searched)
    if study is None:
        return None
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(order))
    dice = np.random.default_rng(0)

    def evaluate(places: Sequence[int]) -> dict[str, float]:
        return evaluator.evaluate(study, target=lambda trial: -float(places[trial.number]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the target is minimized, as intended
        shares = evaluate(range(len(order)))
        largest = [max(evaluate(dice.permutation(len(order)).tolist()).values()) for _ in range(_SHUFFLES)]
    return shares, largest


def _study(order: Sequence[Trial], searched: Mapping[str, BaseDistribution]) -> optuna.Study | None:
    """A study in memory with the trials, numbered in their order; None if one of them lies outside the space."""
    import optuna

    study = optuna.create_study(direction="minimize")
    try:
        study.add_trials(
            optuna.trial.create_trial(
                value=0.0, params={name: trial.params[name] for name in searched}, distributions=dict(searched)
            )
            for trial in order
        )
    except ValueError:
        return None
    return study
