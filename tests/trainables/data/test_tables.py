import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from frostline.spaces import Data
from frostline.trainables.data.tables import read_rows
from tests import tiny


@pytest.fixture(params=["csv", "parquet", "jsonl", "folder", "saved"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same rows in every format that is read."""
    import datasets

    rows = [{"text": text, "label": label} for text, label in tiny.rows(30)]
    made = datasets.Dataset.from_list(rows)
    path = tmp_path / f"table.{request.param}"
    if request.param == "csv":
        made.to_csv(path)
    elif request.param == "parquet":
        made.to_parquet(path)
    elif request.param == "jsonl":
        made.to_json(path)
    elif request.param == "folder":
        path.mkdir()
        made.to_csv(path / "train.csv")
    else:
        datasets.DatasetDict({"train": made, "test": made.select(range(5))}).save_to_disk(path)
    return path


def test_every_format_gives_the_same_rows(table: Path) -> None:
    rows = read_rows(Data(source=str(table)))
    assert sorted(zip(rows["train"].inputs, rows["train"].labels, strict=True)) == tiny.rows(30)
    assert ("test" in rows) == (table.suffix == ".saved")


def test_a_missing_column_is_answered_with_the_columns_that_exist(table: Path) -> None:
    with pytest.raises(ValueError, match=r"has no column 'review'; it has .*label.*--columns"):
        read_rows(Data(source=str(table), text="review"))


def labelled(count: int, label: int = 1) -> Any:
    """A data set of the library in which -1 is no label."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    labels = [label, 0, -1] * count
    return datasets.Dataset.from_dict({"text": list("abc") * count, "label": labels}, features=features)


@pytest.mark.parametrize("write", ["save_to_disk", "to_parquet"])
def test_class_names_of_the_library_are_used_and_minus_one_is_no_label(write: str, tmp_path: Path) -> None:
    getattr(labelled(1), write)(tmp_path / "a.parquet")
    assert read_rows(Data(source=str(tmp_path / "a.parquet")))["train"].labels == ["pos", "neg", None]


SAVED = [
    (["train", "dev", "test"], {"train": 3, "validation": 6, "test": 9}, ""),
    (["train", "validation_matched", "validation_mismatched"], {"train": 3, "validation": 6}, "validation_mismatched"),
    (["train", "test", "unsupervised"], {"train": 3, "test": 6}, "unsupervised"),
    (["Train", "HoldOut"], {"train": 3, "test": 6}, ""),
    (["train_r1", "train_r2", "dev_r1"], {"train": 3, "validation": 9}, "train_r2"),
]


@pytest.mark.parametrize(("names", "rows", "unused"), SAVED, ids=lambda value: str(value))
def test_the_splits_of_a_saved_data_set(names: list[str], rows: dict[str, int], unused: str, tmp_path: Path) -> None:
    import datasets

    splits = {name: labelled(number + 1) for number, name in enumerate(names)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    read = read_rows(Data(source=str(tmp_path / "saved")))
    assert {split: len(split_rows.labels) for split, split_rows in read.items()} == rows
    notes = "".join(read["train"].notes)
    assert bool(notes) == bool(unused)
    if unused:
        assert f"{unused} is not used ({len(splits[unused])} rows)" in notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "is empty: it has no rows"),
        ("a.jsonl", "not json\n", "cannot be read"),
        ("a.parquet", "not parquet", "cannot be read"),
        ("a.csv", "text,label\na,b,c\n", "cannot be read"),
        ("a.jsonl", '{"text": ["a", "b"], "label": "x"}\n', "column 'text' holds a list in each row, not one text"),
        ("a.xlsx", "?", "cannot be read: BadZipFile: File is not a zip file"),
        ("a.pickle", "?", r"must end in .csv, .tsv, .*.jsonl, .*.parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as caught:
        read_rows(Data(source=str(tmp_path / name)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["", "train"])
def test_a_pickle_in_a_tar_is_never_opened(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's reader of tars would give it to `torch.load`."""
    import torch

    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    pickled = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, pickled)
    (tmp_path / place).mkdir(exist_ok=True)
    with tarfile.open(tmp_path / place / "shard-0.tar", "w") as tar:
        for number in range(40):
            for suffix, content in (("txt", b"a text"), ("cls", b"1"), ("pth", pickled.getvalue())):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"it holds only files with .tar; its format can be .csv, .*.json, .*.parquet"):
        read_rows(Data(source=str(tmp_path), text="txt", label="cls"))


def test_leftovers_in_a_folder_do_not_matter(tmp_path: Path) -> None:
    tiny.write_csv(tmp_path / "train.csv", tiny.rows(30))
    (tmp_path / ".ipynb_checkpoints").mkdir()
    tiny.write_csv(tmp_path / ".ipynb_checkpoints" / "train-checkpoint.csv", tiny.rows(5, seed=1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "top").symlink_to(tmp_path)
    (tmp_path / "gone.csv").symlink_to("missing.csv")
    assert len(read_rows(Data(source=str(tmp_path)))["train"].labels) == 30
