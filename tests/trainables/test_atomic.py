"""Files and folders that are whole or absent: in which order they are synced and renamed, and what an error leaves."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.trainables import _atomic


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every fsync and every rename below `tmp_path`, in order, as `fsync NAME` and `rename FROM TO`."""
    recorded: list[str] = []
    fsync, replace = os.fsync, os.replace

    def relative(path: str | Path) -> str:
        return re.sub(r"\.[0-9a-f]{8}$", ".ASIDE", str(Path(path).relative_to(tmp_path)))

    def record_fsync(descriptor: int) -> None:
        recorded.append(f"fsync {relative(Path(f'/proc/self/fd/{descriptor}').readlink())}")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        recorded.append(f"rename {relative(source)} {relative(target)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    return recorded


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_text(path: Path) -> None:
    _atomic.write(path, "whole")


def write_bytes(path: Path) -> None:
    _atomic.write(path, b"whole")


def write_in_parts(path: Path) -> None:
    with _atomic.writing(path) as file:
        file.write(b"who")
        file.write(b"le")


@pytest.mark.parametrize("write", [write_text, write_bytes, write_in_parts])
def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(
    write: Callable[[Path], None], calls: list[str], tmp_path: Path
) -> None:
    (tmp_path / "plan.json").write_text("older")
    write(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == "whole"
    assert calls == ["fsync .plan.json.ASIDE", "rename .plan.json.ASIDE plan.json", "fsync ."]
    assert names(tmp_path) == ["plan.json"]


def test_a_file_has_the_name_aside_that_the_caller_gives(calls: list[str], tmp_path: Path) -> None:
    with _atomic.writing(tmp_path / "a.npy", aside=tmp_path / ".a.npy") as file:
        file.write(b"whole")
        assert names(tmp_path) == [".a.npy"]
    assert calls == ["fsync .a.npy", "rename .a.npy a.npy", "fsync ."]


def test_every_file_and_folder_in_a_folder_is_synced_before_it_has_its_name(calls: list[str], tmp_path: Path) -> None:
    aside = tmp_path / "best.part"
    (aside / "tokenizer").mkdir(parents=True)
    (aside / "model.safetensors").write_text("weights")
    (aside / "tokenizer" / "vocabulary.txt").write_text("words")
    (aside / "link").symlink_to(aside / "model.safetensors")
    _atomic.place(aside, tmp_path / "best")
    assert calls == [
        "fsync best.part/tokenizer/vocabulary.txt",
        "fsync best.part/tokenizer",
        "fsync best.part/model.safetensors",
        "fsync best.part",
        "rename best.part best",
        "fsync .",
    ]
    assert (tmp_path / "best" / "tokenizer" / "vocabulary.txt").read_text() == "words"
    assert names(tmp_path) == ["best"]


def test_the_first_of_two_folders_keeps_the_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key.json").write_text(name)
    _atomic.place(tmp_path / "first", tmp_path / "entry")
    with pytest.raises(OSError, match="not empty"):
        _atomic.place(tmp_path / "second", tmp_path / "entry")
    assert (tmp_path / "entry" / "key.json").read_text() == "first"
    assert (tmp_path / "second" / "key.json").read_text() == "second"


def test_an_error_while_writing_leaves_the_older_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("older")

    def break_off() -> None:
        with _atomic.writing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_text() == "older"
    assert names(tmp_path) == ["plan.json"]


def test_a_full_disk_leaves_the_older_file_and_nothing_beside_it(small_disk: Callable[[str], Path]) -> None:
    path = small_disk("64k") / "trials.jsonl"
    _atomic.write(path, "older")
    with pytest.raises(OSError, match="No space left on device") as caught:
        _atomic.write(path, b"x" * 1_000_000)
    assert caught.value.errno in _atomic.DISK_FULL
    assert path.read_text() == "older"
    assert names(path.parent) == ["trials.jsonl"]


@pytest.mark.parametrize(
    ("number", "of", "is_raised"),
    [
        (errno.EINVAL, "folder", False),
        (errno.ENOTSUP, "folder", False),
        (errno.EIO, "folder", True),
        (errno.EINVAL, "file", True),
    ],
)
def test_only_a_file_system_that_cannot_sync_folders_is_forgiven(
    number: int, of: str, is_raised: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir() == (of == "folder"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    if is_raised:
        with pytest.raises(OSError, match=os.strerror(number)):
            _atomic.write(tmp_path / "plan.json", "text")
    else:
        _atomic.write(tmp_path / "plan.json", "text")
        assert (tmp_path / "plan.json").read_text() == "text"


def test_a_new_file_is_synced_before_it_has_its_name(calls: list[str], tmp_path: Path) -> None:
    _atomic.create(tmp_path / "plan.json", "whole")
    assert (tmp_path / "plan.json").read_text() == "whole"
    assert calls == ["fsync .plan.json.ASIDE", "fsync ."]  # its name is a link to the synced file
    assert names(tmp_path) == ["plan.json"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_no_other(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    _atomic.create(tmp_path / "plan.json", "first")
    with pytest.raises(FileExistsError):
        _atomic.create(tmp_path / "plan.json", "second")
    assert (tmp_path / "plan.json").read_text() == "first"
    assert names(tmp_path) == ["plan.json"]


def test_each_new_folder_is_synced_into_the_one_above(calls: list[str], tmp_path: Path) -> None:
    _atomic.make_folder(tmp_path / "runs" / "first" / "trials")
    _atomic.make_folder(tmp_path / "runs" / "first" / "trials")
    assert calls == ["fsync .", "fsync runs", "fsync runs/first"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(umask: int, mode: int, tmp_path: Path) -> None:
    """Also where a library wrote the file with a temporary file of its own, which only its owner may read."""
    before = os.umask(umask)
    try:
        aside = tmp_path / "best.part"
        aside.mkdir()
        for name in ("model.safetensors", "config.json"):
            (aside / name).touch()
            (aside / name).chmod(0o600)
        _atomic.place(aside, tmp_path / "best")
        (tmp_path / "weights.part").touch(0o600)
        _atomic.place(tmp_path / "weights.part", tmp_path / "weights")
        _atomic.create(tmp_path / "plan.json", "{}")
    finally:
        os.umask(before)
    files = ("best/model.safetensors", "best/config.json", "weights", "plan.json")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in files} == dict.fromkeys(files, mode)
    assert names(tmp_path) == ["best", "plan.json", "weights"]


def test_two_writers_with_one_process_id_write_aside_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert _atomic.aside_of(path) != _atomic.aside_of(path)
