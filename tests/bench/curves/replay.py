"""Replays a search on a stand-in: workers train what a method asks for, on a clock that jumps from report to report."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tests.bench.curves.recipes import Params
from tests.bench.curves.standin import Point, StandIn


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A training that a worker begins, or goes on with."""

    key: Hashable
    """Tells it from the method's other trainings."""
    params: Params
    seed: int
    after: int = 0
    """Reports that it has made before, if it was paused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The recipe that a method would name if its time were over now."""

    params: Params
    score: float
    """Accuracy that the method says the recipe has."""
    interval: tuple[float, float] | None = None
    """95 % interval that the method gives; None if it gives none."""


class Method(Protocol):
    """A way to search. Times are seconds since the start."""

    def ask(self, now: float) -> Start | None:
        """What a free worker does next; None lets it wait until something is reported."""

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        """Take in a report; returns whether the training goes on. `last` if it is over, by its end or a failure."""

    def claim(self) -> Claim | None:
        """The result so far; None before there is one."""


Making = Callable[[StandIn, int, float, int], Method]
"""Makes a method from the stand-in (for its space), the number of workers, the seconds of the search and a seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """One search."""

    regret: float
    """True score of the best recipe less that of the claimed one, in points."""
    times: tuple[float, ...]
    """Seconds at which the claim changed."""
    regrets: tuple[float, ...]
    """Regret from then on, in points."""
    holds: bool | None
    """Whether the interval holds the recipe's true score; None without an interval."""
    width: float | None
    """Half the width of the interval, in points."""
    trainings: int
    """Trainings that were begun."""

    def within(self, points: float) -> float:
        """Seconds after which the regret stays at or below this number of points; infinity if it ends above."""
        over = [at for at, regret in enumerate(self.regrets) if regret > points]
        first = over[-1] + 1 if over else 0
        return self.times[first] if first < len(self.times) else math.inf


def replay(stand_in: StandIn, making: Making, workers: int, seconds: float, seed: int) -> Replayed:
    """One search.

    Args:
        stand_in: what it trains on.
        making: makes the method.
        workers: trainings at once.
        seconds: when it is over.
        seed: of the method, and of the luck of its validation slice and its trainings.
    """
    method = making(stand_in, workers, seconds, seed)
    slice_luck = float(np.random.default_rng([seed, 1]).normal())
    order, ends = itertools.count(), list[tuple[float, int, Start, list[Point], int]]()
    times, regrets, begun, idle, claimed = [0.0], [100.0 * stand_in.best], 0, workers, None

    def fill(now: float) -> None:
        nonlocal begun, idle
        while idle and (start := method.ask(now)) is not None:
            # Another search has other luck with the same recipe and seed.
            points = stand_in.training(start.params, start.seed + 1_000_003 * seed, slice_luck)
            heapq.heappush(ends, (now + points[start.after].seconds, next(order), start, points, start.after))
            begun, idle = begun + (start.after == 0), idle - 1

    fill(0.0)
    while ends and ends[0][0] <= seconds:
        now, _, start, points, at = heapq.heappop(ends)
        last = at + 1 == len(points)
        if method.report(start.key, points[at], last, now) and not last:
            heapq.heappush(ends, (now + points[at + 1].seconds, next(order), start, points, at + 1))
        else:
            idle += 1
        fill(now)
        claimed = method.claim()
        if claimed is not None:
            regret = 100 * (stand_in.best - stand_in.truth(claimed.params))
            if regret != regrets[-1]:
                times.append(now)
                regrets.append(regret)
    interval = claimed.interval if claimed else None
    truth = stand_in.truth(claimed.params) if claimed else math.nan
    return Replayed(
        regret=regrets[-1],
        times=tuple(times),
        regrets=tuple(regrets),
        holds=None if interval is None else interval[0] <= truth <= interval[1],
        width=None if interval is None else 50 * (interval[1] - interval[0]),
        trainings=begun,
    )


def regret_at(replayed: Replayed, second: float) -> float:
    """The regret of a search at a time, in points."""
    return replayed.regrets[bisect.bisect_right(replayed.times, second) - 1]


WHOLE = 25
"""Whole trainings that a search lasts, where nothing else is said."""


def seconds_of(stand_in: StandIn, workers: int, whole: int = WHOLE) -> float:
    """Seconds of a search, long enough for the whole trainings asked for and for at least three in a row."""
    return max(whole / workers, 3.0) * stand_in.full_seconds
