"""Every space in the folder keeps the contract."""

import dataclasses
import importlib

import pytest

from frostline import spaces
from frostline.search.plan import parameters
from frostline.search.plan.budget import report_points, rungs
from frostline.spaces import ALL, Recipe
from frostline.trainables import _family


def _blocks(profile: spaces.Profile) -> dict[str, int]:
    """13 blocks a model, as bert-base has. Any number would do."""
    return dict.fromkeys(profile.models or (profile.model,), 13)


@pytest.fixture(params=spaces.names())
def space(request: pytest.FixtureRequest) -> spaces.Space:
    return spaces.load(request.param)


def test_it_opens_with_its_evidence(space: spaces.Space) -> None:
    text = importlib.import_module(f"frostline.spaces.{space.name}").__doc__ or ""
    assert f"--space {space.name}" in text, "the command"
    assert any(character.isdigit() for character in text), "the figures"


def test_its_family_exists(space: spaces.Space) -> None:
    assert space.family in _family.names()


def test_it_searches_the_parameters_of_every_fine_tuning(space: spaces.Space) -> None:
    depth = "frozen_fraction" if space.full.models else "frozen_layers"
    assert {"learning_rate", "batch_size", depth, "weight_decay"} <= set(space.parameters)
    assert space.parameters["learning_rate"].log
    assert space.parameters["weight_decay"].log


def test_its_recipes_lie_in_the_space_and_begin_with_default_and_linear_probe(space: spaces.Space) -> None:
    assert list(space.recipes)[:2] == ["default", "linear probe"]
    probe = space.recipes["linear probe"]
    assert probe["frozen_fraction"] == 1.0 if space.full.models else probe["frozen_layers"] == ALL
    for profile in (space.full, space.small):
        parameters.searched(space, profile, _blocks(profile))  # raises


@pytest.mark.parametrize("name", ["small", "full"])
def test_its_profiles_make_recipes_that_survive_json(space: spaces.Space, name: str) -> None:
    profile = space.profile(name)
    for recipe in parameters.searched(space, profile, _blocks(profile)).recipes.values():
        params = {"model": profile.model, **parameters.complete(recipe, _blocks(profile))}
        where = {"family": space.family, "data": profile.data, "metric": space.metric}
        bound = Recipe(**where, budget=profile.budget, **params)
        assert Recipe.from_json(bound.to_json()) == bound


@pytest.mark.parametrize("name", ["small", "full"])
def test_its_budgets_measure_the_end_and_stop_losers_of_many_trials(space: spaces.Space, name: str) -> None:
    budget = space.profile(name).budget
    assert rungs(dataclasses.replace(budget, trials=100)), "no trial could be stopped early"
    assert report_points(budget)[-1] == budget.epochs


def test_small_is_packaged_data_and_at_least_twelve_trials(space: spaces.Space) -> None:
    assert all(model.startswith("package:") for model in space.small.models or (space.small.model,))
    assert space.small.data.source.startswith("package:")
    assert space.small.budget.trials is not None
    assert space.small.budget.trials >= 12


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("weight_decay", "the parameters of bert_imdb lack weight_decay; a range of one value keeps one fixed"),
        ("frozen_layers", "the parameters of bert_imdb lack frozen_layers"),
    ],
)
def test_a_parameter_without_a_default_must_be_searched(left_out: str, message: str) -> None:
    space = spaces.load("bert_imdb")
    parameters = {name: values for name, values in space.parameters.items() if name != left_out}
    recipes = {
        label: {name: value for name, value in recipe.items() if name != left_out}
        for label, recipe in space.recipes.items()
    }
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(space, parameters=parameters, recipes=recipes)
