"""Every space in the folder keeps the contract."""

import importlib

import pytest

import spaces
from search import parameters
from search.scheduler import report_points, rungs
from spaces import ALL, Recipe
from trainables import _family

_BLOCKS = 13  # of bert-base; any model would do


@pytest.fixture(params=spaces.names())
def space(request: pytest.FixtureRequest) -> spaces.Space:
    return spaces.load(request.param)


def test_it_opens_with_its_evidence(space: spaces.Space) -> None:
    text = importlib.import_module(f"spaces.{space.name}").__doc__ or ""
    assert f"--space {space.name}" in text, "the command"
    assert any(character.isdigit() for character in text), "the figures"


def test_its_family_exists(space: spaces.Space) -> None:
    assert space.family in _family.names()


def test_it_searches_what_every_fine_tuning_has(space: spaces.Space) -> None:
    assert {"learning_rate", "batch_size", "frozen_layers", "weight_decay"} <= set(space.parameters)
    assert space.parameters["learning_rate"].log
    assert space.parameters["weight_decay"].log


def test_its_recipes_lie_in_the_space_and_begin_with_default_and_linear_probe(space: spaces.Space) -> None:
    distributions = parameters.resolve_parameters(space.parameters, _BLOCKS, "a model")
    assert list(space.recipes)[:2] == ["default", "linear probe"]
    assert space.recipes["linear probe"]["frozen_layers"] == ALL
    for label, recipe in space.recipes.items():
        parameters.check_recipe(label, parameters.resolve_recipe(label, recipe, _BLOCKS), distributions)


@pytest.mark.parametrize("name", ["small", "full"])
def test_its_profiles_make_recipes_that_survive_json(space: spaces.Space, name: str) -> None:
    profile = space.profile(name)
    for label, recipe in space.recipes.items():
        params = parameters.resolve_recipe(label, recipe, _BLOCKS)
        where = {"family": space.family, "model": profile.model, "data": profile.data, "metric": space.metric}
        bound = Recipe(**where, budget=profile.budget, **params)
        assert Recipe.from_json(bound.to_json()) == bound


@pytest.mark.parametrize("name", ["small", "full"])
def test_its_budgets_stop_losers_and_measure_the_end(space: spaces.Space, name: str) -> None:
    budget = space.profile(name).budget
    assert rungs(budget), "no trial could be stopped early"
    assert report_points(budget)[-1] == budget.epochs


def test_small_is_packaged_data_and_at_least_twelve_trials(space: spaces.Space) -> None:
    assert space.small.model.startswith("package:")
    assert space.small.data.source.startswith("package:")
    assert space.small.budget.trials is not None
    assert space.small.budget.trials >= 12
