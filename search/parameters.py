"""A space's parameters and recipes, resolved for one model: depth bounded by its blocks. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces import ALL, Depth

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def resolve_parameters(
    parameters: Mapping[str, BaseDistribution | Depth], blocks: int, model: str
) -> dict[str, BaseDistribution]:
    """The space's parameters as Optuna distributions, depth bounded by the model.

    Raises:
        ValueError: a depth the model does not have.
    """
    from optuna.distributions import IntDistribution

    resolved: dict[str, BaseDistribution] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, Depth):
            high = blocks if parameter.high is None else parameter.high
            if high > blocks or parameter.low > blocks:
                raise ValueError(f"frozen_layers up to {max(high, parameter.low)}, but {model} has {blocks} blocks")
            parameter = IntDistribution(parameter.low, high)
        resolved[name] = parameter
    return resolved


def resolve_recipe(label: str, recipe: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """A space's recipe with `all` blocks as a number.

    Raises:
        ValueError: a depth the model does not have.
    """
    resolved = dict(recipe)
    if resolved.get("frozen_layers") == ALL:
        resolved["frozen_layers"] = blocks
    if resolved.get("frozen_layers", 0) > blocks:
        raise ValueError(f"recipe {label!r} freezes {resolved['frozen_layers']} blocks; the model has {blocks}")
    return resolved


def check_recipe(label: str, recipe: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
    """Refuse a recipe outside the space: the sampler could not learn from it.

    Raises:
        ValueError: names the parameter, its value and its range.
    """
    from optuna.trial import create_trial

    for name, value in recipe.items():
        if name not in distributions:
            raise ValueError(f"recipe {label}: {name} = {value!r} is not a parameter of the space")
        try:  # Optuna's own check
            create_trial(value=0.0, params={name: value}, distributions={name: distributions[name]})
        except ValueError as error:
            raise ValueError(f"recipe {label}: {name} = {value!r} is outside {distributions[name]}") from error


def largest(distribution: BaseDistribution) -> int:
    """Largest value of a numeric or categorical distribution."""
    choices = getattr(distribution, "choices", None)
    return int(max(choices) if choices else distribution.high)  # type: ignore[attr-defined]
