"""The files of a data set: which of them are read, for which split, by which reader."""

import dataclasses
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from frostline.trainables._errors import first_line, reason
from frostline.trainables.data import card, folders, limits
from frostline.trainables.data.formats import columnar, delimited, excel, json_rows, texts
from frostline.trainables.data.formats.entries import Entry, in_zip
from frostline.trainables.data.formats.wanted import Wanted, listed, visible
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.splits import chosen, split_of, split_of_file

_READERS: dict[str, Callable[[Entry, Wanted], Rows]] = {
    ".csv": delimited.read,
    ".tsv": delimited.read,
    ".tab": delimited.read,
    ".txt": delimited.read,
    ".json": json_rows.read,
    ".jsonl": json_rows.read,
    ".ndjson": json_rows.read,
    ".parquet": columnar.read,
    ".arrow": columnar.read,
    ".feather": columnar.read,
    ".xlsx": excel.read,
}
"""Ending of a file, in small letters -> its reader."""

_OTHER_FILES = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
"""What the `datasets` library writes beside its data."""

_SPLITS = ("train", "validation", "test")

_FORMATS = f"{', '.join(_READERS)}, each also as .gz, .bz2, .xz, .zst or .zip"


def read_file(path: Path, wanted: Wanted) -> dict[str, Rows]:
    """The rows of one table; of a zip, those of the tables in it by split.

    Raises:
        ValueError: it cannot be read.
    """
    entry = Entry(path=path, name=path.name, where=f"data set {visible(str(path))}")
    if path.suffix.lower() == ".zip":
        return _read_all(_unpacked([entry]), wanted, str(path))
    return {"train": _read(entry, wanted)}


def read_folder(folder: Path, wanted: Wanted, config: str | None = None) -> dict[str, Rows]:
    """The rows of the tables in a folder, or of its texts by class, by split.

    Args:
        folder: the data set.
        wanted: the columns.
        config: the configuration that is read, of those that the folder's README names.

    Raises:
        ValueError: one cannot be read, there are none, or none of `train`.
    """
    try:
        files = [path for path in folders.files_below(folder) if path.is_file()]
    except ValueError as error:
        raise ValueError(f"data set {folder} cannot be read: {error}") from error
    entries = [
        Entry(path=path, name=name, where=f"data set {folder}: {visible(name)}")
        for path in files
        for name in [path.relative_to(folder).as_posix()]
    ]
    if shards := card.shards_of(folder, config, entries):
        return _read_named({name: _unpacked(own) for name, own in shards.items()}, wanted, str(folder))
    if (folder / "dataset_dict.json").is_file():
        return _read_saved(_of_library(entries), wanted, str(folder))
    return _read_all(_unpacked(_of_library(entries)), wanted, str(folder))


def _unpacked(entries: Iterable[Entry]) -> list[Entry]:
    """The files, with those in a zip in its place.

    Raises:
        ValueError: a damaged zip.
    """
    unpacked = list[Entry]()
    for entry in entries:
        if entry.path.suffix.lower() != ".zip":
            unpacked.append(entry)
            continue
        try:
            limits.check_holes(entry.path)
            unpacked += in_zip(entry)
        except Exception as error:  # a damaged zip: whatever Python's reader raises
            raise ValueError(f"{entry.where} cannot be read: {reason(error)}") from error
    return unpacked


def _of_library(entries: Sequence[Entry]) -> list[Entry]:
    """The files of a folder without what the `datasets` library has computed beside its own data."""
    saved = {entry.folders for entry in entries if entry.path.name == "state.json"}
    return [
        entry
        for entry in entries
        if entry.path.name not in _OTHER_FILES and not (entry.folders in saved and entry.path.name.startswith("cache-"))
    ]


def _read_saved(entries: Sequence[Entry], wanted: Wanted, source: str) -> dict[str, Rows]:
    """The rows of a dictionary of data sets that the `datasets` library has saved: one folder a split."""
    shards: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.folders and entry.format in _READERS:
            shards.setdefault(entry.folders[0], []).append(entry)
    return _read_named(shards, wanted, source)


def _read_named(shards: Mapping[str, list[Entry]], wanted: Wanted, source: str) -> dict[str, Rows]:
    """The rows of splits that have names."""
    names = chosen(shards)
    unused = {name: own for name, own in shards.items() if name not in names.values()}
    return _read_splits({split: shards[name] for split, name in names.items()}, unused, wanted, source)


def _read_all(entries: Sequence[Entry], wanted: Wanted, source: str) -> dict[str, Rows]:
    tables = [entry for entry in entries if entry.format in _READERS]
    if all(entry.format == ".txt" for entry in tables):
        trees = texts.classes_of(entries)
        if len({name for classes in trees.values() for name in classes if split_of(name) is None}) > 1:
            return _read_texts(trees, source)
    if not tables:
        endings = sorted({entry.format or "no ending" for entry in entries})
        held = f"only files with {listed(endings)}" if endings else "no files"
        raise ValueError(f"data set {source} cannot be read: it holds {held}; its format can be {_FORMATS}")
    if any(entry.format != ".txt" for entry in tables):
        tables = [entry for entry in tables if entry.format != ".txt"]  # notes and licences
    return _read_tables(tables, wanted, source)


def _read_tables(tables: Sequence[Entry], wanted: Wanted, source: str) -> dict[str, Rows]:
    splits: dict[str | None, list[Entry]] = {}
    for entry in tables:
        splits.setdefault(split_of_file(entry.stem, entry.folders), []).append(entry)
    unused = splits.pop(None, [])
    if unused and "train" not in splits:
        splits["train"], unused = unused, []
    return _read_splits(
        {split: own for split, own in splits.items() if split},
        {entry.title: [entry] for entry in unused},
        wanted,
        source,
    )


def _read_splits(
    splits: Mapping[str, Sequence[Entry]], unused: Mapping[str, Sequence[Entry]], wanted: Wanted, source: str
) -> dict[str, Rows]:
    _check_train([*splits, *unused], source)
    rows = {}
    for split in (split for split in _SPLITS if split in splits):
        asked = dataclasses.replace(wanted, label_optional=split == "test")
        rows[split] = _joined([_read(entry, asked) for entry in splits[split]])
    notes = [_not_used(name, entries, wanted) for name, entries in unused.items()]
    return {**rows, "train": _noted(rows["train"], notes)}


def _not_used(name: str, entries: Sequence[Entry], wanted: Wanted) -> str:
    optional = dataclasses.replace(wanted, label_optional=True)
    try:
        count = f"{sum(len(_read(entry, optional).labels) for entry in entries):,} rows"
    except ValueError:
        count = "it has other columns"
    return f"{name} is not used ({count}): its name tells no split"


def _read_texts(trees: Mapping[str | None, dict[str, list[Entry]]], source: str) -> dict[str, Rows]:
    if None in trees and "train" not in trees:
        trees = {"train" if split is None else split: classes for split, classes in trees.items()}
    _check_train(trees, source)
    rows, notes = {}, []
    for split in _SPLITS:
        classes = dict(trees.get(split, {}))
        unlabelled = [name for name in classes if name.lower().startswith(("unsup", "unlabel"))]
        notes += [
            f"{split}/{name} is not used ({len(classes.pop(name)):,} texts): it is no class" for name in unlabelled
        ]
        if classes:
            rows[split] = _guarded(partial(texts.read, classes), f"data set {source}")
    return {**rows, "train": _noted(rows["train"], notes)}


def _check_train(splits: Iterable[str | None], source: str) -> None:
    if "train" not in splits:
        raise ValueError(f"data set {source} has no train split, only {', '.join(map(str, splits))}")


def _read(entry: Entry, wanted: Wanted) -> Rows:
    """The rows of one file.

    Raises:
        ValueError: it cannot be read.
    """
    reader = _READERS.get(entry.format)
    if reader is None:
        raise ValueError(f"{entry.where} must end in {_FORMATS}")
    if entry.path.stat().st_size == 0:
        raise ValueError(f"{entry.where} is empty")
    limits.check_holes(entry.path)
    rows = _guarded(partial(reader, entry, wanted), entry.where)
    if not rows.labels:
        raise ValueError(f"{entry.where} is empty: it has no rows")
    return rows


def _guarded(read: Callable[[], Rows], where: str) -> Rows:
    try:
        return read()
    except ValueError as error:
        if str(error).startswith("data set "):
            raise
        raise ValueError(f"{where} cannot be read: {reason(error)}") from error
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{where} cannot be read: it is damaged ({first_line(error)})") from error
    except Exception as error:  # libraries raise whatever they do for a damaged file
        raise ValueError(f"{where} cannot be read: {reason(error)}") from error


def _joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several files, one after another."""
    if len(parts) == 1:
        return parts[0]
    groups = [part.groups or [None] * len(part.labels) for part in parts]
    return Rows(
        inputs=[value for part in parts for value in part.inputs],
        labels=[label for part in parts for label in part.labels],
        groups=None if all(part.groups is None for part in parts) else [one for group in groups for one in group],
        skipped=tuple(name for part in parts for name in part.skipped),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _noted(rows: Rows, notes: Sequence[str]) -> Rows:
    return dataclasses.replace(rows, notes=(*rows.notes, *notes))
