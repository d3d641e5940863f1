"""Which recipes are recorded. The same task always gives the same ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from scipy.stats import qmc

Params = dict[str, Any]


def sobol(distributions: Mapping[str, BaseDistribution], count: int, seed: int = 0) -> list[Params]:
    """The first `count` points of a scrambled Sobol sequence (Owen 1998) over a search space."""
    points = qmc.Sobol(len(distributions), rng=seed).random(2 ** math.ceil(math.log2(max(count, 1))))[:count]
    return [recipe_at(distributions, dict(zip(distributions, point, strict=True))) for point in points]


def around(
    distributions: Mapping[str, BaseDistribution], centres: Sequence[Params], count: int, seed: int = 0
) -> list[Params]:
    """`count` recipes near some others, by turns.

    A number moves by a normal step with a standard deviation of a tenth of its range (of the range's logarithm where
    the space has that); a choice is drawn again with a probability of one in five.
    """
    draw, recipes = np.random.default_rng(seed), []
    for number in range(count):
        place = place_of(distributions, centres[number % len(centres)])
        for name, distribution in distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                place[name] = float(draw.random()) if draw.random() < 0.2 else place[name]
            else:
                place[name] = float(np.clip(place[name] + draw.normal(0.0, 0.1), 0.0, 1 - 1e-9))
        recipes.append(recipe_at(distributions, place))
    return recipes


def space_of(text: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The search space of a JSON object: Optuna's own description of each parameter."""
    return {name: json_to_distribution(json.dumps(one)) for name, one in text.items()}


def space_to_json(space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Inverse of `space_of`."""
    return {name: json.loads(distribution_to_json(one)) for name, one in space.items()}


def recipe_at(distributions: Mapping[str, BaseDistribution], place: Mapping[str, float]) -> Params:
    """The recipe at a place of the unit cube."""
    params: Params = {}
    for name, distribution in distributions.items():
        share = float(place[name])
        if isinstance(distribution, CategoricalDistribution):
            params[name] = distribution.choices[int(share * len(distribution.choices))]
        elif isinstance(distribution, IntDistribution):
            params[name] = distribution.low + int(share * (distribution.high - distribution.low + 1))
        else:
            assert isinstance(distribution, FloatDistribution)
            low, high = _ends(distribution)
            value = low + share * (high - low)
            params[name] = float(np.clip(math.exp(value) if distribution.log else value, *_range(distribution)))
    return params


def place_of(distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]) -> dict[str, float]:
    """The place of a recipe in the unit cube; of a choice or a whole number the middle of its cell."""
    place = {}
    for name, distribution in distributions.items():
        value = params[name]
        if isinstance(distribution, CategoricalDistribution):
            place[name] = (distribution.choices.index(value) + 0.5) / len(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            place[name] = (value - distribution.low + 0.5) / (distribution.high - distribution.low + 1)
        else:
            assert isinstance(distribution, FloatDistribution)
            low, high = _ends(distribution)
            place[name] = ((math.log(value) if distribution.log else value) - low) / (high - low)
    return place


def _range(distribution: FloatDistribution) -> tuple[float, float]:
    return distribution.low, distribution.high


def _ends(distribution: FloatDistribution) -> tuple[float, float]:
    low, high = _range(distribution)
    return (math.log(low), math.log(high)) if distribution.log else (low, high)
