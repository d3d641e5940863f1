import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from frostline.trainables.data.batches import batches
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.slices import cut


def _build(key: int, start: "multiprocessing.synchronize.Barrier", out: "multiprocessing.Queue[str]") -> None:
    def make(folder: Path) -> dict[str, np.ndarray]:
        start.wait()  # both builders are inside at once
        return {"a": np.arange(1000)}

    out.put(str(cached({"key": key}, make)))


def test_two_builders_of_one_entry_leave_one_whole_entry(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, out = context.Barrier(2), context.Queue()
    builders = [context.Process(target=_build, args=(os.getpid(), start, out)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(30)
    assert [builder.exitcode for builder in builders] == [0, 0]
    entries = {out.get(timeout=5), out.get(timeout=5)}
    assert len(entries) == 1
    entry = Path(entries.pop())
    assert open_array(entry, "a").tolist() == list(range(1000))
    assert not list(entry.parent.glob(".*")), "nothing is left aside"


def test_a_build_that_dies_leaves_no_entry(cache: Path) -> None:
    def make(folder: Path) -> dict[str, np.ndarray]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        cached({"key": "dies"}, make)
    entry = cached({"key": "dies"}, lambda _: {"a": np.zeros(1)})
    assert open_array(entry, "a").tolist() == [0]


def test_arrays_are_memory_mapped_and_read_only(cache: Path) -> None:
    array = open_array(cached({"key": "mapped"}, lambda _: {"a": np.zeros(3)}), "a")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_second_call_builds_nothing(cache: Path) -> None:
    calls = []
    for _ in range(2):
        cached({"key": "once"}, lambda _: calls.append(1) or {"a": np.zeros(1)})  # type: ignore[func-returns-value]
    assert calls == [1]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot write the data cache"):
        cached({"key": 1}, lambda _: {"a": np.zeros(1)})


def test_an_edited_function_is_another_version() -> None:
    assert code_version(cut) == code_version(cut) != code_version(batches)


def _build_numbers(key: str, calls: list[int]) -> Path:
    def make(folder: Path) -> dict[str, np.ndarray]:
        calls.append(1)
        (folder / "raw.bin").write_bytes(b"12345")
        return {"a": np.arange(1000)}

    return cached({"key": key}, make)


@pytest.mark.parametrize("name", ["a.npy", "raw.bin", "key.json", "sizes.tsv"])
@pytest.mark.parametrize("damage", ["empty", "cut short", "gone", "NULs", "one bit"])
def test_a_damaged_entry_is_made_again(name: str, damage: str) -> None:
    """A power cut can leave the files of an entry that older versions wrote empty, or full of NULs."""
    key, calls = f"{damage} {name}", list[int]()
    entry = _build_numbers(key, calls)
    content = (entry / name).read_bytes()
    (entry / name).unlink()
    damaged = {
        "empty": b"",
        "cut short": content[: -len(content) // 2],
        "NULs": bytes(len(content)),
        "one bit": content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
    }
    if damage != "gone":
        (entry / name).write_bytes(damaged[damage])
    assert _build_numbers(key, calls) == entry
    assert len(calls) == 2
    assert open_array(entry, "a").tolist() == list(range(1000))
    assert (entry / "raw.bin").read_bytes() == b"12345"
    assert not list(entry.parent.glob(".*")), "nothing is left aside"
    assert _build_numbers(key, calls) == entry
    assert len(calls) == 2


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_the_umask_decides_who_shares_an_entry(umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        entry = _build_numbers(f"umask {umask}", [])
    finally:
        os.umask(before)
    assert entry.stat().st_mode & 0o777 == mode
    assert {path.stat().st_mode & 0o777 for path in entry.iterdir()} == {mode & 0o666}
