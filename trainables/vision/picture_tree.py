"""Pictures in folders that are named after their classes, with or without a folder for each split above them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.trainables.data import folders
from frostline.trainables.data.folders import Search, printable
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.splits import split_of
from frostline.trainables.vision.picture_files import pictures_of
from frostline.trainables.vision.reading import extensions

_SHOWN = 6
"""Endings that a sentence about other files names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A folder, and the pictures in it and below each folder in it."""

    place: Path
    direct: Sequence[Path]
    """Pictures that lie in it."""
    below: Mapping[str, Sequence[Path]]
    """Name of a folder in it -> pictures in and below that."""
    root: Path
    """The folder that was given."""
    others: Mapping[str, int]
    """Files that are no pictures, by ending, below the root."""

    @property
    def full(self) -> list[str]:
        """Names of the folders that have pictures."""
        return [name for name, files in self.below.items() if files]

    @property
    def splits_classes(self) -> bool:
        """Whether a folder for `train` holds class folders."""
        return any(split_of(name) == "train" and self.inner(name).full for name in self.full)

    def inner(self, name: str) -> "Tree":
        """The tree of one of its folders."""
        place = self.place / name
        below: dict[str, list[Path]] = {folder.name: [] for folder in folders.folders_in(place)}
        direct = list[Path]()
        for path in self.below[name]:
            first, *rest = path.relative_to(place).parts
            (below[first] if rest else direct).append(path)
        return dataclasses.replace(self, place=place, direct=direct, below=below)


def walked(root: Path) -> Tree:
    """The pictures of a folder.

    Raises:
        ValueError: it holds something else.
    """
    search = Search(extensions())
    try:
        below = {path.name: search.below(path) for path in folders.folders_in(root)}
    except ValueError as error:
        raise ValueError(f"data set {root}: {error}") from None
    except OSError as error:
        raise ValueError(f"data set {root} cannot be read: {error.strerror}") from None
    direct = [path for path in folders.files_in(root) if path.suffix.lower() in extensions()]
    return Tree(place=root, direct=direct, below=below, root=root, others=search.others)


def read_tree(tree: Tree) -> dict[str, Rows]:
    """`<class>/...`, or `train/<class>/...` with `val` and `test` beside it; also one folder further down.

    Raises:
        ValueError: no class folders, or a class without pictures.
    """
    tree, root = descended(tree), tree.root
    notes = [] if tree.place == root else [f"the classes are read from {_shown(tree.place, root)}"]
    splits = _splits(tree)
    if not splits:
        rows = {"train": _classes(tree)}
        if tree.direct:
            notes.append(f"pictures outside of the class folders are not used: {len(tree.direct):,}")
        return {"train": _with(rows["train"], [*notes, *_left_out(tree)])}
    if unused := sorted(set(tree.full) - set(splits.values())):
        notes.append(f"{', '.join(map(printable, unused))} beside {splits['train']} is not used")
    rows = {}
    for split, name in splits.items():
        inner = descended(tree.inner(name))
        if split == "test" and not _is_labelled(inner, rows["train"]):
            notes.append(f"{name} has no class folders: its pictures are not used ({len(tree.below[name]):,})")
            continue
        rows[split] = _classes(inner)
        if inner.direct:
            notes.append(f"pictures in {name} outside of the class folders are not used: {len(inner.direct):,}")
    return {**rows, "train": _with(rows["train"], [*notes, *_left_out(tree)])}


def descended(tree: Tree) -> Tree:
    """The tree, or the one of its only folder with pictures, if that has folders with pictures and no pictures."""
    while len(tree.full) == 1 and not tree.direct and not split_of(tree.full[0]):
        inner = tree.inner(tree.full[0])
        if inner.direct:
            break
        tree = inner
    return tree


def _splits(tree: Tree) -> dict[str, str]:
    """The folder of each split, `train` first; empty if the folders are classes. A class may be called `train`.

    Raises:
        ValueError: two folders for one split, or none for `train`.
    """
    named = [(name, split) for name in tree.below if (split := split_of(name))]
    if not named or not (tree.splits_classes or all(split_of(name) for name in tree.full)):
        return {}
    splits: dict[str, str] = {}
    for name, split in named:
        if split in splits:
            raise ValueError(f"data set {tree.root} has two folders for {split}: {splits[split]} and {name}")
        splits[split] = name
    if "train" not in splits:
        raise ValueError(f"data set {tree.root} has {min(splits)} but no train folder")
    return {split: splits[split] for split in ("train", "validation", "test") if split in splits}


def _is_labelled(test: Tree, train: Rows) -> bool:
    """Whether the folders of a test split are classes. One folder with another name, such as `test/test`, is none."""
    return bool(test.full) and (len(test.full) > 1 or printable(test.full[0]) in train.labels)


def _classes(tree: Tree) -> Rows:
    if not tree.full and tree.direct:
        raise ValueError(
            f"data set {tree.root}: couldn't find any class folder in {tree.place}, only pictures without a class "
            f"({len(tree.direct):,}); a CSV file that lists pictures and classes is read, too"
        )
    if not tree.below:
        raise ValueError(f"data set {tree.root}: couldn't find any class folder in {tree.place}")
    if empty := [printable(name) for name, files in tree.below.items() if not files]:
        others = "".join(f" ({note})" for note in _left_out(tree))
        raise ValueError(f"data set {tree.root}: found no valid file for the classes {', '.join(empty)}{others}")
    notes = [
        f"the name of a class folder is not UTF-8 and is read as latin-1: {printable(name)}"
        for name in tree.below
        if not name.isprintable() and _is_other_encoding(name)
    ]
    paths = [path for files in tree.below.values() for path in files]
    labels = [printable(name) for name, files in tree.below.items() for _ in files]
    return Rows(inputs=pictures_of(paths, tree.root), labels=labels, are_folders=True, notes=tuple(notes))


def _is_other_encoding(name: str) -> bool:
    try:
        return not os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        return True


def _left_out(tree: Tree) -> list[str]:
    if not tree.others:
        return []
    ranked = sorted(tree.others.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{ending or 'without an ending'} {count:,}" for ending, count in ranked[:_SHOWN])
    more = ", ..." if len(ranked) > _SHOWN else ""
    advice = "; convert HEIC to JPEG" if {".heic", ".heif"} & set(tree.others) else ""
    return [f"files that are no pictures that can be read here: {sum(tree.others.values()):,} ({counts}{more}{advice})"]


def _shown(place: Path, root: Path) -> str:
    return printable(os.path.relpath(place, root))


def _with(rows: Rows, notes: Sequence[str]) -> Rows:
    return dataclasses.replace(rows, notes=(*rows.notes, *notes))
