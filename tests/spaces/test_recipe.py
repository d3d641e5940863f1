from typing import Any

import pytest

import spaces
from spaces import Budget, Data, Depth, Recipe

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
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("batch_size", 0),
        ("frozen_layers", -1),
        ("warmup", 1.0),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_value(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*{value}|{field} must be above 0"):
        Recipe(**{**GOOD, field: value})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": {}, "budget": {}}', "not json"])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Recipe.from_json(text)


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ValueError, match="no field learning_rat"):
        Recipe(**GOOD).with_params({"learning_rat": 1.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(trials=0, epochs=1, first_rung=1), "trials must be at least 1, got 0"),
        (lambda: Budget(trials=1, epochs=0, first_rung=1), "epochs must be at least 1, got 0"),
        (lambda: Budget(trials=1, epochs=1, first_rung=2), "first_rung must be in"),
        (lambda: Budget(trials=1, epochs=1, first_rung=1, reduction_factor=1), "reduction_factor must be above 1"),
        (lambda: Data(source="d", train=0), "train slice must have at least 1"),
        (lambda: Data(source="d", max_length=2), "max_length must be at least 8"),
        (lambda: Data(source="d", truncation_side="up"), "truncation_side"),
        (lambda: Depth(low=3, high=1), "depth needs"),
    ],
)
def test_an_impossible_space_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"unknown space 'bert_imbd': did you mean 'bert_imdb'\? spaces are .*bert_imdb"
    ):
        spaces.load("bert_imbd")
