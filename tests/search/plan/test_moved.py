"""A run directory that was copied: its model and its data are elsewhere now."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from tests import tiny


@pytest.fixture
def moved(options: Options, tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> Plan:
    """A search that was claimed; since then `there/` with its model and data was renamed `here/`, and the run too."""
    shutil.copytree(tiny_model, tmp_path / "there" / "bert")
    shutil.copy(tiny_csv, tmp_path / "there" / "table.csv")
    given = {"model": str(tmp_path / "there" / "bert"), "dataset": str(tmp_path / "there" / "table.csv")}
    plan, _ = planning.resolve(dataclasses.replace(options, **given))
    planning.claim(plan)
    (tmp_path / "there").rename(tmp_path / "here")
    plan.place.run.rename(tmp_path / "renamed")
    return plan


def again(tmp_path: Path, **places: Any) -> Plan:
    given = {name: str(path) for name, path in places.items()}
    return planning.resume(tmp_path / "renamed", Options(space="", **given))[0]


def test_it_goes_on_where_the_hashes_agree(moved: Plan, tmp_path: Path) -> None:
    model, table = tmp_path / "here" / "bert", tmp_path / "here" / "table.csv"
    plan = again(tmp_path, model=model, dataset=table)
    assert (plan.search.base.model, plan.search.base.data.source) == (str(model), str(table))
    assert (list(plan.search.models), plan.place.run) == ([str(model)], tmp_path / "renamed")
    assert plan.search.models[str(model)] == next(iter(moved.search.models.values()))
    assert plan.data.fingerprint == moved.data.fingerprint
    params = moved.search.recipes["default"]
    assert plan.recipe(params, 3).trains_as(moved.recipe(params, 3).training()), "snapshots and the export stay valid"
    (tmp_path / "renamed" / "plan.json").write_text(plan.to_json())
    assert again(tmp_path).search.base == plan.search.base, "the new places are kept"


@pytest.mark.parametrize("missing", ["model", "dataset"])
def test_a_missing_place_is_said_with_the_option_that_gives_it(moved: Plan, tmp_path: Path, missing: str) -> None:
    places = {"model": tmp_path / "here" / "bert", "dataset": tmp_path / "here" / "table.csv"}
    del places[missing]
    what = "model" if missing == "model" else "data"
    with pytest.raises(
        ValueError, match=f"^the {what} of the search is no longer at .*/there/.*: give it with --{missing}$"
    ):
        again(tmp_path, **places)


def test_another_model_or_other_data_is_refused(moved: Plan, tmp_path: Path) -> None:
    model, table = tmp_path / "here" / "bert", tmp_path / "here" / "table.csv"
    other = tiny.write_csv(tmp_path / "other.csv", tiny.rows(1100, seed=1))
    with pytest.raises(ValueError, match=f"^the data {other} has changed since the search in .* began"):
        again(tmp_path, model=model, dataset=other)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    with pytest.raises(ValueError, match=f"^the model {model} has changed since the search in .* began"):
        again(tmp_path, model=model, dataset=table)


@pytest.mark.parametrize("name", ["model", "data"])
@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("/home/one/bert", "/srv/bert", True),
        ("/home/one/bert", "bert-base-uncased", False),
        ("bert-base-uncased", "bert-base-cased", False),
        ("bert-base-uncased", "bert-base-uncased", True),
    ],
)
def test_a_training_is_the_same_wherever_its_files_are(
    plan: Plan, name: str, before: str, now: str, same: bool
) -> None:
    recipe = plan.recipe(plan.search.recipes["default"], 0)

    def at(place: str) -> Any:
        if name == "model":
            return dataclasses.replace(recipe, model=place)
        return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=place))

    assert at(before).trains_as(at(now).training()) is same
    assert not at(before).trains_as(dataclasses.replace(at(before), seed=1).training())
    for damaged in ("", "[]", "{}", '{"model": 1, "data": {}}', "null"):
        assert not at(before).trains_as(damaged)
