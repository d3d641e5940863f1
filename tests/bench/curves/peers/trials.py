"""What all peers share: where they decide, which recipe is best so far, and the trainings by number.

A peer decides after 1/8, 1/4, 1/2 and each whole epoch. Its libraries count whole steps, so a step is 1/8 epoch. It
claims the best score that it has seen after a whole epoch, as its users do. It tries the literature's recipes first.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Hashable

from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Claim, Start
from tests.bench.curves.standin import Point, StandIn

STEPS = 8
"""Steps of an epoch."""


def step_of(point: Point) -> int | None:
    """The step of a report; None where a peer does not decide."""
    step = round(STEPS * point.epoch)
    whole = math.isclose(step, STEPS * point.epoch)
    return step if whole and step > 0 and (step % STEPS == 0 or step in (1, 2, 4)) else None


def last_step(stand_in: StandIn) -> int:
    """The step at which a training is over."""
    return round(STEPS * stand_in.epochs[-1])


class Peer(abc.ABC):
    """A method whose trainings begin at the start and are not paused. A training that fails is told as failed."""

    def __init__(self) -> None:
        self.params: list[Params] = []
        """Recipe of each training, by its number."""
        self.scores: dict[int, float] = {}
        """Best score after a whole epoch, by the training's number."""
        self._best: int | None = None

    def ask(self, now: float) -> Start | None:
        params = self.propose(len(self.params))
        if params is None:
            return None
        self.params.append(params)
        number = len(self.params) - 1
        return Start(key=number, params=params, seed=number)

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        assert isinstance(key, int)
        if math.isnan(point.loss):
            self.failed(key)
            return False
        step = step_of(point)
        if step is None:
            return True
        if step % STEPS == 0:
            self.scores[key] = max(point.accuracy, self.scores.get(key, 0.0))
            if self._best is None or self.scores[key] > self.scores[self._best]:
                self._best = key
        return self.decide(key, step, point.accuracy, last) and not last

    def claim(self) -> Claim | None:
        if self._best is None:
            return None
        return Claim(params=self.params[self._best], score=self.scores[self._best])

    @abc.abstractmethod
    def propose(self, number: int) -> Params | None:
        """The recipe of the next training; None to wait."""

    @abc.abstractmethod
    def decide(self, number: int, step: int, score: float, last: bool) -> bool:
        """Take in a score; returns whether the training goes on. `last` if it is at its end."""

    @abc.abstractmethod
    def failed(self, number: int) -> None:
        """Take in that a training has failed."""
