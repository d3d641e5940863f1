"""Optuna: its samplers and pruners through `Study.ask`, `Trial.report`, `Trial.should_prune` and `Study.tell`.

Follows https://optuna.readthedocs.io/en/stable/tutorial/20_recipes/009_ask_and_tell.html and, for the pruners,
https://optuna.readthedocs.io/en/stable/tutorial/10_key_features/003_efficient_optimization_algorithms.html. TPE is
multivariate and counts trainings under way as bad ones (constant liar). That is Optuna 5's default and advised for
searches in parallel: https://optuna.readthedocs.io/en/stable/reference/samplers/generated/optuna.samplers.TPESampler.html.
The reduction factors of the pruners are Optuna's defaults, 4 and 3, and besides 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.bench.curves.peers.trials import Peer, last_step
from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Making, Method
from tests.bench.curves.standin import StandIn

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial


class StudyPeer(Peer):
    """A study that is asked and told."""

    def __init__(self, stand_in: StandIn, sampler: BaseSampler, pruner: BasePruner, seed: int) -> None:
        import optuna

        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # The Hyperband pruner draws a trial's bracket from the study's name.
        self._study = optuna.create_study(
            direction="maximize", sampler=sampler, pruner=pruner, study_name=f"replay-{seed}"
        )
        for params in stand_in.literature.values():
            self._study.enqueue_trial(params)
        self._space = stand_in.space
        self._trials: list[Trial] = []

    def propose(self, number: int) -> Params:
        self._trials.append(self._study.ask(self._space))
        return dict(self._trials[number].params)

    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        from optuna.trial import TrialState

        trial = self._trials[number]
        trial.report(score, step)
        if last:
            self._study.tell(trial, self.scores[number])
        elif trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True

    def failed(self, number: int) -> None:
        from optuna.trial import TrialState

        self._study.tell(self._trials[number], state=TrialState.FAIL)


def _making(sampler: Callable[[int], BaseSampler], pruner: Callable[[StandIn], BasePruner]) -> Making:
    def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
        return StudyPeer(stand_in, sampler(seed), pruner(stand_in), seed)

    return making


def _tpe(seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _gp(seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed)


def _nothing(stand_in: StandIn) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(stand_in: StandIn) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner()


def _halving(stand_in: StandIn, reduction_factor: int) -> BasePruner:
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction_factor)


def _hyperband(stand_in: StandIn) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(min_resource=1, max_resource=last_step(stand_in), reduction_factor=3)


tpe = _making(_tpe, _nothing)
"""TPE without early stopping."""
tpe_halving = _making(_tpe, functools.partial(_halving, reduction_factor=4))
"""TPE with asynchronous successive halving, one in four goes on."""
tpe_halving_2 = _making(_tpe, functools.partial(_halving, reduction_factor=2))
"""TPE with asynchronous successive halving, one in two goes on."""
tpe_hyperband = _making(_tpe, _hyperband)
"""TPE with Hyperband."""
tpe_median = _making(_tpe, _median)
"""TPE with the median rule."""
gp = _making(_gp, _nothing)
"""A Gaussian process without early stopping: a pruned training is no example for it."""
