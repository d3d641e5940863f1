"""Ray Tune: its ASHA, with random recipes or with its `OptunaSearch`, driven without a cluster.

Follows https://docs.ray.io/en/latest/tune/api/schedulers.html (ASHA: a reduction factor of 4, one bracket) and
https://docs.ray.io/en/latest/tune/examples/optuna_example.html. As Tune's controller does, a training that ASHA stops
is told to the search algorithm as complete with its last score. `HyperBandScheduler` and `HyperBandForBOHB` are not
here: they start and stop trials through the controller.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from tests.bench.curves.peers.trials import Peer, last_step
from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Method
from tests.bench.curves.simple import random_points
from tests.bench.curves.standin import StandIn


class AshaPeer(Peer):
    """Ray's `AsyncHyperBandScheduler` on random recipes."""

    def __init__(self, stand_in: StandIn, seed: int, reduction_factor: float) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        super().__init__()
        self._draw = random_points(stand_in, seed)
        self._asha = AsyncHyperBandScheduler(
            time_attr="step",
            metric="accuracy",
            mode="max",
            grace_period=1,
            max_t=last_step(stand_in),
            reduction_factor=reduction_factor,
        )

    def propose(self, number: int) -> Params:
        self._asha.on_trial_add(None, self._trial(number))
        return self._draw()

    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        action = self._asha.on_trial_result(None, self._trial(number), {"step": step, "accuracy": score})
        return bool(action != self._asha.STOP)

    def failed(self, number: int) -> None:
        self._asha.on_trial_error(None, self._trial(number))

    @staticmethod
    def _trial(number: int) -> SimpleNamespace:
        """The part of a Tune trial that ASHA reads."""
        return SimpleNamespace(trial_id=str(number))


class OptunaSearchPeer(AshaPeer):
    """The same on recipes of Ray's `OptunaSearch`: multivariate TPE."""

    def __init__(self, stand_in: StandIn, seed: int, reduction_factor: float) -> None:
        import optuna
        from optuna.samplers import TPESampler
        from ray.tune.search.optuna import OptunaSearch

        super().__init__(stand_in, seed, reduction_factor)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._search = OptunaSearch(
            space=dict(stand_in.space),
            metric="accuracy",
            mode="max",
            points_to_evaluate=list(stand_in.literature.values()),
            sampler=TPESampler(seed=seed, multivariate=True, constant_liar=True),
        )

    def propose(self, number: int) -> Params:
        super().propose(number)
        return dict(self._search.suggest(str(number)))

    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        goes_on = super().decide(number, step, score, last)
        result = {"accuracy": score, "training_iteration": step}
        if goes_on:
            self._search.on_trial_result(str(number), result)
        else:
            self._search.on_trial_complete(str(number), result)
        return goes_on

    def failed(self, number: int) -> None:
        super().failed(number)
        self._search.on_trial_complete(str(number), error=True)


def _random(stand_in: StandIn, workers: int, seconds: float, seed: int, *, reduction_factor: float) -> Method:
    return AshaPeer(stand_in, seed, reduction_factor)


def _tpe(stand_in: StandIn, workers: int, seconds: float, seed: int, *, reduction_factor: float) -> Method:
    return OptunaSearchPeer(stand_in, seed, reduction_factor)


random_asha = functools.partial(_random, reduction_factor=4)
"""ASHA on random recipes, one in four goes on."""
random_asha_2 = functools.partial(_random, reduction_factor=2)
"""ASHA on random recipes, one in two goes on."""
tpe_asha = functools.partial(_tpe, reduction_factor=4)
"""ASHA with TPE, one in four goes on."""
tpe_asha_2 = functools.partial(_tpe, reduction_factor=2)
"""ASHA with TPE, one in two goes on."""
