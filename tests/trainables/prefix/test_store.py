"""The files of the frozen-prefix cache: claimed, held, whole or absent, removed oldest-first."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.trainables.prefix import store


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for this test alone."""
    monkeypatch.setattr(store, "root", lambda: tmp_path / "features")
    return tmp_path / "features"


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def half() -> None:
        with store.new(tmp_path / "a.npy") as file:
            file.write(b"half")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        half()
    assert list(tmp_path.iterdir()) == []
    with store.new(tmp_path / "a.npy") as file:
        file.write(b"whole")
        assert not (tmp_path / "a.npy").exists()
    assert (tmp_path / "a.npy").read_bytes() == b"whole"


def test_a_shard_is_claimed_at_all_depths_or_at_none(tmp_path: Path) -> None:
    """Two searches that keep different depths share a folder."""
    one, both = [tmp_path / "6.lock"], [tmp_path / "3.lock", tmp_path / "6.lock"]
    with store.claim(one, wait=False) as mine, store.claim(both, wait=False) as theirs:
        assert mine
        assert not theirs
        with store.claim(both[:1], wait=False) as free:
            assert free, "what the other could not use is not kept from anyone"
    with store.claim(both, wait=False) as theirs:
        assert theirs


def entry(root: Path, name: str, size: int, age: float) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "train-000.npy").write_bytes(b"x" * size)
    (folder / "in-use").touch()
    os.utime(folder / "in-use", (time.time() - age,) * 2)
    return folder


def test_the_entry_that_was_unused_for_longest_is_removed_first_and_one_in_use_stays(root: Path) -> None:
    oldest, older, old, new = (entry(root, name, 100, age) for name, age in zip("abcd", (40, 30, 20, 10), strict=True))
    held = store.hold(oldest)  # being used makes it the youngest, too
    assert store.make_room(100, 400)
    assert [folder.exists() for folder in (oldest, older, old, new)] == [True, False, True, True]
    assert store.make_room(150, 250)
    assert [folder.exists() for folder in (oldest, old, new)] == [True, False, False]
    assert not store.make_room(201, 300), "what is in use is not removed for anything"
    assert oldest.exists()
    held.close()
    assert store.make_room(201, 300)
    assert not oldest.exists()


def test_an_entry_that_another_process_removes_meanwhile_counts_as_nothing(
    root: Path, vanishing: Callable[[Path], None]
) -> None:
    first, second = entry(root, "a", 100, 20), entry(root, "b", 100, 10)
    vanishing(first)
    assert store.make_room(100, 200)
    assert not first.exists()
    assert second.exists(), "there was room without it"
