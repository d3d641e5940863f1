"""Syne Tune: its schedulers, asked and told as its `Tuner` does it.

Follows https://syne-tune.readthedocs.io/en/latest/getting_started.html and
https://syne-tune.readthedocs.io/en/latest/schedulers.html. ASHA, BOHB (its asynchronous kind) and ASHA with CQR have a
reduction factor of 3, the default. Hyperband is ASHA with all brackets: Syne Tune 0.16 has no other. CQR alone sees
whole trainings.
"""

from __future__ import annotations

import datetime
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tests.bench.curves.peers.trials import Peer, last_step
from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Method
from tests.bench.curves.standin import StandIn

if TYPE_CHECKING:
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.scheduler import TrialScheduler

_REDUCTION_FACTOR = 3


class SchedulerPeer(Peer):
    """A scheduler of Syne Tune."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._trials: list[Trial] = []

    def propose(self, number: int) -> Params | None:
        from syne_tune.backend.trial_status import Trial

        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        start = datetime.datetime(2026, 1, 1)
        self._trials.append(Trial(trial_id=number, config=suggestion.config, creation_time=start))
        self._scheduler.on_trial_add(self._trials[number])
        return dict(suggestion.config)

    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        trial = self._trials[number]
        # At the end the best epoch counts, since that is what is kept of a training.
        result = {"accuracy": self.scores[number] if last else score, "step": step}
        stops = self._scheduler.on_trial_result(trial, result) == "STOP"
        if stops:
            self._scheduler.on_trial_remove(trial)
        elif last:
            self._scheduler.on_trial_complete(trial, result)
        return not stops

    def failed(self, number: int) -> None:
        self._scheduler.on_trial_error(self._trials[number])


def space_of(space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The search space as Syne Tune writes it."""
    from syne_tune.config_space import choice, loguniform, randint, uniform

    domains: dict[str, Any] = {}
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            domains[name] = choice(list(distribution.choices))
        elif isinstance(distribution, IntDistribution):
            domains[name] = randint(distribution.low, distribution.high)
        else:
            assert isinstance(distribution, FloatDistribution)
            kind = loguniform if distribution.log else uniform
            domains[name] = kind(distribution.low, distribution.high)
    return domains


def _peer(name: str, stand_in: StandIn, seed: int, **more: Any) -> Method:
    from syne_tune.optimizer import baselines

    logging.getLogger("syne_tune").setLevel(logging.CRITICAL)
    np.random.seed(seed)  # the bracket of a trial is drawn from numpy's global generator
    scheduler = getattr(baselines, name)(
        config_space=space_of(stand_in.space),
        metric="accuracy",
        do_minimize=False,
        random_seed=seed,
        points_to_evaluate=[dict(params) for params in stand_in.literature.values()],
        **more,
    )
    return SchedulerPeer(scheduler)


def _asynchronous(name: str, stand_in: StandIn, seed: int, brackets: int = 1) -> Method:
    return _peer(
        name,
        stand_in,
        seed,
        time_attr="step",
        max_t=last_step(stand_in),
        grace_period=1,
        reduction_factor=_REDUCTION_FACTOR,
        brackets=brackets,
    )


def asha(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """ASHA on random recipes."""
    return _asynchronous("ASHA", stand_in, seed)


def hyperband(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """ASHA on random recipes, with brackets that begin to decide later and later."""
    brackets = int(math.log(last_step(stand_in)) / math.log(_REDUCTION_FACTOR)) + 1
    return _asynchronous("ASHA", stand_in, seed, brackets)


def bohb(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """ASHA with kernel density estimates of good and bad recipes."""
    return _asynchronous("BOHB", stand_in, seed)


def asha_cqr(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """ASHA with conformal quantile regression on the last score of each training."""
    return _asynchronous("ASHACQR", stand_in, seed)


def cqr(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Conformal quantile regression without early stopping."""
    return _peer("CQR", stand_in, seed)
