"""The next recipe of a search: the one that is expected to improve most on the best so far. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.bench.curves.gaussian.axes import Array, Axes
from tests.bench.curves.gaussian.surrogate import Surrogate, improvement

_ANYWHERE, _NEAR, _CENTERS = 200, 20, 5
"""Recipes that are compared: drawn from the whole space, and around each of the best."""
_STEP, _MOVES, _JUMPS = 0.1, 0.5, 0.1
"""Around one of the best: standard deviation of a step as a share of a parameter's range, and the probabilities that a
parameter moves by such a step or is drawn again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a training showed of its recipe."""

    params: Mapping[str, Any]
    score: float
    """Its objective, larger is better; minus infinity if it has none."""
    loss: float
    """Its last validation loss; NaN if there is none."""
    whole: bool
    """False if it was stopped or failed."""


def propose(
    axes: Axes, seen: Sequence[Seen], running: Sequence[Mapping[str, Any]], least: float, draw: np.random.Generator
) -> dict[str, Any]:
    """A recipe.

    Args:
        axes: of the space.
        seen: trainings, at least one of them whole.
        running: recipes that train now.
        least: see `model_of`.
        draw: random numbers.
    """
    model, places = model_of(axes, seen, least), axes.places([one.params for one in seen])
    best_first = np.argsort(-model.expect(places).mean, kind="stable")
    centers = [axes.shares(seen[place].params) for place in best_first[:_CENTERS]]
    near = [_moved(center, draw) for center in centers for _ in range(_NEAR)]
    candidates = [axes.at(shares) for shares in [*draw.random((_ANYWHERE, len(axes.space))), *near]]
    there = axes.places(running) if running else None
    best = model.expect(places[best_first[:1]], there).means[:, 0]
    gains = improvement(model.expect(axes.places(candidates), there), best)
    return candidates[int(np.argmax(gains))]


def model_of(axes: Axes, seen: Sequence[Seen], least: float) -> Surrogate:
    """What these trainings say of all recipes.

    Args:
        axes: of the space.
        seen: trainings, at least one of them whole.
        least: standard deviation that the luck of a training has at least, in units of the score.
    """
    # A stopped training would not have been one of the best, whatever it showed. One without a score is a bad one.
    scores = [one.score for one in seen if one.whole]
    middle, worst = float(np.median(scores)), min(scores)
    return Surrogate(
        axes.places([one.params for one in seen]),
        [one.score if one.whole else min(max(one.score, worst), middle) for one in seen],
        [one.loss if one.whole else math.nan for one in seen],
        [one.whole for one in seen],
        least,
    )


def least_luck(seen: Sequence[Seen], examples: int | None) -> float:
    """Standard deviation of a score through the validation examples alone.

    Args:
        seen: at least one training.
        examples: their number if the score is the share of right answers among them; else None, for which it is 0.
    """
    if examples is None:
        return 0.0
    share = (max(one.score for one in seen) * examples + 1) / (examples + 2)
    return math.sqrt(share * (1 - share) / examples)


def _moved(center: Array, draw: np.random.Generator) -> Array:
    """A place near another one."""
    count = len(center)
    steps = np.where(draw.random(count) < _MOVES, draw.normal(0.0, _STEP, count), 0.0)
    return np.clip(np.where(draw.random(count) < _JUMPS, draw.random(count), center + steps), 0.0, 1.0)
