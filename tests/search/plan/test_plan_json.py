"""`plan.json` from anywhere: each field is checked, a wrong one is one line."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.search.plan.plan import Plan, of_json
from tests.search import runs

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**70, 10**400, float("nan"), float("inf"), "", "x", "a\0b", "\ud800", "x" * 500),
    *([], {}, [[]], ["x"], [None], {"x": 1}, {"": []}),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return runs.plan_of(tmp_path_factory.mktemp("made") / "run", models=("package:tiny_bert", "package:other"))


@pytest.fixture
def fields(plan: Plan) -> dict[str, Any]:
    return dict(json.loads(plan.to_json()))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value that another value can be put in."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, name))


def put(fields: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(fields)
    inner: Any = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


def refused(run: Path, fields: dict[str, Any]) -> str:
    """The one line by which a plan is refused; empty if it is read."""
    try:
        of_json(run, fields)
    except ValueError as error:
        assert str(error).isprintable(), ascii(str(error))
        assert str(error).startswith(f"{run / 'plan.json'} is not a plan of this version: ")
        return str(error)
    return ""


def test_a_plan_is_read_back(plan: Plan, fields: dict[str, Any]) -> None:
    assert of_json(plan.place.run, fields) == plan


def test_an_odd_value_anywhere_is_refused_in_one_line_or_read(plan: Plan, fields: dict[str, Any]) -> None:
    tried, accepted = 0, dict[tuple[Any, ...], list[Any]]()
    for path in places(fields):
        for value in ODD:
            tried += 1
            if not refused(plan.place.run, put(fields, path, value)):
                accepted.setdefault(path, []).append(value)
    assert tried > 1500
    for path, values in accepted.items():
        if path[0] in {"run", "versions"}:  # read by nobody here
            continue
        texts, numbers = (any(isinstance(value, kind) for value in values) for kind in (str, int | float))
        assert not (texts and numbers) or path[0] in {"recipes", "distributions"}, (path, values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("seed",), 2**70, "seed is a whole number"),
        (("seed",), "0", "seed is a whole number, got '0'"),
        (("base", "seed"), -1, "seed must be 0 to 4294967295, got -1"),
        (("base", "data", "source"), 5, "base.data.source is text, got 5"),
        (("base", "more"), 5, "there is no field 'more' in base"),
        (("need", "cpus"), "1", "need.cpus is a number, got '1'"),
        (("models", "package:other", "prefix", "kept"), [1.5], "models.package:other.prefix.kept[0] is a whole number"),
        (("metric",), 5, "name is text, got 5"),
        (("prefer",), "fastest", "prefer is cheapest or best, got 'fastest'"),
        (("better",), "up", "better is one of 'higher', 'lower', got 'up'"),
        (("rungs",), "0.5", "rungs is a list, got '0.5'"),
        (("classes",), [1], "classes[0] is text, got 1"),
        (("distributions", "learning_rate"), {}, "learning_rate has no distribution that Optuna knows"),
        (("wandb",), "maybe", "W&B's mode is one of online, offline, off, got 'maybe'"),
        (("recipes", "default"), {"learning_rate": "x"}, "recipe 'default': learning_rate = 'x' is outside"),
        (("concurrent",), "2", "concurrent is a whole number, got '2'"),
    ],
)
def test_what_is_wrong_is_named(
    plan: Plan, fields: dict[str, Any], path: tuple[Any, ...], value: Any, message: str
) -> None:
    assert message in refused(plan.place.run, put(fields, path, value))


def test_a_plan_of_another_version_is_read_or_refused_in_one_line(plan: Plan, fields: dict[str, Any]) -> None:
    later = {**fields, "more": 1, "": [], "search": {}}
    assert of_json(plan.place.run, later) == plan, "a field that a later version may have"
    rows = {"rows_read", "rows_left_out", "rows_unused", "imbalance"}
    derived = {
        *rows,
        "prefer",
        "baseline",
        "better",
        "unit",
        "is_share",
        "may_be_undefined",
        "own_space",
        "settings",
        "files",
        "url",
        "address",
        "concurrent",
        "price_per_hour",
        "expected",
        "wandb_artifact",
        "run",
        "versions",
    }
    for name in fields:
        message = refused(plan.place.run, {key: value for key, value in fields.items() if key != name})
        assert (name in message) is (name not in derived), name
