"""Data sets of the hub: the `datasets` library reads a folder that stands for one."""

from pathlib import Path
from typing import Any

import pytest

from frostline.spaces import Data
from frostline.trainables.data import sources
from frostline.trainables.data.tables import read_rows
from tests import tiny

_README = """---
configs:
- config_name: films
  data_files:
  - split: train
    path: films.csv
  - split: validation_matched
    path: more.csv
  - split: unsupervised
    path: more.csv
- config_name: books
  data_files: more.csv
---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers and has the data set `acme/reviews` with two configurations."""
    import datasets

    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "README.md").write_text(_README)
    tiny.write_csv(folder / "films.csv", tiny.rows(30))
    tiny.write_csv(folder / "more.csv", tiny.rows(7, seed=1))
    load = datasets.load_dataset_builder

    def load_folder(path: str, **options: Any) -> Any:
        assert path == "acme/reviews"
        return load(str(folder), cache_dir=str(tmp_path / "cache"), **options)

    monkeypatch.setattr(datasets, "load_dataset_builder", load_folder)
    monkeypatch.setattr(sources, "_hub_reachable", lambda: True)


@pytest.mark.usefixtures("hub")
def test_a_configuration_is_named_after_a_colon() -> None:
    rows = read_rows(Data(source="acme/reviews:films"))
    assert {split: len(split_rows.labels) for split, split_rows in rows.items()} == {"train": 30, "validation": 7}
    assert sorted(zip(rows["train"].inputs, rows["train"].labels, strict=True)) == tiny.rows(30)
    assert rows["train"].notes == ("the split unsupervised is not used (7 rows)",)
    assert len(read_rows(Data(source="acme/reviews:books"))["train"].labels) == 7


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("acme/reviews", "it has several configurations; name one, such as acme/reviews:films; it has films, books$"),
        ("acme/reviews:songs", "BuilderConfig 'songs' not found. Available: .'films', 'books'.$"),
        ("acme/reviews:films:x", "BuilderConfig 'films:x' not found"),
        (":films", "neither an existing folder or file nor a hub name"),
    ],
)
def test_a_configuration_that_is_not_there(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_rows(Data(source=source))
    assert str(caught.value).isprintable()


@pytest.mark.usefixtures("hub")
def test_a_column_that_is_not_there_names_the_data_set() -> None:
    with pytest.raises(ValueError, match=r"^data set acme/reviews:films has no column 'x'; it has text, label"):
        read_rows(Data(source="acme/reviews:films", text="x"))
