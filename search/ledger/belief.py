"""How good each of the best recipes is, by all scores of the search: a posterior, as draws from it. numpy alone.

The best score of many is also the luckiest, so a recipe is worse than the score that it was found by. By how much
depends on how far the recipes of this search lie apart and on how much luck a training has. Both are estimated from
this search: a recipe's mean score is normal around a common mean, and a training is normal around its recipe's mean.
Only the upper half of the scores says how the good recipes are spread. The lower half counts with its number alone,
since a long tail of bad recipes says nothing about the best ones. The three unknown numbers (mean and spread of the
recipes, luck of a training) are integrated over a grid. So the draws know how uncertain these are themselves.

Choosing recipes by their scores does not bias a posterior that has seen all scores of the search.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_DRAWS = 4000
_LUCK_COUNTS = 0.5
"""Trainings that the assumed luck counts for, before any recipe has been trained twice."""
_MEANS, _SPREADS, _LUCKS = np.linspace(-0.75, 0.75, 13), np.geomspace(0.03, 1.5, 12), 16
"""The grid: means and standard deviations of recipes, in units of the distance from the median to the best score, and
the number of variances of a training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The scores of one recipe, as objectives."""

    number: int
    """Number of the trial that found the recipe."""
    found: float
    """Score of that trial."""
    fresh: tuple[float, ...] = ()
    """Scores of the trainings with fresh seeds."""
    running: int = 0
    """Trainings with fresh seeds that have not ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """Draws from the posterior. Recipes are in the order of the entries."""

    recipes: Array
    """Mean scores of the recipes over all seeds, on the validation slice: draws x recipes."""
    luck: Array
    """Variance of a training's score around the mean of its recipe, a value a draw."""
    center: Array
    """Mean of all good recipes, a value a draw."""
    spread: Array
    """Variance of the recipes around it, a value a draw."""
    means: Array
    """Expected mean score of each recipe."""

    @property
    def chances(self) -> Array:
        """Probability of each recipe to be the best of them."""
        draws, count = self.recipes.shape
        return np.asarray(np.bincount(self.recipes.argmax(axis=1), minlength=count) / draws)


def believe(found: Mapping[int, float], entries: Sequence[Entry], luck: float) -> Belief:
    """The posterior of the recipes' mean scores.

    Args:
        found: score of each trial that was trained to its end, by number.
        entries: recipes that are asked about, at least one; their own scores need not be in `found`.
        luck: variance that is assumed for a training's score until the scores say more.
    """
    from scipy.special import log_ndtr

    again = [np.array([entry.found, *entry.fresh]) for entry in entries if entry.fresh]
    known = {**found, **{entry.number: entry.found for entry in entries}}
    median = float(np.median([*known.values()]))
    once = np.array([known[number] for number in known.keys() - {e.number for e in entries if e.fresh}])
    within = sum(float(scores.var() * scores.size) for scores in again) / max(1, sum(s.size - 1 for s in again))
    unit = max(max(known.values()), *(float(scores.max()) for scores in again), median) - median
    unit = max(unit, math.sqrt(luck))
    means = (median + unit * _MEANS)[:, None, None]
    spreads = ((unit * _SPREADS) ** 2)[None, :, None]
    lucks = np.geomspace(min(luck, unit**2) / 30, max(4 * luck, unit**2, 4 * within), _LUCKS)[None, None, :]
    # Scaled inverse chi-squared for the luck, flat in the standard deviation of the recipes and in their mean.
    fit = -0.5 * _LUCK_COUNTS * (np.log(lucks) + luck / lucks) + 0.5 * np.log(spreads)
    single = spreads + lucks
    upper = once[once >= median]
    if upper.size:
        around = float(((upper - upper.mean()) ** 2).sum()) + upper.size * (upper.mean() - means) ** 2
        fit = fit - 0.5 * upper.size * np.log(single) - 0.5 * around / single
    fit = fit + (once.size - upper.size) * log_ndtr((median - means) / np.sqrt(single))
    for scores in again:
        count, mean = scores.size, float(scores.mean())
        fit = fit - 0.5 * (count - 1) * np.log(lucks) - 0.5 * float(scores.var() * count) / lucks
        together = spreads + lucks / count
        fit = fit - 0.5 * np.log(together) - 0.5 * (mean - means) ** 2 / together
    place = _systematic(fit)
    center, spread, variance = (np.broadcast_to(axis, fit.shape).ravel()[place] for axis in (means, spreads, lucks))
    counts = np.array([1 + len(entry.fresh) for entry in entries])
    sums = np.array([entry.found + math.fsum(entry.fresh) for entry in entries])
    precision = 1 / spread[:, None] + counts / variance[:, None]
    mean_of_each = (center[:, None] / spread[:, None] + sums / variance[:, None]) / precision
    recipes = mean_of_each + standard_normal(len(entries)) / np.sqrt(precision)
    return Belief(recipes=recipes, luck=variance, center=center, spread=spread, means=mean_of_each.mean(axis=0))


def _systematic(fit: Array) -> NDArray[Any]:
    """Points of a grid as often as their likelihood says, `_DRAWS` of them."""
    weights = np.cumsum(np.exp(fit.ravel() - fit.max()))
    return np.asarray(np.searchsorted(weights, (np.arange(_DRAWS) + 0.5) / _DRAWS * weights[-1]))


@functools.cache
def standard_normal(columns: int) -> Array:
    """The same standard normal numbers each time, with mean 0: so a decision follows from the scores alone."""
    numbers = np.random.default_rng(columns).standard_normal((_DRAWS, columns))
    return np.asarray(numbers - numbers.mean(axis=0))
