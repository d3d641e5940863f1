"""DEHB and SMAC: they ask for recipes with budgets, and for the best of these again with larger budgets.

A training stops at the first report that reaches its budget, and goes on from there if its recipe is asked for again.
Follows https://automl.github.io/DEHB/latest/getting_started/ask_tell/,
https://automl.github.io/SMAC3/latest/advanced_usage/2_multi_fidelity/ and
https://automl.github.io/SMAC3/latest/advanced_usage/5_ask_and_tell/. The reduction factor is 3, the default of both.
DEHB cannot be told what to try first, so it does not begin with the literature's recipes.
"""

from __future__ import annotations

import abc
import json
import math
import tempfile
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tests.bench.curves.peers.trials import Peer, last_step
from tests.bench.curves.recipes import Params, recipe_at
from tests.bench.curves.replay import Method, Start
from tests.bench.curves.standin import Point, StandIn

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

_REDUCTION_FACTOR = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A recipe that is asked for."""

    params: Params
    budget: float
    """In steps."""
    job: Any
    """The library's own description of it."""


class BudgetPeer(Peer):
    """A method that asks for recipes with budgets."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}
        self._reports: dict[int, int] = {}
        self._reached: dict[int, tuple[int, float]] = {}
        self._wanted: dict[int, list[Wanted]] = {}
        self._failed: set[int] = set()

    def ask(self, now: float) -> Start | None:
        while True:
            wanted = self.next()
            key = json.dumps(wanted.params, sort_keys=True)
            number = self._numbers.setdefault(key, len(self.params))
            if number == len(self.params):
                self.params.append(wanted.params)
            step, score = self._reached.get(number, (0, 0.0))
            if number in self._failed:
                self.tell(wanted, 0.0)
            elif step >= wanted.budget:
                self.tell(wanted, score)
            elif number in self._wanted:  # it is in training, and is told then
                self._wanted[number].append(wanted)
            else:
                self._wanted[number] = [wanted]
                return Start(key=number, params=wanted.params, seed=number, after=self._reports.get(number, 0))

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        assert isinstance(key, int)
        self._reports[key] = self._reports.get(key, 0) + 1
        return super().report(key, point, last, now)

    def propose(self, number: int) -> Params | None:
        raise NotImplementedError("`ask` does it")

    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        # At the end the best epoch counts, since that is what is kept of a training.
        self._reached[number] = (step, self.scores[number] if last else score)
        waiting = self._wanted.pop(number)
        for wanted in waiting:
            if step >= wanted.budget or last:
                self.tell(wanted, self._reached[number][1])
        if left := [wanted for wanted in waiting if step < wanted.budget and not last]:
            self._wanted[number] = left
        return bool(left)

    def failed(self, number: int) -> None:
        self._failed.add(number)
        for wanted in self._wanted.pop(number):
            self.tell(wanted, 0.0)

    @abc.abstractmethod
    def next(self) -> Wanted:
        """What the library asks for."""

    @abc.abstractmethod
    def tell(self, wanted: Wanted, score: float) -> None:
        """Tell the library a score; 0 for a failure."""


class DehbPeer(BudgetPeer):
    """DEHB on the unit cube."""

    def __init__(self, stand_in: StandIn, seed: int) -> None:
        from dehb import DEHB
        from loguru import logger

        super().__init__()
        self._space = stand_in.space
        with tempfile.TemporaryDirectory() as folder:
            self._dehb = DEHB(
                dimensions=len(self._space),
                min_fidelity=1,
                max_fidelity=last_step(stand_in),
                eta=_REDUCTION_FACTOR,
                n_workers=1,  # it would start its own for more; it can be asked for several all the same
                seed=seed,
                output_path=folder,
                save_freq="end",
            )
            logger.remove()  # each DEHB opens a log there

    def next(self) -> Wanted:
        job = self._dehb.ask()
        place = np.clip(job["config"], 0.0, 1 - 1e-9)
        params = recipe_at(self._space, dict(zip(self._space, place, strict=True)))
        return Wanted(params=params, budget=job["fidelity"], job=job)

    def tell(self, wanted: Wanted, score: float) -> None:
        self._dehb.tell(wanted.job, {"fitness": 1 - score, "cost": 1.0})


class SmacPeer(BudgetPeer):
    """A facade of SMAC."""

    def __init__(self, stand_in: StandIn, trainings: int, seed: int, multi_fidelity: bool) -> None:
        from ConfigSpace import Configuration
        from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario

        super().__init__()
        self._space, self._last = stand_in.space, last_step(stand_in)
        facade = MultiFidelityFacade if multi_fidelity else HyperparameterOptimizationFacade
        budgets = {"min_budget": 1, "max_budget": self._last} if multi_fidelity else {}

        def with_budget(config: Any, seed: int, budget: float) -> float:
            raise NotImplementedError("we ask and tell")

        def whole(config: Any, seed: int) -> float:
            raise NotImplementedError("we ask and tell")

        space = _config_space(self._space, seed)
        with tempfile.TemporaryDirectory() as folder:
            scenario = Scenario(
                space,
                deterministic=True,  # a recipe is trained with one seed
                n_trials=trainings,
                seed=seed,
                output_directory=Path(folder),
                **budgets,
            )
            first = [Configuration(space, values=params) for params in stand_in.literature.values()]
            self._smac = facade(
                scenario,
                with_budget if multi_fidelity else whole,
                initial_design=facade.get_initial_design(scenario, additional_configs=first),
                overwrite=True,
                logging_level=False,
            )

    def next(self) -> Wanted:
        job = self._smac.ask()
        params = {name: _value(self._space[name], job.config[name]) for name in self._space}
        return Wanted(params=params, budget=job.budget or self._last, job=job)

    def tell(self, wanted: Wanted, score: float) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self._smac.tell(wanted.job, TrialValue(cost=1 - score, time=1.0), save=False)


def _config_space(space: Mapping[str, BaseDistribution], seed: int) -> ConfigurationSpace:
    from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

    described = ConfigurationSpace(seed=seed)
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            described.add(Categorical(name, list(distribution.choices)))
        elif isinstance(distribution, IntDistribution):
            described.add(Integer(name, (distribution.low, distribution.high)))
        else:
            assert isinstance(distribution, FloatDistribution)
            described.add(Float(name, (distribution.low, distribution.high), log=distribution.log))
    return described


def _value(distribution: BaseDistribution, value: Any) -> Any:
    """A value without the type of numpy that ConfigSpace gives it."""
    return distribution.to_external_repr(distribution.to_internal_repr(value))


def dehb(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Differential evolution in Hyperband's brackets."""
    return DehbPeer(stand_in, seed)


def smac(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """A forest over recipes in Hyperband's brackets; a whole training's time is that of about three in these."""
    return SmacPeer(stand_in, 3 * _trainings(stand_in, workers, seconds), seed, multi_fidelity=True)


def smac_whole(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """A forest over recipes without early stopping."""
    return SmacPeer(stand_in, _trainings(stand_in, workers, seconds), seed, multi_fidelity=False)


def _trainings(stand_in: StandIn, workers: int, seconds: float) -> int:
    """Whole trainings that the search has time for."""
    return math.ceil(workers * seconds / stand_in.full_seconds)
