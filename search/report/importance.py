"""Which parameters set the best trials apart: PED-ANOVA, and what it makes of chance.

Most trials of a search are stopped early, so their scores are of different epochs and do not compare; those of the
trials that were never stopped do, but they were chosen by score. PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255)
asks only which trials are among the best, and that ASHA has said of all of them: a trial that was stopped is behind
those that went on. It also takes a log scale as one, which Optuna's fANOVA does not, and is quick with 2,000 trials.
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
"""Trials below which nothing is said."""
_BEST = 5
"""Trials that are called the best, at least: Optuna's own advice; a tenth of many."""
_SHUFFLES = 40
CHANCE = 0.95
"""Share of the shuffles that stay below what is called the level of chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Of each parameter, how much it sets the best trials apart."""

    shares: dict[str, float]
    """By parameter, largest first; they add up to 1."""
    chance: float
    """What the largest share would stay below in 95 of 100 searches whose scores have nothing to do with their
    parameters; in the unit of `shares`, may exceed 1."""
    best: int
    """Trials that count as the best."""
    trials: int
    """All that it was computed on."""

    @property
    def clear(self) -> list[str]:
        """Parameters above the level of chance, largest first."""
        return [name for name, share in self.shares.items() if share > self.chance]


def judged(trials: Sequence[Trial]) -> list[Trial]:
    """Those that the search has judged, worst first: stopped by ASHA, sooner before later, or trained to the end."""

    def place(trial: Trial) -> tuple[float, float, int]:
        if trial.outcome == Outcome.COMPLETE:
            return math.inf, trial.objective, -trial.number
        last = trial.reports[-1]
        return round(last.epoch, 1), -math.inf if last.objective is None else last.objective, -trial.number

    fair = [trial for trial in trials if trial.outcome == Outcome.COMPLETE and trial.best]
    fair += [trial for trial in trials if trial.outcome == Outcome.PRUNED and trial.reports]
    return sorted(fair, key=place)


def importance(trials: Sequence[Trial], distributions: Mapping[str, BaseDistribution]) -> Importance | None:
    """What the trials that were judged say; None where they are too few, or there is nothing to tell apart."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    searched = {name: space for name, space in distributions.items() if not space.single()}
    order = [t for t in judged(trials) if searched.keys() <= parameters.sampled(t.params).keys()]
    if len(order) < FEWEST or len(searched) < 2:
        return None
    top = max(_BEST, math.ceil(0.1 * len(order)))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=top / len(order))

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a target is minimized: it is
            study = _study(order, searched)
            if study is None:
                return None

            def of(places: Sequence[int]) -> dict[str, float]:
                return evaluator.evaluate(study, target=lambda trial: -float(places[trial.number]))

            found, dice = of(range(len(order))), np.random.default_rng(0)
            largest = [max(of(dice.permutation(len(order)).tolist()).values()) for _ in range(_SHUFFLES)]
    finally:
        optuna.logging.set_verbosity(before)
    total = sum(found.values())
    if not total > 0:
        return None
    return Importance(
        shares={name: value / total for name, value in sorted(found.items(), key=lambda item: -item[1])},
        chance=float(np.quantile(largest, CHANCE)) / total,
        best=top,
        trials=len(order),
    )


def _study(order: Sequence[Trial], searched: Mapping[str, BaseDistribution]) -> optuna.Study | None:
    """A study in memory with the trials, numbered in their order; None where one is outside the space."""
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
