"""A space's parameters and recipes, resolved for its models: depth bounded by their blocks. No torch, no Ray."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.spaces import ALL, FAMILY_KNOBS, OWN_POOLING, Depth, Profile, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """The parameters of a search."""

    distributions: dict[str, BaseDistribution]
    """Optuna distribution by parameter."""
    recipes: dict[str, dict[str, Any]]
    """Recipes tried first, by label."""

    @property
    def poolings(self) -> tuple[str, ...]:
        """What the heads of its trials may read."""
        return getattr(self.distributions.get("pooling"), "choices", (OWN_POOLING,))


def searched(space: Space, profile: Profile, blocks: Mapping[str, int]) -> Searched:
    """The parameters of a space, resolved for its models.

    Args:
        space: the space.
        profile: the profile with its models.
        blocks: number of blocks of each of them.

    Raises:
        ValueError: a depth the model does not have, or a recipe outside the space.
    """
    from optuna.distributions import CategoricalDistribution

    first = profile.model
    distributions = resolve_parameters(space.parameters, blocks[first], first)
    recipes = {label: resolve_recipe(label, recipe, blocks[first]) for label, recipe in space.recipes.items()}
    if profile.models:
        distributions = {"model": CategoricalDistribution(profile.models), **distributions}
        recipes = {label: {"model": first, **recipe} for label, recipe in recipes.items()}
    for label, recipe in recipes.items():
        check_recipe(repr(label), recipe, distributions)
    return Searched(distributions=distributions, recipes=recipes)


def resolve_parameters(
    parameters: Mapping[str, BaseDistribution | Depth], blocks: int, model: str
) -> dict[str, BaseDistribution]:
    """The space's parameters as Optuna distributions, depth bounded by the model.

    Raises:
        ValueError: a depth the model does not have.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    resolved: dict[str, BaseDistribution] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, Depth):
            high = blocks if parameter.high is None else parameter.high
            if high > blocks or parameter.low > blocks:
                raise ValueError(f"frozen_layers up to {max(high, parameter.low)}, but {model} has {blocks} blocks")
            parameter = IntDistribution(parameter.low, high)
        elif name == "frozen_layers" and isinstance(parameter, CategoricalDistribution):
            depths = tuple(dict.fromkeys(blocks if depth == ALL else depth for depth in parameter.choices))
            if deepest := [depth for depth in depths if isinstance(depth, int) and depth > blocks]:
                raise ValueError(f"frozen_layers {max(deepest)}, but {model} has {blocks} blocks")
            parameter = CategoricalDistribution(depths)
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
        except (TypeError, ValueError) as error:
            raise ValueError(f"recipe {label}: {name} = {value!r} is outside {distributions[name]}") from error


def check_knobs(searched: Searched, family: str, knobs: Collection[str]) -> None:
    """Refuse to search what a family does not have.

    Args:
        searched: the parameters.
        family: name of the family.
        knobs: those of `FAMILY_KNOBS` that it has.

    Raises:
        ValueError: names the parameter.
    """
    for name, default in FAMILY_KNOBS.items():
        values = searched.distributions.get(name)
        if values is not None and name not in knobs and getattr(values, "choices", None) != (default,):
            raise ValueError(f"{name} cannot be searched: {family} has none")


def whole_blocks(fraction: float, blocks: int) -> int:
    """A fraction of a model's blocks as a whole number; half a block counts as one."""
    return math.floor(fraction * blocks + 0.5)


def complete(params: Mapping[str, Any], blocks: Mapping[str, int]) -> dict[str, Any]:
    """Add the parameter that follows from others: `frozen_layers`, if the depth is a fraction of the model's blocks.

    Args:
        params: parameters of one trial.
        blocks: number of blocks of each model.
    """
    if "frozen_fraction" not in params:
        return dict(params)
    return {**params, "frozen_layers": whole_blocks(params["frozen_fraction"], blocks[params["model"]])}


def sampled(params: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `complete`: only the parameters that the sampler chose."""
    follows = {"frozen_layers"} if "frozen_fraction" in params else set()
    return {name: value for name, value in params.items() if name not in follows}


def smallest(distribution: BaseDistribution) -> int:
    """Smallest value of a numeric or categorical distribution."""
    choices = getattr(distribution, "choices", None)
    return int(min(choices) if choices else distribution.low)  # type: ignore[attr-defined]


def fitting(searched: Searched, examples: int) -> tuple[Searched, list[str]]:
    """The parameters without batches larger than the training slice, and a sentence where there were some.

    A recipe with a larger batch takes the largest one that is left. At least one size must fit.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    sizes = searched.distributions["batch_size"]
    fit: BaseDistribution
    if isinstance(sizes, CategoricalDistribution):
        fit = CategoricalDistribution(tuple(size for size in sizes.choices if int(size or 0) <= examples))
        most = max(int(size or 0) for size in fit.choices)
    elif isinstance(sizes, IntDistribution) and sizes.high > examples:
        most = sizes.low + (examples - sizes.low) // sizes.step * sizes.step
        fit = IntDistribution(sizes.low, most, log=sizes.log, step=sizes.step)
    else:
        return searched, []
    if fit == sizes:
        return searched, []
    smaller = [label for label, recipe in searched.recipes.items() if recipe["batch_size"] > most]
    recipes = {
        label: {**recipe, "batch_size": min(recipe["batch_size"], most)} for label, recipe in searched.recipes.items()
    }
    verb = "takes" if len(smaller) == 1 else "take"
    take = f"; {' and '.join(map(repr, smaller))} {verb} {most}" if smaller else ""
    sentence = f"batches of more than the {examples} training examples are not tried{take}"
    return Searched(distributions={**searched.distributions, "batch_size": fit}, recipes=recipes), [sentence]
