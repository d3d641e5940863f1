"""Pictures that a table lists with their classes: Kaggle's `train.csv`, or the `metadata.csv` of an image folder."""

import csv
import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.spaces import Data
from frostline.trainables._errors import first_line
from frostline.trainables.data import folders
from frostline.trainables.data.folders import printable
from frostline.trainables.data.formats.encoding import encoding_of
from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.formats.wanted import Wanted
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.splits import split_of, split_of_file
from frostline.trainables.data.table_files import read_file
from frostline.trainables.vision.columns import class_column, named_class_column, said
from frostline.trainables.vision.picture_files import pictures_of
from frostline.trainables.vision.picture_tree import Tree

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Endings of a list."""

_TRIED = 50
"""Lines whose cells are looked up to see which column names files."""

_SPLIT_COLUMNS = {"split", "subset", "set", "data_set", "dataset", "partition"}
"""Names, in small letters, of columns that tell the split of a row."""

_Cells = Mapping[str, Sequence[str]]
"""Column -> cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A table whose rows name pictures."""

    path: Path
    first: _Cells
    """The cells of its first rows."""
    files: str
    """Its column of pictures."""
    split: str | None
    """The split that its name tells, or the name of its folder."""
    is_named: bool
    """Whether the name of a column says that it holds the classes."""


class Files:
    """The pictures below a folder, by the ways in which a table may name them."""

    def __init__(self, tree: Tree) -> None:
        self.base = base = tree.place
        self._by_path: dict[str, Path] = {}
        self._by_name, self._by_stem = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
        for path in [*tree.direct, *(path for paths in tree.below.values() for path in paths)]:
            self._by_path[path.relative_to(base).as_posix()] = path
            self._by_name[path.name].append(path)
            self._by_stem[path.stem].append(path)

    def find(self, cell: str, split: str | None, where: str) -> Path | None:
        """The picture that a cell names: by its way from the folder, by its name, or by its name without ending.

        Args:
            cell: of the table.
            split: of the table; of pictures with one name, the one in a folder of this split is meant.
            where: name of the table in messages.

        Raises:
            ValueError: several pictures have this name.
        """
        found, last = self._like(cell), cell.rpartition("/")[2]
        if len(found) > 1:
            own = [path for path in found if split in map(split_of, path.relative_to(self.base).parent.parts)]
            found = own if split and own else found
        if len(found) > 1:
            names = " and ".join(printable(path.relative_to(self.base).as_posix()) for path in found[:2])
            raise ValueError(f"{where} names {last!r}, which may be {names}; write the folder before it")
        return found[0] if found else None

    def names(self, cell: str) -> bool:
        """Whether a cell names a picture, or several."""
        return bool(self._like(cell))

    def _like(self, cell: str) -> list[Path]:
        name = cell.strip().replace("\\", "/").removeprefix("./")
        if name in self._by_path:
            return [self._by_path[name]]
        last = name.rpartition("/")[2]
        if not last:
            return []
        if "/" in name and _is_file(self.base / name):  # outside of the folder
            return [self.base / name]
        return self._by_name.get(last) or self._by_stem.get(last) or []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def listing(path: Path, files: Files, data: Data) -> Listing | None:
    """A table as a list of pictures; None if it cannot be read or no column names half of its pictures."""
    try:
        first = _first_cells(path)
    except (OSError, ValueError, csv.Error):
        return None
    column, split = (
        _file_column(first, files, data),
        split_of_file(path.stem, path.relative_to(files.base).parent.parts),
    )
    if column is None:
        return None
    rest = [name for name in first if name != column]
    split = split_of_file(path.stem, path.relative_to(files.base).parent.parts)
    return Listing(path=path, first=first, files=column, split=split, is_named=bool(named_class_column(rest, data)))


def read_folder(tree: Tree, data: Data) -> dict[str, Rows]:
    """The pictures that the lists of a folder name, by split; empty if there are none, or the folders say more.

    A list is a table in the folder, or a `metadata` file of a folder in it; also one folder further down. It counts
    beside class folders only if its name or a column's says that it tells the classes.

    Raises:
        ValueError: as `read_lists`.
    """
    for place in (tree, tree.inner(tree.full[0])) if len(tree.full) == 1 else (tree,):
        inside = folders.files_in(place.place)
        below = [path for each in folders.folders_in(place.place) for path in folders.files_in(each)]
        candidates = [*inside, *(path for path in below if path.stem.lower() == "metadata")]
        candidates = [p for p in candidates if p.suffix.lower() in ENDINGS and "submission" not in p.name.lower()]
        if not candidates:
            continue
        files = Files(place)
        found = [each for path in candidates if (each := listing(path, files, data))]
        is_class_tree = place.splits_classes or len([name for name in place.full if not split_of(name)]) > 1
        wins = any(each.path.stem.lower() == "metadata" for each in found) or (
            any(each.is_named for each in found) and not place.splits_classes
        )
        if found and (wins or not is_class_tree):
            return read_lists(found, files, data)
    return {}


def read_lists(found: Sequence[Listing], files: Files, data: Data) -> dict[str, Rows]:
    """The pictures that some lists name, by split.

    Raises:
        ValueError: two lists for one split, none for `train`, or a column that cannot be told.
    """
    by_split: dict[str, Listing] = {}
    named = [each for each in found if each.split]
    usable = named if any(each.split == "train" for each in named) else [*named, *(f for f in found if not f.split)]
    for each in usable:
        split = each.split or "train"
        if split in by_split:
            names = " and ".join(_name(other, files) for other in (by_split[split], each))
            raise ValueError(f"data set {data.source} has two lists of pictures, {names}: give one as --dataset")
        by_split[split] = each
    if "train" not in by_split:
        raise ValueError(f"data set {data.source} has a list of pictures for {min(by_split)} but none for train")
    unused = [_name(each, files) for each in found if each not in usable]
    notes = [f"{', '.join(unused)} is not used"] if unused else []
    label = _class_column(by_split["train"], data)
    rows = _by_column(by_split["train"], _rows(by_split["train"], label, files, data))
    for split in (split for split in ("validation", "test") if split in by_split):
        each = by_split[split]
        if label in each.first:
            rows[split] = _rows(each, label, files, data)
        elif split == "test":
            notes.append(f"{_name(each, files)} has no classes: its pictures are not used")
        else:
            rows[split] = _rows(each, _class_column(each, data), files, data)
    train = rows["train"]
    return {**rows, "train": dataclasses.replace(train, notes=(*train.notes, *notes))}


def _class_column(each: Listing, data: Data) -> str:
    return class_column([name for name in each.first if name != each.files], data, f"data set {each.path}")


def _rows(each: Listing, label: str, files: Files, data: Data) -> Rows:
    where = f"data set {each.path}"
    cells = read_file(each.path, Wanted(text=each.files, label=label, group=data.group))["train"]
    paths = [
        None if cell is None else files.find(cell, each.split, where) or files.base / cell.strip()
        for cell in cells.inputs
    ]
    pictures = iter(pictures_of([path for path in paths if path is not None], files.base))
    notes = [f"pictures and classes are listed in {_name(each, files)}", *said(each.files, label, data, where)]
    inputs = [None if path is None else next(pictures) for path in paths]
    return dataclasses.replace(cells, inputs=inputs, notes=(*notes, *cells.notes))


def _by_column(each: Listing, rows: Rows) -> dict[str, Rows]:
    """The rows by split, if a column tells the split of each row."""
    for column in each.first:
        if column.lower().replace(" ", "_") not in _SPLIT_COLUMNS:
            continue
        told = read_file(each.path, Wanted(text=each.files, label=column))["train"].labels
        splits = [split_of(name) if name else None for name in told]
        if len(splits) == len(rows.labels) and None not in splits and "train" in splits:
            notes = (*rows.notes, f"the splits are told by column {column!r}")
            kept = {split: [i for i, own in enumerate(splits) if own == split] for split in dict.fromkeys(splits)}
            return {
                str(split): Rows(
                    inputs=[rows.inputs[i] for i in indices],
                    labels=[rows.labels[i] for i in indices],
                    groups=None if rows.groups is None else [rows.groups[i] for i in indices],
                    notes=notes if split == "train" else (),
                )
                for split, indices in kept.items()
            }
    return {"train": rows}


def _name(each: Listing, files: Files) -> str:
    return printable(each.path.relative_to(files.base).as_posix())


def _file_column(first: _Cells, files: Files, data: Data) -> str | None:
    """The column whose cells name pictures that are there: the space's, else the first one."""
    for column in sorted(first, key=lambda name: name != data.text):
        cells = [cell for cell in first[column] if cell]
        there = sum(files.names(cell) for cell in cells)
        if cells and 2 * there >= len(cells):
            return column
    return None


def _first_cells(path: Path) -> _Cells:
    """The cells of a table's first lines. The rows are read by the reader of all tables, once the columns are known.

    Raises:
        ValueError: it is no such table.
    """
    entry = Entry(path=path, name=path.name, where=f"data set {path}")
    with encoding_of(entry).open(entry) as file:
        lines = list(itertools.islice(file, _TRIED))
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        rows = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is no object")
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [str(row.get(name) or "") for row in rows] for name in names}
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=lines[0].count)
    header, *cells = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    return {name.strip(): [row[i] for row in cells if i < len(row)] for i, name in enumerate(header)}


def reading_failed(path: Path) -> str:
    """Why a table is no list of pictures, in words."""
    try:
        return f"none of its columns ({', '.join(_first_cells(path))}) names pictures in {path.parent}"
    except (OSError, ValueError, csv.Error) as error:
        return f"it cannot be read: {first_line(error)}"
