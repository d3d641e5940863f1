"""The next recipe of a search: the one that is expected to improve most on the best so far. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.gaussian.surrogate import Array, Surrogate, improvement

_ANYWHERE, _NEAR, _CENTERS = 200, 20, 5
"""Recipes that are compared: drawn from the whole space, and around each of the best."""
_STEP, _MOVES, _JUMPS = 0.1, 0.5, 0.1
"""Around one of the best: standard deviation of a step as a share of a parameter's range, and the probabilities that a
parameter moves by such a step or is drawn again."""
_TIME_LENGTH, _TIME_NOISE = 0.5, 0.01
"""Length scale of the time of a training as a share of a parameter's range, and the variance of times of one recipe as
a part of that of all. Time depends on few parameters, and smoothly."""


def propose(
    axes: Axes,
    surrogate: Surrogate,
    tried: Sequence[Mapping[str, Any]],
    running: Sequence[Mapping[str, Any]],
    draw: np.random.Generator,
    allowed: Callable[[Array], NDArray[np.bool_]] | None = None,
) -> tuple[dict[str, Any], float] | None:
    """A recipe that was not tried, unless all that are looked at were; None if none of these is allowed.

    Beside it by how much it is expected to improve on the best so far, in units of the score.

    Args:
        axes: of the space.
        surrogate: what the trainings say.
        tried: recipes of trials that have ended, at least one.
        running: recipes of trials that run.
        draw: random numbers.
        allowed: tells of recipes, by their places, whether they may be tried.
    """
    places = axes.places(tried)
    best_first = np.argsort(-surrogate.expect(places).mean, kind="stable")
    centers = [axes.shares(tried[place]) for place in best_first[:_CENTERS]]
    near = [_moved(center, draw) for center in centers for _ in range(_NEAR)]
    shares = np.array([*draw.random((_ANYWHERE, len(axes.space))), *near])
    candidates, there = axes.places_at(shares), axes.places(running) if running else None
    if allowed is not None:
        may = allowed(candidates)
        shares, candidates = shares[may], candidates[may]
    if not len(shares):
        return None
    best = surrogate.expect(places[best_first[:1]], there).means[:, 0]
    gains = improvement(surrogate.expect(candidates, there), best)
    known = {place.tobytes() for place in (*places, *(() if there is None else there))}
    new = np.array([place.tobytes() not in known for place in candidates])
    chosen = int(np.argmax(np.where(new, gains, gains - gains.max() - 1)))
    return axes.at(shares[chosen]), surrogate.unit * float(gains[chosen])


class Timed(Protocol):
    """A training with its recipe and time."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its recipe."""

    @property
    def seconds(self) -> float:
        """What it took; NaN if that is not known."""


def ends_within(axes: Axes, seen: Sequence[Timed], seconds: float) -> Callable[[Array], NDArray[np.bool_]]:
    """Tells which recipes, by their places, end within a time. Seconds are expected by a process over their logarithm.

    Args:
        axes: of the space.
        seen: trainings; the time of one at least is known.
        seconds: the time.
    """
    timed = [one for one in seen if one.seconds > 0]
    places, logs = axes.places([one.params for one in timed]), np.log([one.seconds for one in timed])
    together = _smooth(places, places) + _TIME_NOISE * np.eye(len(places))
    slopes = np.linalg.solve(together, logs - logs.mean())
    return lambda there: np.asarray(logs.mean() + _smooth(there, places) @ slopes <= np.log(max(seconds, 1e-9)))


def _smooth(some: Array, others: Array) -> Array:
    squares = np.square(some[:, None] - others[None]).sum(axis=-1)
    return np.asarray(np.exp(-0.5 * squares / _TIME_LENGTH**2))


def _moved(center: Array, draw: np.random.Generator) -> Array:
    """A place near another one."""
    count = len(center)
    steps = np.where(draw.random(count) < _MOVES, draw.normal(0.0, _STEP, count), 0.0)
    return np.clip(np.where(draw.random(count) < _JUMPS, draw.random(count), center + steps), 0.0, 1.0)
