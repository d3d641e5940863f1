"""A machine that has not what the driver's has."""

import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from frostline.trainables import _family, _storage
from frostline.trainables._task import NodeError
from frostline.trainables.slot import node
from tests.trainables.slots import Slot


@pytest.fixture
def elsewhere(slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    """The slot of another machine: its cache is empty, and it does not see the driver's."""
    Path(slot.setup.run).mkdir()
    (Path(slot.setup.run) / "plan.json").touch()
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    slot.change(entry=f"/not-here/{Path(slot.own.entry).name}")
    node._entry.cache_clear()
    return slot


def entry(slot: Slot) -> Path:
    return node.entry_of(slot.setup, slot.recipe, _family.load(slot.recipe.family))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_data_is_prepared_once_by_the_first_slot_that_needs_it(
    elsewhere: Slot, prepared: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cut = [], node.cut_corpus
    monkeypatch.setattr(node, "cut_corpus", lambda *args, **kwargs: made.append(1) or cut(*args, **kwargs))
    with ThreadPoolExecutor(4) as slots:
        entries = set(slots.map(lambda _: entry(elsewhere), range(4)))
    assert (len(entries), len(made)) == (1, 1)
    (own,) = prepared[0].models.values()
    assert contents(entries.pop()) == contents(Path(own.entry))


@pytest.mark.parametrize("size", [None, 0, 200])
@pytest.mark.parametrize("name", ["test-tokens.npy", "train-offsets.npy"])
def test_a_file_that_is_cut_short_between_two_trials_is_made_again(
    elsewhere: Slot, name: str, size: int | None
) -> None:
    before = contents(entry(elsewhere))
    file = entry(elsewhere) / name
    if size is None:
        file.unlink()
    else:
        os.truncate(file, size)
    assert contents(entry(elsewhere)) == before


def test_a_trial_reports_there_as_on_the_drivers_machine(slot: Slot, elsewhere: Slot) -> None:
    assert elsewhere.train()[-1].objective > 0.5
    assert entry(elsewhere).is_relative_to(_storage.cache_root())


def test_other_data_is_not_trained_on(elsewhere: Slot, tmp_path: Path) -> None:
    source = Path(elsewhere.recipe.data.source)
    other = tmp_path / source.name
    shutil.copy(source, other)
    lines = other.read_text().splitlines()
    other.write_text("\n".join([lines[0], *lines[2:]]))
    elsewhere.recipe = dataclasses.replace(
        elsewhere.recipe, data=dataclasses.replace(elsewhere.recipe.data, source=str(other))
    )
    with pytest.raises(NodeError, match="are others here than at the driver"):
        entry(elsewhere)


def test_another_version_of_the_model_is_not_trained(elsewhere: Slot) -> None:
    """For example, each machine loads the newest one of a hub."""
    elsewhere.change(weights="those of an older revision")
    with pytest.raises(NodeError, match="is another version here than at the driver"):
        entry(elsewhere)


def test_an_error_names_the_machine_that_does_not_see_the_run_directory(elsewhere: Slot) -> None:
    elsewhere.setup = dataclasses.replace(elsewhere.setup, run="/not-here/run")
    with pytest.raises(NodeError, match=rf"^{node.name()}: no run directory /not-here/run here; --storage"):
        entry(elsewhere)


def test_a_machine_that_cannot_store_data_is_an_error(elsewhere: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", "/proc/nothing-can-be-made-here")
    with pytest.raises(NodeError, match="cannot write the data cache"):
        entry(elsewhere)


def test_the_notice_is_asked_for_every_two_seconds_until_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked, answers = [100.0], [], iter([False, True])
    monkeypatch.setattr(node.time, "monotonic", lambda: now[0])

    def ask() -> bool:
        asked.append(now[0])
        return next(answers)

    notice, given = node.Notice(ask), []
    for seconds in (0.5, 2.0, 2.5, 4.1, 9.0):
        now[0] = 100.0 + seconds
        given.append(notice.given())
    assert given == [False, False, False, True, True]
    assert asked == [102.0, 104.1]
