"""Two processes that train one model, over gloo, are one that does."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.spaces import Recipe
from frostline.trainables._task import Setup
from frostline.trainables.training.peers import ALONE, Peers
from tests.trainables import ranks

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def found(prepared: tuple[Setup, Recipe], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the first and the second of two processes have found, and one alone."""
    setup, recipe = prepared
    recipe = dataclasses.replace(recipe, batch_size=16, learning_rate=1e-3)
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "setup.json").write_text(json.dumps(dataclasses.asdict(setup)))
    (folder / "recipe.json").write_text(recipe.to_json())
    command = [sys.executable, "-m", "tests.trainables.ranks", str(folder)]
    started = [subprocess.Popen([*command, str(rank), "2"], cwd=ROOT) for rank in range(2)]
    alone = ranks.all_of_it(folder, 0, 1)
    assert [process.wait(120) for process in started] == [0, 0]
    return [*(json.loads((folder / f"{rank}-of-2.json").read_text()) for rank in range(2)), alone]


@pytest.mark.parametrize("which", ["plain", "single", "cramped"])
def test_two_with_half_a_batch_each_train_as_one_with_all_of_it(found: list[dict[str, Any]], which: str) -> None:
    first, second, alone = (one[which] for one in found)
    assert first
    keys = ("epoch", "samples", "step", "final")
    assert [[report[key] for key in keys] for report in first] == [[report[key] for key in keys] for report in alone]
    for two, one in zip(first, alone, strict=True):
        assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4, abs=1e-5)
    for two, other in zip(first, second, strict=True):
        assert two["metrics"] == other["metrics"], "both know the scores of all examples, to the bit"


def test_where_memory_runs_out_for_one_only_it_takes_smaller_portions(found: list[dict[str, Any]]) -> None:
    first, second, _ = (one["cramped"][-1]["micro_batch"] for one in found)
    assert (first, second) == (8, 1)  # 6 of 12 do not fit, nor do 3


def test_broken_off_they_end_as_if_they_had_not_been(found: list[dict[str, Any]]) -> None:
    for one in found:
        assert one["resumed"] == [report for report in one["whole"] if report["step"] > ranks.BROKEN_OFF]
        assert one["resumed"]


def test_dropout_is_another_one_in_each_process(found: list[dict[str, Any]]) -> None:
    first, _, alone = (one["whole"][-1]["metrics"]["train_loss"] for one in found)
    assert first != pytest.approx(alone, rel=1e-6)


def test_a_loss_that_is_not_finite_ends_all_of_them_at_the_same_step(found: list[dict[str, Any]]) -> None:
    first, second, alone = (one["failed"] for one in found)
    assert first == second
    assert first.split(" at ")[1] == alone.split(" at ")[1]


def test_one_that_dies_is_noticed_at_once(found: list[dict[str, Any]]) -> None:
    assert [one["lost"] for one in found[:2]] == ["PeerLostError", "died"]


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17])
def test_the_shares_of_a_batch_are_all_of_it_once_and_in_order(size: int) -> None:
    batch = np.arange(100, 116)
    shares = [Peers(rank, size).share(batch) for rank in range(size)]
    assert np.concatenate(shares).tolist() == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_evaluates_whole_batches_and_together_all() -> None:
    batches = [np.arange(start, min(start + 4, 14)) for start in range(0, 14, 4)]
    assert [own.tolist() for own in Peers(0, 3).owned(batches)] == [
        [0, 1, 2, 3, 12, 13],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert [len(own) for own in Peers(0, 6).owned(batches)] == [4, 4, 4, 2, 0, 0]
    assert ALONE.owned(batches)[0].tolist() == list(range(14))
