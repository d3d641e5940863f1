"""Places of recipes in a unit cube, for models that need distances between recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]


class Axes:
    """Places of recipes in a unit cube. A choice between words has an axis for each of them."""

    def __init__(self, space: Mapping[str, BaseDistribution], base: Mapping[str, Any] = MappingProxyType({})) -> None:
        """The axes of a space.

        Args:
            space: what is searched.
            base: values of parameters that a recipe may lack, since they were added to the space later.
        """
        self.space = {name: space[name] for name in sorted(space) if not space[name].single()}
        self._base = base

    def places(self, recipes: Sequence[Mapping[str, Any]]) -> Array:
        """[recipes, axes]: where they are, from 0 to 1 along each axis."""
        values = ([self._value(recipe, name) for recipe in recipes] for name in self.space)
        columns = [_columns(one, each) for one, each in zip(self.space.values(), values, strict=True)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(recipes), 0))

    def _value(self, recipe: Mapping[str, Any], name: str) -> Any:
        return recipe[name] if name in recipe else self._base[name]

    def places_at(self, shares: Array) -> Array:
        """The places of the recipes that `at` makes of shares: [recipes, parameters] to [recipes, axes]."""
        columns = [_columns_at(one, column) for one, column in zip(self.space.values(), shares.T, strict=True)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(shares), 0))

    def at(self, shares: Array) -> dict[str, Any]:
        """The recipe with this share of each parameter's range below it; `shares` has a number from 0 to 1 for each."""
        return {name: _value(one, float(share)) for (name, one), share in zip(self.space.items(), shares, strict=True)}

    def shares(self, recipe: Mapping[str, Any]) -> Array:
        """Inverse of `at`: the middle of what gives the same recipe."""
        return np.array([_share(one, self._value(recipe, name)) for name, one in self.space.items()])


def _steps(distribution: BaseDistribution) -> tuple[float, float, float] | None:
    """The ends of the range (logarithms if it has such a scale) and the step; None for a choice."""
    if isinstance(distribution, CategoricalDistribution):
        return None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = float(distribution.low), float(distribution.high), float(distribution.step or 0.0)
    if distribution.log:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        return math.log(low - half), math.log(high + half), 0.0
    return low - step / 2, high + step / 2, step


def _value(distribution: BaseDistribution, share: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = _steps(distribution) or (0.0, 1.0, 0.0)
    value = low + share * (high - low)
    if distribution.log:
        value = math.exp(value)
    elif step:
        value = distribution.low + step * round((value - distribution.low) / step)
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def _share(distribution: BaseDistribution, value: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        place = distribution.choices.index(value) if value in distribution.choices else 0
        return (place + 0.5) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, _ = _steps(distribution) or (0.0, 1.0, 0.0)
    share = ((math.log(value) if distribution.log else float(value)) - low) / (high - low)
    return min(max(share, 0.0), 1.0)


def _ordered(distribution: CategoricalDistribution) -> bool:
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in distribution.choices)


def _columns_at(distribution: BaseDistribution, shares: Array) -> Array:
    if isinstance(distribution, FloatDistribution) and not distribution.step:
        return shares[:, None]
    if isinstance(distribution, CategoricalDistribution):  # one look at each choice instead of one at each recipe
        table = _columns(distribution, distribution.choices)
        return np.asarray(table[np.minimum((shares * len(table)).astype(int), len(table) - 1)])
    return _columns(distribution, [_value(distribution, float(share)) for share in shares])


def _columns(distribution: BaseDistribution, values: Sequence[Any]) -> Array:
    if isinstance(distribution, CategoricalDistribution):
        if not _ordered(distribution):
            # Two different words are as far apart as the ends of an axis.
            return np.array([[(value == choice) / math.sqrt(2) for choice in distribution.choices] for value in values])
        # By rank; a choice that the space had once lies between the others.
        order = np.sort(np.array(distribution.choices, dtype=float))
        return np.asarray(np.interp(np.array(values, dtype=float), order, np.linspace(0, 1, len(order))))[:, None]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, given = float(distribution.low), float(distribution.high), np.array(values, dtype=float)
    if distribution.log:
        low, high, given = math.log(low), math.log(high), np.log(given)
    return np.clip((given - low) / (high - low), 0, 1)[:, None]
