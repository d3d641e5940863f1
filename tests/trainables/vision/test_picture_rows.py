"""Labelled pictures from trees, data sets and packages: which are read and which are refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.spaces import Data
from frostline.trainables.data import sources
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.vision.picture_rows import DIGITS, read_rows
from frostline.trainables.vision.reading import decode
from tests import tiny


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


def test_one_tree_of_class_folders_is_all_train(tmp_path: Path) -> None:
    rows = read_rows(Data(source=str(tiny.make_pictures(tmp_path / "tree", {"cat": 3, "dog": 2}))))
    assert list(rows) == ["train"]
    assert rows["train"].labels == ["cat"] * 3 + ["dog"] * 2
    assert {picture.size for picture in rows["train"].inputs} == {(40, 32)}


def test_train_and_val_folders_are_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        tiny.make_pictures(tmp_path / "tree" / split, {"cat": count, "dog": count})
    rows = read_rows(Data(source=str(tmp_path / "tree")))
    assert {split: len(split_rows.labels) for split, split_rows in rows.items()} == {"train": 8, "validation": 4}


def test_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    tiny.make_pictures(tmp_path / "tree" / "train", {"cat": 2, "dog": 2})
    tiny.make_pictures(tmp_path / "tree" / "val", {"cat": 2, "fox": 2})
    with pytest.raises(ValueError, match="validation has the class 'fox', which train lacks"):
        read_rows(Data(source=str(tmp_path / "tree")))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 2, "dog": 2})
    (tree / "fox").mkdir()
    with pytest.raises(ValueError, match=r"tree: found no valid file for the classes fox$"):
        read_rows(Data(source=str(tree)))


def test_a_folder_without_classes_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="couldn't find any class folder in"):
        read_rows(Data(source=str(tmp_path / "empty")))
    (tmp_path / "empty" / "val").mkdir()
    with pytest.raises(ValueError, match="has validation but no train folder"):
        read_rows(Data(source=str(tmp_path / "empty")))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="is a file; pictures are a folder"):
        read_rows(Data(source=str(tmp_path / "a.txt")))
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match=r"does not list pictures: none of its columns \(x\) names pictures in "):
        read_rows(Data(source=str(tmp_path / "a.csv")))


def test_one_truncated_picture_in_a_hundred_is_left_out_and_named(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 60, "dog": 60})
    broken = tree / "cat" / "007.png"
    broken.write_bytes(broken.read_bytes()[:500])
    rows = read_rows(Data(source=str(tree)))["train"]
    assert rows.skipped == ("cat/007.png",)
    assert len(rows.inputs) == len(rows.labels) == 119
    assert cut_corpus(Data(source=str(tree)), {"train": rows}, 8).skipped == ("cat/007.png",)
    for name in ("001.png", "002.png"):
        (tree / "dog" / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"3 of 120 pictures cannot be read: cat/007\.png, dog/001\.png, dog/002\.png$"
    ):
        read_rows(Data(source=str(tree)))


def test_the_digits_are_scikit_learns() -> None:
    rows = read_rows(Data(source=DIGITS))["train"]
    assert (len(rows.inputs), sorted(set(rows.labels))) == (1797, [str(digit) for digit in range(10)])
    first = np.asarray(decode(rows.inputs[0].read()))
    assert rows.labels[0] == "0"
    assert first[0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16


def test_a_data_set_with_a_column_of_pictures(tmp_path: Path) -> None:
    import datasets

    made = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(6)]
    features = datasets.Features({"image": datasets.Image(), "labels": datasets.ClassLabel(names=["cat", "dog"])})
    table = datasets.Dataset.from_dict({"image": made, "labels": [0, 1] * 3}, features=features)
    table.save_to_disk(tmp_path / "saved")
    data = Data(source=str(tmp_path / "saved"), text="image", label="labels")
    rows = read_rows(data)["train"]
    assert rows.labels == ["cat", "dog"] * 3
    assert np.asarray(decode(rows.inputs[4].read()))[0, 0].tolist() == [4, 0, 0]
    with pytest.raises(ValueError, match="column 'labels' holds no pictures"):
        read_rows(Data(source=str(tmp_path / "saved"), text="labels", label="labels"))
    rows = read_rows(Data(source=str(tmp_path / "saved")))["train"]
    assert rows.labels == ["cat", "dog"] * 3
    assert "pictures are read from column 'image', classes from 'labels'" in rows.notes[0]


def test_a_hub_data_set_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[str] = []

    def load(name: str, **_: object) -> None:
        asked.append(name)
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    monkeypatch.setattr(sources, "_hub_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(sources.NotCachedError, match="data set 'microsoft/cats_vs_dogs' is not cached here"):
        read_rows(Data(source="microsoft/cats_vs_dogs", text="image", label="labels"))
    assert asked == ["microsoft/cats_vs_dogs"]


def test_a_link_that_leads_nowhere_is_named_and_left_out(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 100, "dog": 100})
    (tree / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    rows = read_rows(Data(source=str(tree)))["train"]
    assert (len(rows.inputs), rows.skipped) == (200, ("cat/gone.png",))


@pytest.mark.parametrize(("train", "test"), [("Train", "Val"), ("training_set", "valid")])
def test_folders_of_slices_by_other_names(tmp_path: Path, train: str, test: str) -> None:
    for name in (train, test):
        tiny.make_pictures(tmp_path / "tree" / name, {"cat": 3, "dog": 3})
    rows = read_rows(Data(source=str(tmp_path / "tree")))
    assert {split: sorted(set(split_rows.labels)) for split, split_rows in rows.items()} == {
        "train": ["cat", "dog"],
        "validation": ["cat", "dog"],
    }


def test_two_folders_for_one_slice_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        tiny.make_pictures(tmp_path / "tree" / name, {"cat": 3, "dog": 3})
    with pytest.raises(ValueError, match="two folders for validation: val and valid"):
        read_rows(Data(source=str(tmp_path / "tree")))


def test_the_same_picture_twice_is_one_example(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20})
    (tree / "dog" / "copy.png").write_bytes((tree / "dog" / "000.png").read_bytes())
    data = Data(source=str(tree))
    assert cut_corpus(data, read_rows(data), 8).duplicates == 1


def test_leftovers_are_no_classes(tmp_path: Path) -> None:
    """Those of notebooks, of a Mac, and links in a circle."""
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 3, "dog": 2})
    for place in (tree, tree / "cat"):
        tiny.make_pictures(place / ".ipynb_checkpoints", {"fox": 2})
        (place / "__MACOSX").mkdir()
        (place / ".DS_Store").write_text("x")
    (tree / "cat" / "top").symlink_to(tree / "cat")
    rows = read_rows(Data(source=str(tree)))["train"]
    assert rows.labels == ["cat"] * 3 + ["dog"] * 2
    assert rows.skipped == ()


@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_picture_that_is_a_pipe_or_a_device_is_refused_at_once(target: str, tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 3, "dog": 2})
    os.mkfifo(tree / "cat" / "pipe")
    if target != "pipe":
        (tree / "cat" / "pipe").unlink()
        (tree / "cat" / "pipe").symlink_to(target)
    with pytest.raises(ValueError, match=r"cat/pipe is a pipe, a socket or a device"):
        read_rows(Data(source=str(tree)))


def test_a_picture_of_a_terabyte_is_left_out(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 100, "dog": 100})
    (tree / "cat" / "large.png").touch()
    os.truncate(tree / "cat" / "large.png", 10**12)
    rows = read_rows(Data(source=str(tree)))["train"]
    assert (len(rows.inputs), rows.skipped) == (200, ("cat/large.png",))
