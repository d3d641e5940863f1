"""Data sets that the `datasets` library reads: those of the hub, and those that it has saved itself."""

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.spaces import Data
from frostline.trainables._errors import first_line
from frostline.trainables.data.formats.wanted import listed
from frostline.trainables.data.sources import from_hub
from frostline.trainables.data.splits import chosen

_FORMATS = ("csv", "json", "parquet", "arrow", "text", "imagefolder", "cache")
"""Builders of the library that open no pickle; the last one reads what another has read before."""


def is_saved_dataset(folder: Path) -> bool:
    """True if the `datasets` library has saved its own data set (or a dictionary of them) in this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_datasets(source: str) -> dict[str, Any]:
    """The splits of a saved data set or of a hub name, `NAME` or `NAME:CONFIG`, by our names of splits.

    Raises:
        ValueError: no such source, one that cannot be read, or one without a `train` split.
    """
    return {split: table for split, (_, table) in read_splits(source)[0].items()}


def read_splits(source: str) -> tuple[dict[str, tuple[str, Any]], dict[str, int]]:
    """The splits of a data set by our names of them, each with its own name; and the rows of the splits not used.

    Raises:
        ValueError: no such source, one that cannot be read, or one without a `train` split.
    """
    # The library's progress bars would land in the middle of ours.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    if Path(source).is_dir():
        try:
            loaded = datasets.load_from_disk(source)
        except Exception as error:  # the library raises whatever its readers raise
            raise ValueError(f"data set {source} cannot be read: {first_line(error)}") from error
    else:
        name, _, config = source.partition(":")
        loaded = from_hub("data set", name, functools.partial(_load_hub_dataset, name, config or None))
    splits = {str(name): split for name, split in loaded.items()} if isinstance(loaded, dict) else {"train": loaded}
    names = chosen(splits)
    if "train" not in names:
        raise ValueError(f"data set {source} has no train split, only {', '.join(splits)}")
    unused = {name: len(split) for name, split in splits.items() if name not in names.values()}
    return {split: (name, splits[name]) for split, name in names.items()}, unused


def _load_hub_dataset(name: str, config: str | None, offline: bool) -> Any:
    """A hub data set, in a format without pickles. A tar may hold some, which the library would open.

    Raises:
        ValueError: another format, or several configurations and none is named.
    """
    import datasets

    if offline:
        datasets.config.HF_HUB_OFFLINE = True
    try:
        builder = datasets.load_dataset_builder(name, **({"name": config} if config else {}))
    except ValueError as error:
        if configs := re.search(r"among the available configs: \[(.*)\]", str(error)):
            names = configs[1].replace("'", "").split(", ")
            given = f"name one, such as {name}:{names[0]}; it has {listed(names)}"
            raise ValueError(f"it has several configurations; {given}") from None
        raise
    if builder.name not in _FORMATS:
        raise ValueError(f"its format is {builder.name}; it can be {', '.join(_FORMATS[:-1])}")
    builder.download_and_prepare()
    return builder.as_dataset()


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


def class_names(table: Any, column: str) -> list[Any]:
    """Labels by the names that a `datasets.ClassLabel` holds, else as they are. None for a missing label (-1)."""
    labels = list(table[column])
    names = getattr(table.features.get(column), "names", None)
    if not names:
        return labels
    return [names[label] if label is not None and label >= 0 else None for label in labels]
