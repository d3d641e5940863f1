"""The space of a single recipe, to train it again."""

from __future__ import annotations

import dataclasses

from frostline.spaces._recipe import NOT_SEARCHED, OWN_POOLING, Recipe
from frostline.spaces._space import Profile, Space

RETRAIN = "retrain"
"""Name of such a space."""


def of_recipe(recipe: Recipe) -> Space:
    """A space with this recipe alone. Its budget is one trial, trained to its end."""
    from optuna.distributions import CategoricalDistribution

    by_fraction = recipe.frozen_fraction is not None
    left_out = {*NOT_SEARCHED, "frozen_layers" if by_fraction else "frozen_fraction"}
    if recipe.pooling == OWN_POOLING:  # as before there was another
        left_out.add("pooling")
    values = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe) if f.name not in left_out}
    budget = dataclasses.replace(
        recipe.budget, trials=1, seconds=None, first_rung=float(recipe.budget.epochs), confirm_recipes=0
    )
    models = (recipe.model,) if by_fraction else ()
    profile = Profile(model=recipe.model, data=recipe.data, budget=budget, models=models)
    return Space(
        name=RETRAIN,
        summary="one recipe, trained again",
        family=recipe.family,
        parameters={name: CategoricalDistribution((value,)) for name, value in values.items()},
        recipes={"retrained": values},
        full=profile,
        small=profile,
        metric=recipe.metric,
    )
