"""`best/` after a power cut or a hand: a damaged export is noticed, and `--resume` makes it again."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import frostline
from frostline.search import publish
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from tests.integration.searches import Searches

WEIGHTS = "best/model.safetensors"


def empty(run: Path) -> None:
    os.truncate(run / WEIGHTS, 0)


def fill_with_nuls(run: Path) -> None:
    (run / WEIGHTS).write_bytes(bytes((run / WEIGHTS).stat().st_size))


def flip_a_bit(run: Path) -> None:
    content = bytearray((run / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (run / WEIGHTS).write_bytes(content)


def cut_the_tokenizer(run: Path) -> None:
    os.truncate(run / "best" / "tokenizer.json", 100)


def remove_the_configuration(run: Path) -> None:
    (run / "best" / "config.json").unlink()


def empty_an_export_of_an_earlier_version(run: Path) -> None:
    (run / "best" / "sizes.tsv").unlink()
    empty(run)


DAMAGES = [
    empty,
    fill_with_nuls,
    flip_a_bit,
    cut_the_tokenizer,
    remove_the_configuration,
    empty_an_export_of_an_earlier_version,
]


@pytest.fixture(scope="module")
def plan(searches: Searches, finished: dict[str, Any]) -> Plan:
    """The plan by which the finished search goes on."""
    return planning.resume(Path(finished["run"]), Options(space=""))[0]


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_damage_is_noticed(damage: Callable[[Path], None] | None, plan: Plan, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plan.place.run, tmp_path / "run"))
    copied = dataclasses.replace(plan, place=dataclasses.replace(plan.place, run=run))
    winner = trial_records.winner(trial_records.read(run / "trials.jsonl"))
    assert winner is not None
    if damage is None:
        assert publish.is_of(copied, winner)
        return
    damage(run)
    assert not publish.is_of(copied, winner)
    with pytest.raises(ValueError, match=r"^.+$"):  # one line
        frostline.load(run / "best")


def test_a_damaged_export_is_made_again(searches: Searches, finished: dict[str, Any]) -> None:
    run = Path(shutil.copytree(finished["run"], searches.storage / "damaged"))
    fill_with_nuls(run)
    again = searches.resume("damaged")
    assert not again["failure"]
    assert again["test_reads"] == finished["test_reads"], "the test set is not read for it a second time"
    for name in (WEIGHTS, "best/config.json", "best/tokenizer.json", "best/sizes.tsv"):
        assert (run / name).read_bytes() == (Path(finished["run"]) / name).read_bytes(), name
    frostline.load(run / "best")("a film")


def test_an_export_whose_weights_are_lost_too_is_said_in_one_line(searches: Searches, finished: dict[str, Any]) -> None:
    run = Path(shutil.copytree(finished["run"], searches.storage / "lost"))
    empty(run)
    for weights in run.glob("trials/*/best.safetensors"):
        weights.write_bytes(bytes(1000))
    again = searches.resume("lost")
    assert "the winner's weights are lost" in again["failure"]
    assert again["failure"].endswith(f"--retrain {run} trains the winner again")
    assert "\n" not in again["failure"]
    assert again["best"] == finished["best"], "the result stays"


def test_who_may_read_the_winner_is_for_the_umask_to_decide(finished: dict[str, Any]) -> None:
    umask = os.umask(0)
    os.umask(umask)
    files = [path for path in Path(finished["run"]).rglob("*") if path.is_file()]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in files}
    assert modes == dict.fromkeys(modes, oct(0o666 & ~umask))
