import dataclasses
import json
from typing import Any

import pytest

from frostline import spaces
from frostline.spaces import Budget, Data, Depth, Recipe

GOOD: dict[str, Any] = {
    "family": "text_classification",
    "model": "m",
    "data": Data(source="d"),
    "budget": Budget(trials=1, epochs=1, first_rung=1),
    "learning_rate": 1e-4,
    "batch_size": 8,
    "frozen_layers": 0,
    "weight_decay": 0.1,
}


def test_json_keeps_every_bit() -> None:
    recipe = Recipe(**GOOD).with_params({"learning_rate": 0.1 + 0.2, "seed": 3})
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.learning_rate == 0.1 + 0.2


@pytest.mark.parametrize(
    "budget",
    [
        Budget(trials=None, epochs=3, first_rung=0.1, seconds=0.1 + 0.2),
        Budget(trials=5, epochs=3, first_rung=1, seconds=7200.0, confirm_recipes=0, confirm_seeds=0),
        Budget(trials=5, epochs=3, first_rung=1, confirm_recipes=7, confirm_seeds=1),
    ],
)
def test_json_keeps_the_whole_budget_and_the_metric(budget: Budget) -> None:
    recipe = Recipe(**{**GOOD, "budget": budget, "metric": "f1"})
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.to_json() == recipe.to_json()
    assert (again.budget, again.metric) == (budget, "f1")


def test_json_from_before_time_budgets_and_confirmation_is_read() -> None:
    """A field that a recipe lacks has its default."""
    recipe = Recipe(**GOOD)
    fields = json.loads(recipe.to_json())
    for name in ("seconds", "confirm_recipes", "confirm_seeds"):
        del fields["budget"][name]
    del fields["metric"]
    assert Recipe.from_json(json.dumps(fields)) == recipe


# --- what of it decides its training


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 99},
        {"trials": None, "seconds": 60.0},
        {"seconds": 1.0},
        {"confirm_recipes": 0},
        {"confirm_seeds": 9},
        {"first_rung": 0.5},
        {"reduction_factor": 4.0},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_the_budget_of_the_search_does_not_decide_how_a_recipe_is_trained(changes: dict[str, Any]) -> None:
    recipe = Recipe(**GOOD)
    other = dataclasses.replace(recipe, budget=dataclasses.replace(recipe.budget, **changes))
    assert other != recipe
    assert other.training() == recipe.training()


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "f"},
        {"model": "n"},
        {"data": Data(source="d", max_length=8)},
        {"budget": Budget(trials=1, epochs=2, first_rung=1)},
        {"learning_rate": 1e-4 * (1 + 2**-52)},
        {"batch_size": 16},
        {"frozen_layers": 1},
        {"weight_decay": 0.0},
        {"warmup": 0.0},
        {"clip_norm": 2.0},
        {"seed": 1},
        {"metric": "f1"},
        {"cached_layers": 1, "frozen_layers": 1},
        {"cache_dtype": "float16"},
        {"frozen_fraction": 0.5},
        {"class_weights": "balanced"},
        {"pooling": "mean"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_else_decides_it(changes: dict[str, Any]) -> None:
    assert Recipe(**{**GOOD, **changes}).training() != Recipe(**GOOD).training()


def test_class_weights_are_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="class_weights is one of none, balanced, got 'equal'"):
        Recipe(**GOOD, class_weights="equal")


@pytest.mark.parametrize("augmentation", ["none", "light", "randaugment-0", "randaugment-30"])
def test_augmentations(augmentation: str) -> None:
    recipe = Recipe(**{**GOOD, "augmentation": augmentation})
    assert recipe.deterministic_input == (augmentation == "none")


@pytest.mark.parametrize("augmentation", ["", "strong", "randaugment", "randaugment-31", "randaugment-x"])
def test_another_augmentation_is_refused(augmentation: str) -> None:
    with pytest.raises(ValueError, match="augmentation is none, light or randaugment-<0 to 30>"):
        Recipe(**{**GOOD, "augmentation": augmentation})


def test_augmented_inputs_are_not_read_from_the_cache() -> None:
    with pytest.raises(ValueError, match="cached_layers needs the same input"):
        Recipe(**{**GOOD, "frozen_layers": 2, "cached_layers": 1, "augmentation": "light"})


def test_every_field_is_in_one_of_the_two_tests() -> None:
    """A new field of a recipe belongs in one of the two tests above."""
    before = json.loads(Recipe(**GOOD).training())
    assert not {"class_weights", "pooling"} & set(before), "as it was before the fields came"
    first = {"source", "text", "label", "train", "validation", "test", "max_length", "truncation_side", "image_size"}
    assert set(before["data"]) == first | {"seed"}, "snapshots and winners of version 0.1.0 are still known"
    decides = json.loads(Recipe(**GOOD, class_weights="balanced", pooling="mean").training())
    assert set(decides) == {field.name for field in dataclasses.fields(Recipe)} == {*GOOD, *_DEFAULTED}
    assert decides["budget"] == {"epochs": 1}


_DEFAULTED = (
    *("warmup", "clip_norm", "seed", "metric", "cached_layers", "cache_dtype"),
    *("augmentation", "label_smoothing", "dropout", "frozen_fraction", "class_weights", "pooling"),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("batch_size", 0),
        ("frozen_layers", -1),
        ("frozen_fraction", 1.5),
        ("frozen_fraction", -0.5),
        ("warmup", 1.0),
        ("label_smoothing", 1.0),
        ("dropout", -0.1),
        ("pooling", "max"),
        ("pooling", ""),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_value(field: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*{value}|{field} must be above 0"):
        Recipe(**{**GOOD, field: value})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": {}, "budget": {}}', "not json"])
def test_json_that_is_not_a_recipe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Recipe.from_json(text)


NAN, MANY = float("nan"), 10**400
NO_TEXT: tuple[Any, ...] = (None, 5, 1.5, True, [], {}, ["x"], "a\0b", "\ud800")
NO_NUMBER: tuple[Any, ...] = (None, "x", "0.1", True, [], {}, [1], NAN, float("inf"), MANY)
NO_COUNT: tuple[Any, ...] = (*NO_NUMBER, 1.5, -1, 2**70)
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("family", "model", "augmentation", "metric", "cache_dtype"), NO_TEXT),
    **dict.fromkeys(("learning_rate", "weight_decay", "label_smoothing", "warmup", "clip_norm"), (*NO_NUMBER, -1)),
    **dict.fromkeys(("dropout", "frozen_fraction"), (*NO_NUMBER[1:], -0.1, 1.5)),
    **dict.fromkeys(("batch_size", "frozen_layers", "seed", "cached_layers"), NO_COUNT),
    **dict.fromkeys(("data", "budget"), (None, "x", 5, [], {}, [1], True)),
    **dict.fromkeys(("data.source", "data.text", "data.label", "data.truncation_side"), NO_TEXT),
    **dict.fromkeys(("data.validation_source", "data.test_source", "data.group"), (*NO_TEXT[1:], "")),
    **dict.fromkeys(("data.train", "data.validation", "data.test", "data.image_size"), (*NO_COUNT[1:], 0)),
    **dict.fromkeys(("data.max_length", "data.seed", "budget.epochs"), NO_COUNT),
    **dict.fromkeys(("budget.trials",), (*NO_COUNT[1:], 0)),
    **dict.fromkeys(("budget.confirm_recipes", "budget.confirm_seeds"), NO_COUNT),
    **dict.fromkeys(("budget.first_rung", "budget.reduction_factor"), (*NO_NUMBER, 0, -1)),
    **dict.fromkeys(("budget.seconds",), (*NO_NUMBER[1:], 0, -1)),
    **dict.fromkeys(("more", "data.more", "budget.more", "self", "__class__", ""), (1,)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_another_type_is_refused_in_one_line(name: str) -> None:
    group, _, field = name.rpartition(".")
    for value in WRONG[name]:
        fields = json.loads(Recipe(**GOOD).to_json())
        (fields[group] if group else fields)[field] = value
        with pytest.raises(ValueError, match=r".") as caught:
            Recipe.from_json(json.dumps(fields))
        assert str(caught.value).isprintable()
        assert field in str(caught.value) or "time budget" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"seed": ' + "9" * 10_000 + "}", "null", "5", '"x"', "NaN", "{}{}", "\0"],
)
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Recipe.from_json(text)
    assert str(caught.value).isprintable()


def test_a_recipe_without_files_beside_its_data_is_written_as_before() -> None:
    """Snapshots of earlier versions are compared with it as text."""
    plain = Recipe(**GOOD)
    assert not {"validation_source", "test_source", "group"} & json.loads(plain.to_json())["data"].keys()
    assert "pooling" not in json.loads(plain.to_json())
    given = {"validation_source": "/a/dev.csv", "test_source": "/a/test.csv", "group": "user"}
    beside = dataclasses.replace(plain, data=dataclasses.replace(plain.data, **given))
    assert Recipe.from_json(beside.to_json()) == beside
    assert not beside.trains_as(plain.training())
    moved = dataclasses.replace(beside, data=dataclasses.replace(beside.data, test_source="/b/test.csv"))
    assert moved.trains_as(beside.training())
    other = dataclasses.replace(beside, data=dataclasses.replace(beside.data, group="document"))
    assert not other.trains_as(beside.training())
    pooled = dataclasses.replace(plain, pooling="mean")
    assert Recipe.from_json(pooled.to_json()) == pooled
    assert not pooled.trains_as(plain.training())


def test_a_parameter_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate is a number, got '1e-3'"):
        Recipe(**GOOD).with_params({"learning_rate": "1e-3"})


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ValueError, match="no field learning_rat"):
        Recipe(**GOOD).with_params({"learning_rat": 1.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(trials=0, epochs=1, first_rung=1), "trials must be at least 1, got 0"),
        (lambda: Budget(trials=None, epochs=1, first_rung=1), "a budget needs trials or seconds"),
        (lambda: Budget(trials=1, epochs=1, first_rung=1, seconds=0), "a time budget must be above 0, got 0 s"),
        (lambda: Budget(trials=None, epochs=1, first_rung=1, seconds=-2.5), "must be above 0, got -2.5 s"),
        (lambda: Budget(trials=1, epochs=1, first_rung=1, seconds=float("nan")), "must be above 0, got nan s"),
        (lambda: Budget(trials=0, epochs=1, first_rung=1, seconds=60), "trials must be at least 1, got 0"),
        (
            lambda: Budget(trials=1, epochs=1, first_rung=1, confirm_recipes=-1),
            "confirm_recipes must not be negative, got -1",
        ),
        (
            lambda: Budget(trials=1, epochs=1, first_rung=1, confirm_seeds=-2),
            "confirm_seeds must not be negative, got -2",
        ),
        (lambda: Budget(trials=1, epochs=0, first_rung=1), "epochs must be a whole number, or between 0 and 1, got 0"),
        (lambda: Budget(trials=1, epochs=10**9, first_rung=1), "epochs must be at most 10000, got 1000000000"),
        (lambda: Budget(trials=1, epochs=1, first_rung=2), "first_rung must be in"),
        (lambda: Budget(trials=1, epochs=1, first_rung=1, reduction_factor=1), "reduction_factor must be above 1"),
        (lambda: Data(source="d", train=0), "train slice must have at least 1"),
        (lambda: Data(source="d", max_length=2), "max_length must be at least 8"),
        (lambda: Data(source="d", truncation_side="up"), "truncation_side"),
        (lambda: Data(source="d", group="text"), "grouped by another column than 'text' and 'label'"),
        (lambda: Depth(low=3, high=1), "depth needs"),
    ],
)
def test_an_impossible_space_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_budget_of_time_needs_no_trials_and_one_of_trials_no_time() -> None:
    assert Budget(trials=None, epochs=1, first_rung=1, seconds=0.5).trials is None
    assert Budget(trials=1, epochs=1, first_rung=1).seconds is None
    assert Budget(trials=1, epochs=1, first_rung=1, confirm_recipes=0, confirm_seeds=0).confirm_recipes == 0


def test_an_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"unknown space 'bert_imbd': did you mean 'bert_imdb'\? spaces are .*bert_imdb"
    ):
        spaces.load("bert_imbd")
