"""Pictures in a table: a data set of the hub, one that the `datasets` library saved, or Parquet files.

A cell holds an encoded picture, alone or with a path, as the hub stores it.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.spaces import Data
from frostline.trainables._errors import first_line
from frostline.trainables.data import library
from frostline.trainables.data.folders import Search
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.splits import split_of_file
from frostline.trainables.vision.columns import class_column, said
from frostline.trainables.vision.picture_files import bytes_in, picture

_ENDINGS = (".parquet",)
"""Endings of files whose cells may hold pictures."""


def is_table(source: Path) -> bool:
    """Whether a file or a folder of files holds pictures in the cells of tables."""
    if source.is_file():
        return source.suffix.lower() in _ENDINGS
    return library.is_saved_dataset(source) or bool(Search(_ENDINGS).below(source))


def read_tables(data: Data) -> dict[str, Rows]:
    """The pictures of the tables of `data.source`, by split.

    Raises:
        ValueError: it cannot be read, or has no column of pictures or of classes.
    """
    source = Path(data.source)
    if source.is_file():
        splits = {"train": _parquet([source], data)}
    elif source.is_dir() and not library.is_saved_dataset(source):
        splits = _parquet_splits(source, data)
    else:
        splits = library.read_datasets(data.source)
    label = _class_column(splits["train"], data, "train")
    return {split: _rows_of(table, label, data, split) for split, table in splits.items()}


def _parquet_splits(folder: Path, data: Data) -> dict[str, Any]:
    """The splits of a folder of Parquet files, told by the names of the files or of their folders; else all `train`."""
    files: dict[str, list[Path]] = {}
    paths = Search(_ENDINGS).below(folder)
    for path in paths:
        split = split_of_file(path.stem, path.relative_to(folder).parent.parts) or "train"
        files.setdefault(split, []).append(path)
    if "train" not in files:
        raise ValueError(f"data set {folder} has no train split, only {', '.join(files)}")
    return {split: _parquet(own, data) for split, own in files.items()}


def _parquet(paths: Sequence[Path], data: Data) -> Any:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    try:
        return datasets.Dataset.from_parquet(list(map(str, paths)))
    except Exception as error:  # the library raises whatever its readers raise
        raise ValueError(f"data set {data.source} cannot be read: {first_line(error.__cause__ or error)}") from error


def _class_column(table: Any, data: Data, split: str) -> str:
    where = library.name_of(data, split)
    pictures = _picture_column(table, data, where)
    return class_column([name for name in table.column_names if name != pictures], data, where)


def _rows_of(table: Any, label: str, data: Data, split: str) -> Rows:
    """The rows of one split. A test split may lack the column of classes, `label`."""
    import datasets

    where = library.name_of(data, split)
    column = _picture_column(table, data, where)
    encoded = table.cast_column(column, datasets.Image(decode=False))
    if not len(table):
        raise ValueError(f"{where} is empty")
    pictures = [
        picture(f"{split} row {number}", functools.partial(_bytes_of, encoded, column, number))
        for number in range(len(table))
    ]
    if label not in table.column_names:
        if split == "test":
            return Rows(inputs=pictures, labels=[None] * len(pictures))
        label = _class_column(table, data, split)
    labels = [None if value is None else str(value) for value in library.class_names(table, label)]
    groups = None
    if data.group is not None and data.group in table.column_names:
        groups = [None if value is None else str(value) for value in table[data.group]]
    return Rows(inputs=pictures, labels=labels, groups=groups, notes=tuple(said(column, label, data, where)))


def _picture_column(table: Any, data: Data, where: str) -> str:
    """The column of pictures: the space's, else the only one.

    Raises:
        ValueError: the space's holds no pictures, or none or several do.
    """
    holding = [name for name in table.column_names if _holds_pictures(table.features[name])]
    if data.text in table.column_names and data.text not in holding:
        raise ValueError(f"{where}: column {data.text!r} holds no pictures")
    if data.text in holding:
        return data.text
    if len(holding) == 1:
        return str(holding[0])
    library.check_columns(table, data, where)
    raise AssertionError("a column that is there and holds no pictures was refused above")


def _holds_pictures(feature: Any) -> bool:
    """Whether cells of this type are encoded pictures: those of the hub, a struct of `bytes` and `path`, or bytes."""
    import datasets

    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", "") in {"binary", "large_binary"}


def _bytes_of(table: Any, column: str, number: int) -> bytes:
    cell = table[number][column] or {}
    return cell.get("bytes") or (bytes_in(Path(cell["path"])) if cell.get("path") else b"")
