"""The space of a single recipe, to train it again."""

import dataclasses
from typing import Any

import pytest

from frostline import spaces
from frostline.search.plan import parameters
from frostline.search.plan.budget import report_points, rungs
from frostline.spaces import Budget, Data, Recipe, Space

RECIPE = Recipe(
    family="text_classification",
    model="m",
    data=Data(source="d", train=60, truncation_side="left", seed=3),
    budget=Budget(trials=12, epochs=4, first_rung=0.5, reduction_factor=3, seconds=60.0, confirm_recipes=2),
    learning_rate=1e-4 / 3,
    batch_size=24,
    frozen_layers=5,
    weight_decay=0.0,
    warmup=0.25,
    clip_norm=0.7,
    seed=11,
    metric="f1",
)


@pytest.fixture
def single() -> Space:
    return spaces.of_recipe(RECIPE)


def test_it_holds_the_recipe_and_nothing_else(single: Space) -> None:
    assert single.name == spaces.RETRAIN
    assert set(single.parameters) == {
        *("learning_rate", "batch_size", "frozen_layers", "weight_decay", "warmup", "clip_norm"),
        *("augmentation", "label_smoothing", "dropout", "class_weights"),
    }
    for name, distribution in single.parameters.items():
        assert distribution.choices == (getattr(RECIPE, name),)
    (values,) = single.recipes.values()
    distributions = parameters.resolve_parameters(single.parameters, 7, "m")
    parameters.check_recipe("retrained", parameters.resolve_recipe("retrained", values, 7), distributions)


def test_a_pooling_belongs_to_it_where_it_is_not_the_models_own() -> None:
    single = spaces.of_recipe(dataclasses.replace(RECIPE, pooling="mean"))
    assert single.parameters["pooling"].choices == ("mean",)  # type: ignore[union-attr]
    assert [values["pooling"] for values in single.recipes.values()] == ["mean"]


@pytest.mark.parametrize("name", ["small", "full"])
def test_its_recipe_is_trained_like_the_original(single: Space, name: str) -> None:
    profile = single.profile(name)
    bound: dict[str, Any] = {"family": single.family, "model": profile.model, "data": profile.data}
    (values,) = single.recipes.values()
    again = Recipe(**bound, budget=profile.budget, seed=RECIPE.seed, metric=single.metric, **values)
    assert again.training() == RECIPE.training()
    assert dataclasses.replace(again, budget=RECIPE.budget) == RECIPE


def test_its_budget_is_one_trial_that_nothing_stops_and_nothing_confirms(single: Space) -> None:
    budget = single.full.budget
    assert (budget.trials, budget.seconds, budget.epochs, budget.confirm_recipes) == (1, None, 4, 0)
    assert rungs(budget) == ()
    assert report_points(budget) == (1.0, 2.0, 3.0, 4.0)


def test_a_recipe_of_a_search_by_time_is_trained_again_without_a_time() -> None:
    by_time = Budget(trials=None, epochs=2, first_rung=1, seconds=5.0)
    budget = spaces.of_recipe(dataclasses.replace(RECIPE, budget=by_time)).full.budget
    assert (budget.trials, budget.seconds) == (1, None)


def test_a_space_of_a_space_is_the_same(single: Space) -> None:
    assert spaces.of_recipe(dataclasses.replace(RECIPE, budget=single.full.budget)) == single


def test_a_depth_that_another_model_lacks_is_refused(single: Space) -> None:
    with pytest.raises(ValueError, match="freezes 5 blocks; the model has 3"):
        parameters.resolve_recipe("retrained", single.recipes["retrained"], 3)


def test_it_is_no_file_of_the_folder() -> None:
    assert spaces.RETRAIN not in spaces.names()
