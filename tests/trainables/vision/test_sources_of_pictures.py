"""Pictures as people have them: what is read of each source, and what is said about it."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.data.rows import Rows
from frostline.trainables.vision.picture_rows import read_rows
from tests.trainables.vision.picture_sources import ANIMALS, NAMES, READ, REFUSED, classes, csv, flat, kaggle


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", READ)
def test_a_source_is_read(name: str, tmp_path: Path) -> None:
    case = READ[name]
    rows = read_rows(Data(source=str(case.make(tmp_path / "data")), text="file", label="label"))
    assert {split: dict(Counter(split_rows.labels)) for split, split_rows in rows.items()} == case.rows
    _check_said(rows, case.said)


def _check_said(rows: Mapping[str, Rows], said: tuple[str, ...]) -> None:
    notes = "\n".join(note for split_rows in rows.values() for note in split_rows.notes)
    assert [part for part in said if not re.search(part, notes)] == [], notes
    assert bool(notes) == bool(said), notes


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, problem = REFUSED[name]
    with pytest.raises(ValueError, match=problem) as refused:
        read_rows(Data(source=str(make(tmp_path / "data")), text="image", label="label"))
    assert "\n" not in str(refused.value)


def test_an_empty_cell_is_no_label(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data")
    csv(root / "train.csv", "file,label", [f"{n},{c}" for n, c in zip(NAMES, ["cat", "", "dog"] * 2, strict=True)])
    assert read_rows(Data(source=str(root)))["train"].labels == ["cat", None, "dog"] * 2


def test_an_empty_cell_is_no_picture(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data")
    rows = [f"{name},{label}" for name, label in zip([*NAMES, ""], [*ANIMALS, "cat"], strict=True)]
    csv(root / "train.csv", "file,label", rows)
    read = read_rows(Data(source=str(root)))["train"]
    assert [each is None for each in read.inputs] == [False] * 6 + [True]
    assert len(read.labels) == 7


@pytest.mark.parametrize("cell", ["/dev/zero", "../pipe", "images", "a" * 5000, "a/" * 3000, "nul\0.png", "../x.png"])
def test_a_list_that_names_what_is_no_file_leaves_it_out(cell: str, tmp_path: Path) -> None:
    root, names = tmp_path / "data", [f"{number}.png" for number in range(120)]
    flat(root / "images", names)
    os.mkfifo(tmp_path / "pipe")
    rows = [f"{name},{('cat', 'dog')[i % 2]}" for i, name in enumerate(names)]
    csv(root / "train.csv", "file,label", [*rows, f"{cell},cat"])
    read = read_rows(Data(source=str(root / "train.csv")))["train"]
    assert (len(read.inputs), len(read.skipped)) == (120, 1)
    assert len(read.skipped[0]) <= 200


def test_groups_are_read_beside_pictures(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "data")
    rows = [f"{n},{c},{p}" for n, c, p in zip(NAMES, ANIMALS, "aabbcc", strict=True)]
    csv(root / "train.csv", "file,label,patient", rows)
    assert read_rows(Data(source=str(root), group="patient"))["train"].groups == list("aabbcc")


def test_one_picture_a_class_is_said(tmp_path: Path) -> None:
    data = Data(source=str(classes(tmp_path / "data", **{f"{number / 4}": 1 for number in range(40)})))
    corpus = cut_corpus(data, read_rows(data), 16)
    assert corpus.sizes() == {"train": 32, "validation": 4, "test": 4}
    assert any("40 classes have one row each, too few to learn it" in note for note in corpus.notes)


@pytest.mark.parametrize("place", ["/", "/proc", "/sys"])
def test_a_folder_of_the_system_is_refused_soon(place: str) -> None:
    with pytest.raises(ValueError, match=f"^data set {place}: ") as refused:
        read_rows(Data(source=place))
    assert "\n" not in str(refused.value)
