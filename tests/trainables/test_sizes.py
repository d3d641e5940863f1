"""The list of a folder's files: which damage it shows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.trainables import _sizes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "best" / "below").mkdir(parents=True)
    for name in ("model.safetensors", "below/vocab.txt", "README.md"):
        (tmp_path / "best" / name).write_bytes(name.encode() * 100)
    _sizes.write(tmp_path / "best", but={"README.md"})
    return tmp_path / "best"


def test_a_person_can_read_and_check_the_list(folder: Path) -> None:
    """The hash is that of the command `sha256sum`."""
    name, size, sha256 = (folder / _sizes.NAME).read_text().splitlines()[0].split("\t")
    assert (name, size) == ("below/vocab.txt", "1500")
    assert sha256 == "f3fb538c0874c7cbbc24acc68bcd5230741188cd53efeec8a6a9739c61e540a6"
    assert _sizes.damage(folder) == ""
    _sizes.check(folder)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "emptied": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
    "NULs": (
        lambda folder: (folder / "model.safetensors").write_bytes(bytes(1700)),
        "model.safetensors is damaged",
    ),
    "removed": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is damaged"),
    "a list that leads out": (
        lambda folder: (folder / _sizes.NAME).write_text("../pipe\t0\tx\n"),
        "sizes.tsv is missing or damaged",
    ),
    "below": (lambda folder: (folder / "below" / "vocab.txt").write_bytes(b"x"), "below/vocab.txt is damaged"),
    "the list cut": (
        lambda folder: (folder / _sizes.NAME).write_bytes((folder / _sizes.NAME).read_bytes()[:-70]),
        "sizes.tsv is missing or damaged",
    ),
    "the list emptied": (lambda folder: (folder / _sizes.NAME).write_bytes(b""), "sizes.tsv lists nothing"),
    "the list NULs": (lambda folder: (folder / _sizes.NAME).write_bytes(bytes(200)), "sizes.tsv is missing or damaged"),
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named(damage: Callable[[Path], object], problem: str, folder: Path) -> None:
    damage(folder)
    assert problem in _sizes.damage(folder)
    with pytest.raises(ValueError, match=rf"^.*{problem}.*--resume exports the model again.*$"):
        _sizes.check(folder)


def test_a_quick_look_compares_sizes_alone(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(1700))
    assert _sizes.damage(folder, thorough=False) == ""
    (folder / "model.safetensors").write_bytes(bytes(1699))
    assert "model.safetensors" in _sizes.damage(folder, thorough=False)


def test_the_card_may_be_edited_and_a_folder_without_a_list_passes(folder: Path) -> None:
    (folder / "README.md").write_text("my own words")
    _sizes.check(folder)
    (folder / _sizes.NAME).unlink()
    (folder / "model.safetensors").write_bytes(b"")
    _sizes.check(folder)
