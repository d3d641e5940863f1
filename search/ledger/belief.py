"""How good some recipes are, by all scores of the search: a posterior, as draws from it. numpy alone.

The best score of many is also the luckiest, so a recipe is worse than the score that it was found by. By how much
depends on how far the recipes of this search lie apart, on what their neighbours scored, and on how much luck a
training has. The process (`gaussian/surrogate.py`) has estimated all of it, and the draws know how uncertain it is.

Choosing recipes by their scores does not bias a posterior that has seen all scores of the search.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from frostline.search.ledger.gaussian.surrogate import Array, Surrogate

_DRAWS = 4000
_JITTER = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A recipe that may be trained again."""

    number: int
    """Number of the trial that found the recipe."""
    fresh: int = 0
    """Trainings with fresh seeds that have ended."""
    running: int = 0
    """Trainings with fresh seeds that have not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """Draws from the posterior. Recipes are in the order in which they were asked about."""

    recipes: Array
    """Mean scores of the recipes over all seeds, on the validation slice: draws x recipes."""
    luck: Array
    """Variance of a training's score around the mean of its recipe, a value a draw."""
    center: Array
    """Mean of all recipes, a value a draw."""
    spread: Array
    """Variance of the recipes around it, a value a draw."""
    means: Array
    """Expected mean score of each recipe."""

    @property
    def chances(self) -> Array:
        """Probability of each recipe to be the best of them."""
        draws, count = self.recipes.shape
        return np.asarray(np.bincount(self.recipes.argmax(axis=1), minlength=count) / draws)


def believe(surrogate: Surrogate, places: Array) -> Belief:
    """The posterior of recipes' mean scores.

    Args:
        surrogate: what the trainings of the search say.
        places: [recipes, axes] of the recipes that are asked about, at least one.
    """
    means, together = surrogate.joint(places)
    count = places.shape[0]
    scale = np.linalg.cholesky(together + _JITTER * np.eye(count))
    normal, taken = standard_normal(count), _shares(surrogate.weights)
    recipes = means[taken] + np.einsum("dpq,dq->dp", scale[taken], normal)
    draws = len(taken)
    return Belief(
        recipes=surrogate.scores(recipes),
        luck=(surrogate.unit * surrogate.luck[taken]) ** 2,
        center=np.full(draws, surrogate.median),
        spread=(surrogate.unit * surrogate.spread[taken]) ** 2,
        means=surrogate.scores(surrogate.weights @ means),
    )


def _shares(weights: Array) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Places of weights as often as each says, `_DRAWS` of them, in an order that has nothing to do with it."""
    ends = np.cumsum(weights)
    places = np.searchsorted(ends, (np.arange(_DRAWS) + 0.5) / _DRAWS * ends[-1])
    return np.random.default_rng(0).permutation(places)


@functools.cache
def standard_normal(columns: int) -> Array:
    """The same standard normal numbers each time, with mean 0: so a decision follows from the scores alone."""
    numbers = np.random.default_rng(columns).standard_normal((_DRAWS, columns))
    return np.asarray(numbers - numbers.mean(axis=0))
