"""A space that searches over models."""

import dataclasses
import json

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline import spaces
from frostline.search.plan import options
from frostline.search.plan.options import Options
from frostline.spaces import Profile, Recipe, Space, bert_imdb
from tests.spaces.test_single import RECIPE

BOTH = dataclasses.replace(bert_imdb.SPACE.small, model="a", models=("a", "b"))


def space(*taken: str, full: Profile = BOTH, small: Profile = BOTH) -> Space:
    names = ("learning_rate", "batch_size", "weight_decay", *(taken or ("frozen_fraction",)))
    parameters = {name: FloatDistribution(0.0, 1.0) for name in names}
    return Space(name="s", summary="", family="f", parameters=parameters, recipes={}, full=full, small=small)


def test_only_a_space_over_models_searches_the_depth_as_a_fraction() -> None:
    assert space().small.models == ("a", "b")
    with pytest.raises(ValueError, match="with the models a, b the frozen depth of s is searched as frozen_fraction"):
        space("frozen_layers")
    one = bert_imdb.SPACE.full
    with pytest.raises(ValueError, match="is searched as frozen_layers"):
        space(full=one)
    with pytest.raises(ValueError, match="belong in its profiles"):
        space("model", "frozen_fraction")


@pytest.mark.parametrize("models", [("b",), ("a", "a")])
def test_the_model_is_one_of_its_models_and_they_differ(models: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="models must differ, and 'a' must be one of them"):
        dataclasses.replace(BOTH, models=models)


def test_a_model_on_the_command_line_is_the_only_one() -> None:
    assert options.adjusted(BOTH, Options(space="s")).models == ("a", "b")
    alone = options.adjusted(BOTH, Options(space="s", model="c"))
    assert (alone.model, alone.models) == ("c", ("c",))


def test_a_recipe_with_a_fraction_is_trained_again_by_it() -> None:
    recipe = dataclasses.replace(RECIPE, frozen_fraction=0.7)
    assert Recipe.from_json(recipe.to_json()) == recipe
    single = spaces.of_recipe(recipe)
    assert single.full.models == ("m",)
    assert single.parameters["frozen_fraction"] == CategoricalDistribution((0.7,))
    assert "frozen_layers" not in single.parameters
    fields = json.loads(recipe.to_json())
    del fields["frozen_fraction"]
    assert Recipe.from_json(json.dumps(fields)).frozen_fraction is None, "of an earlier version"
