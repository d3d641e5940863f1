"""The plainest methods: random search, and all recipes for one epoch with a second look at the best."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Hashable

import optuna

from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Claim, Method, Start
from tests.bench.curves.standin import Point, StandIn


def random_points(stand_in: StandIn, seed: int) -> functools.partial[Params]:
    """A function that draws recipes: the literature's first, then random ones."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    first = iter(stand_in.literature.values())

    def draw() -> Params:
        return dict(next(first, None) or study.ask(stand_in.space).params)

    return functools.partial(draw)


class Confirming:
    """Tries random recipes for some epochs each, then trains the best again with fresh seeds. The best mean wins."""

    def __init__(
        self,
        stand_in: StandIn,
        seconds: float,
        seed: int,
        *,
        workers: int,
        epochs: float,
        recipes: int = 3,
        seeds: int = 3,
    ) -> None:
        """Nothing has begun.

        Args:
            stand_in: whose recipes are drawn.
            seconds: of the search; at its end is time for `recipes` x `seeds` whole trainings, for one at least; at
                most half.
            seed: of the draws.
            workers: trainings at once.
            epochs: of each recipe in the first part.
            recipes: recipes that are trained again; 0 for none.
            seeds: fresh seeds for each.
        """
        again = max(recipes * seeds / workers, min(recipes * seeds, 1)) * stand_in.full_seconds
        self._until = seconds - min(again, seconds / 2)
        self._draw, self._epochs, self._recipes, self._seeds = random_points(stand_in, seed), epochs, recipes, seeds
        self._params: list[Params] = []
        self._scores: dict[int, float] = {}
        self._fresh: dict[tuple[int, int], float | None] = {}

    def ask(self, now: float) -> Start | None:
        if now < self._until:
            self._params.append(self._draw())
            return Start(key=len(self._params) - 1, params=self._params[-1], seed=len(self._params) - 1)
        best = sorted(self._scores, key=lambda number: -self._scores[number])[: self._recipes]
        for seed in range(self._seeds):
            for number in best:
                if (number, seed) not in self._fresh:
                    self._fresh[number, seed] = None
                    return Start(key=(number, seed), params=self._params[number], seed=10_000 + seed)
        return None

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        if isinstance(key, tuple):
            if point.epoch >= 1:
                self._fresh[key] = max(point.accuracy, self._fresh[key] or 0.0)
            return True
        assert isinstance(key, int)
        if point.epoch >= min(1.0, self._epochs):
            self._scores[key] = max(point.accuracy, self._scores.get(key, 0.0))
        return point.epoch < self._epochs

    def claim(self) -> Claim | None:
        means: dict[int, list[float]] = {}
        for (number, _), score in self._fresh.items():
            if score is not None:
                means.setdefault(number, []).append(score)
        scores = {number: statistics.fmean(own) for number, own in means.items()} or self._scores
        if not scores:
            return None
        number = max(scores, key=lambda one: scores[one])
        return Claim(params=self._params[number], score=scores[number])


def random_search(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Random search without early stopping; then the top 3 with 3 fresh seeds each."""
    return Confirming(stand_in, seconds, seed, workers=workers, epochs=stand_in.epochs[-1])


def random_unconfirmed(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Random search without early stopping; the best observed score wins."""
    return Confirming(stand_in, seconds, seed, workers=workers, epochs=stand_in.epochs[-1], recipes=0)


def one_epoch_top3(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """One epoch of each recipe; then the top 3 with 3 fresh seeds each, to their end."""
    return Confirming(stand_in, seconds, seed, workers=workers, epochs=1.0)
