from collections.abc import Mapping
from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables.data.beside import read_all
from frostline.trainables.data.rows import Rows
from frostline.trainables.vision import picture_rows
from tests import tiny


def rows(*texts: str, label: str | None = "0", notes: tuple[str, ...] = ()) -> Rows:
    return Rows(inputs=list(texts), labels=[label] * len(texts), notes=notes)


FILES: Mapping[str, Mapping[str, Rows]] = {
    "all": {"train": rows("a", "b"), "test": rows("c", "d", "e")},
    "train": {"train": rows("a", "b")},
    "more": {"train": rows("f", notes=("more is read as cp1252",))},
    "folder": {"train": rows("g"), "validation": rows("h")},
    "kaggle": {"train": rows("i", "j", label=None)},
}
REPLACED = "--test takes the place of the test split in all: its 3 rows are not used"


def read(data: Data) -> Mapping[str, Rows]:
    assert (data.validation_source, data.test_source, data.text) == (None, None, "review")
    return FILES[data.source]


@pytest.mark.parametrize(
    ("given", "inputs", "notes"),
    [
        (Data(source="all"), {"train": ["a", "b"], "test": ["c", "d", "e"]}, ()),
        (Data(source="train", validation_source="more"), {"train": ["a", "b"], "validation": ["f"]}, ("more is read",)),
        (
            Data(source="train", validation_source="more", test_source="all"),
            {"train": ["a", "b"], "validation": ["f"], "test": ["c", "d", "e"]},
            ("more is read",),
        ),
        (Data(source="train", validation_source="folder"), {"train": ["a", "b"], "validation": ["h"]}, ()),
        (Data(source="all", test_source="more"), {"train": ["a", "b"], "test": ["f"]}, ("more is read", REPLACED)),
    ],
)
def test_files_beside_the_data_give_their_split(given: Data, inputs: object, notes: tuple[str, ...]) -> None:
    made = read_all(read, _reviews(given))
    assert {split: split_rows.inputs for split, split_rows in made.items()} == inputs
    said = [note for split_rows in made.values() for note in split_rows.notes]
    assert [note[: len(start)] for note, start in zip(said, notes, strict=True)] == list(notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Data(source="train", test_source="folder"), "--test folder: it has the splits train, validation"),
        (Data(source="train", test_source="kaggle"), "--test kaggle: none of its 2 rows has a label"),
        (Data(source="train", validation_source="kaggle"), "--validation kaggle: none of its 2 rows has a label"),
    ],
)
def test_files_that_cannot_be_the_split_are_refused(given: Data, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        read_all(read, _reviews(given))


def test_pictures_may_lie_beside_pictures(tmp_path: Path) -> None:
    train, dev = (str(tiny.make_pictures(tmp_path / name, {"cat": 3, "dog": 2})) for name in ("train", "dev"))
    made = read_all(picture_rows.read_rows, Data(source=train, validation_source=dev))
    assert {split: len(split_rows.labels) for split, split_rows in made.items()} == {"train": 5, "validation": 5}


def _reviews(data: Data) -> Data:
    return Data(
        source=data.source, text="review", validation_source=data.validation_source, test_source=data.test_source
    )
