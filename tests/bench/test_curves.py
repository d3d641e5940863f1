"""The recorder of trainings: which recipes it takes, and that a recording goes on where it was."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pyarrow import parquet

from frostline import spaces
from frostline.spaces import Data, Profile
from tests.bench.curves import recipes, record
from tests.bench.curves.record import Recorder, report_points, table, unpack
from tests.bench.curves.tasks import TASKS, Task

_SPACE = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "frozen_layers": IntDistribution(0, 7),
    "batch_size": CategoricalDistribution((8, 16, 32)),
}


def test_sobol_points_fill_the_space() -> None:
    points = recipes.sobol(_SPACE, 32)
    assert len(points) == 32
    for name, distribution in _SPACE.items():
        assert all(distribution._contains(distribution.to_internal_repr(point[name])) for point in points)
    assert {point["frozen_layers"] for point in points} == set(range(8))
    assert {point["batch_size"] for point in points} == {8, 16, 32}
    below = sum(point["learning_rate"] < 10**-3.5 for point in points)
    assert below == 16, "half of them lie in the lower half of the logarithm"
    assert recipes.sobol(_SPACE, 20) == points[:20], "fewer are the first ones"


def test_recipes_around_others_are_near_them() -> None:
    [centre] = recipes.sobol(_SPACE, 1)
    near = recipes.around(_SPACE, [centre], 50)
    assert all(abs(recipe["dropout"] - centre["dropout"]) < 0.25 for recipe in near)
    assert sum(recipe["batch_size"] == centre["batch_size"] for recipe in near) > 35
    assert len({recipe["learning_rate"] for recipe in near}) == 50


def test_reports_come_often_at_first() -> None:
    assert report_points(2) == (0.0625, 0.125, 0.25, 0.5, 1.0, 1.5, 2.0)


def test_two_tasks_are_held_out() -> None:
    assert sum(task.held_out for task in TASKS.values()) == 2


@pytest.fixture
def task(tiny_model: Path, tiny_csv: Path) -> Task:
    space = spaces.load("bert_imdb")
    small = Profile(
        model=str(tiny_model),
        data=Data(source=str(tiny_csv), max_length=16),
        budget=dataclasses.replace(space.small.budget, epochs=1),
    )
    return Task(name="tiny", space=lambda _: dataclasses.replace(space, small=small), sobol=2, around=1)


def test_recipes_get_their_second_seed_after_every_few(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_BLOCK", 3)
    plan, _ = task.plan(tmp_path)
    assert [training.name for training in record.wanted(task, plan, {})] == [
        *("literature-000-0", "literature-001-0", "sobol-000-0", "literature-000-1", "literature-001-1", "sobol-000-1"),
        *("sobol-001-0", "sobol-001-1"),
    ]


def test_a_recording_has_every_report_and_goes_on_where_it_was(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_MORE_SEEDS", (2,))
    recorder = Recorder(task, tmp_path)
    recorder.work()
    names = sorted(path.stem for path in tmp_path.glob("*.json"))
    assert len(names) == (2 + 2 + 1) * 3, "the literature's, Sobol's and one around them, two seeds, then one more"
    rows = table(task, tmp_path).to_pylist()
    assert len(rows) == len(names) * len(report_points(1))
    assert all((row["test_accuracy"] is None) == (row["epoch"] != 1.0) for row in rows)
    assert {row["failed"] for row in rows} == {""}
    assert len({row["loss"] for row in rows if row["epoch"] == 1.0}) == len(names)

    def told(name: str) -> list[dict[str, Any]]:
        kept = json.loads((tmp_path / f"{name}.json").read_text())
        return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in kept]

    lost = "sobol-001-1"
    before = told(lost)
    (tmp_path / f"{lost}.json").unlink()
    assert recorder.work() == 1
    assert told(lost) == before

    # The same from the table alone, as it is checked in.
    path, elsewhere = tmp_path / "tiny.parquet", tmp_path / "elsewhere"
    parquet.write_table(table(task, tmp_path), path)
    again = Recorder(task, elsewhere, path)
    assert again.work() == 0, "no training is trained twice"
    for name in names:
        assert (elsewhere / f"{name}.json").read_text() == (tmp_path / f"{name}.json").read_text()
    assert table(task, elsewhere).equals(parquet.read_table(path), check_metadata=True)


def _written(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    origin, number, seed = name.split("-")
    same = {"origin": origin, "number": int(number), "seed": int(seed), "params": '{"learning_rate": 1e-05}'}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps([same | row for row in rows]))


def test_a_table_and_a_folder_are_put_together(task: Task, tmp_path: Path) -> None:
    one, other, path = tmp_path / "one", tmp_path / "other", tmp_path / "tiny.parquet"
    assert len(table(task, one, path)) == 0, "there is nothing yet"
    _written(one, "around-000-0", [{"epoch": 0.0, "accuracy": math.nan, "failed": "no loss"}])
    whole = [{"epoch": 0.5, "accuracy": 0.1, "test": None}, {"epoch": 1.0, "accuracy": 0.1 + 0.2, "test": 0.7}]
    _written(one, "sobol-000-1", whole)
    parquet.write_table(table(task, one), path)
    _written(other, "sobol-000-1", [{"epoch": 1.0, "accuracy": 0.9}])
    _written(other, "sobol-002-0", [{"epoch": 1.0, "accuracy": 0.8}])
    both = table(task, other, path).to_pylist()
    assert [(row["origin"], row["number"], row["accuracy"]) for row in both[1:]] == [
        ("sobol", 0, 0.9),
        ("sobol", 2, 0.8),
    ]
    assert (math.isnan(both[0]["accuracy"]), both[0]["failed"]) == (True, "no loss")
    plan, _ = task.plan(tmp_path)
    assert unpack(path, plan, one) == 0
    (one / "sobol-000-1.json").unlink()
    assert unpack(path, plan, one) == 1
    told = json.loads((one / "sobol-000-1.json").read_text())
    assert [{key: row[key] for key in whole[0]} for row in told] == whole


def test_a_table_of_other_data_is_not_gone_on_with(task: Task, tmp_path: Path) -> None:
    rows = table(task, tmp_path)
    about = json.loads(rows.schema.metadata[b"task"])
    path = tmp_path / "tiny.parquet"
    parquet.write_table(
        rows.replace_schema_metadata({"task": json.dumps(about | {"train": 7, "literature": {}})}), path
    )
    with pytest.raises(ValueError, match=r"tiny\.parquet was recorded with another train\. Delete it"):
        Recorder(task, tmp_path, path)


def test_the_command_starts_its_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.curves", "record", "--task", "digits", "--processes", "1"]
    run = subprocess.run(
        [*command, "--seconds", "0", "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "digits: 0 trainings by this process\n"), run.stderr
