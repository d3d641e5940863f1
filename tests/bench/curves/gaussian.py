"""The product's Gaussian process alone: no rung, no fresh seed. It names the recipe that it expects most of."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from frostline.search.ledger.gaussian import proposal
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.gaussian.surrogate import Surrogate
from frostline.search.ledger.knowledge import Seen, surrogate_of
from tests.bench.curves.recipes import Params
from tests.bench.curves.replay import Claim, Method, Start
from tests.bench.curves.standin import Point, StandIn

_RANDOM = 6
"""Recipes before the first proposal, those of the literature among them."""


class Search:
    """Every training runs to its end, and no recipe is confirmed: all the time is the search's."""

    def __init__(self, stand_in: StandIn, seed: int) -> None:
        """Nothing has begun.

        Args:
            stand_in: whose recipes are searched.
            seed: of the search.
        """
        self._axes, self._examples = Axes(stand_in.space), stand_in.validation
        self._draw = np.random.default_rng(seed)
        self._first = [dict(params) for params in stand_in.literature.values()]
        self._running: dict[Hashable, Params] = {}
        self._best: dict[Hashable, float] = {}
        self._seen: list[Seen] = []
        self._begun, self._claimed = 0, 0
        self._claim: Claim | None = None
        self._made: tuple[int, Surrogate] | None = None

    def ask(self, now: float) -> Start | None:
        if self._first:
            params = self._first.pop(0)
        elif self._begun < _RANDOM or not any(one.whole for one in self._seen):
            params = self._axes.at(self._draw.random(len(self._axes.space)))
        else:
            tried = [one.params for one in self._seen]
            proposed = proposal.propose(self._axes, self._model(), tried, list(self._running.values()), self._draw)
            params = proposed[0] if proposed else {}
        key, self._begun = self._begun, self._begun + 1
        self._running[key] = params
        return Start(key=key, params=params, seed=key)

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        if point.epoch >= 1:
            self._best[key] = max(point.accuracy, self._best.get(key, 0.0))
        if last:
            whole = np.isfinite(point.loss) and key in self._best
            score = self._best.get(key, 0.0) if whole else -np.inf
            self._seen.append(Seen(params=self._running.pop(key), score=score, loss=point.loss, whole=bool(whole)))
        return True

    def _model(self) -> Surrogate:
        if self._made is None or self._made[0] != len(self._seen):
            self._made = len(self._seen), surrogate_of(self._axes, self._seen, self._examples)
        return self._made[1]

    def claim(self) -> Claim | None:
        whole = [one for one in self._seen if one.whole]
        if len(whole) > self._claimed:
            self._claimed = len(whole)
            model = self._model()
            means = model.expect(self._axes.places([one.params for one in whole])).mean
            best = int(np.argmax(means))
            self._claim = Claim(params=dict(whole[best].params), score=float(model.scores(means)[best]))
        return self._claim


def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """The search."""
    return Search(stand_in, seed)
