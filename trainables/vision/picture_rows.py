"""Labelled pictures of a data set: a tree of class folders, a data set of the hub or on disk, or a package.

Every picture is decoded once to see that it can be; the result is cached with the data.
"""

import errno
import functools
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from frostline.spaces import Data
from frostline.trainables.data import folders, tables
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.corpus import Array, Rows
from frostline.trainables.data.sources import PACKAGE
from frostline.trainables.vision.pictures import Picture, decode, rgb

DIGITS = "package:scikit_learn_digits"
"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels in 17 greys."""

_SPLITS = {
    name + suffix: split
    for split, names in {
        "train": ("train", "training"),
        "validation": ("val", "valid", "validation"),
        "test": ("test", "testing"),
    }.items()
    for name in names
    for suffix in ("", "_set")
}
"""Name of a folder at the top of a tree, in small letters -> split."""

_LARGEST = 256 * 2**20
"""Bytes of the largest file that is read as a picture."""

_BAD_SHARE = 0.01
"""Largest share of unreadable pictures that is skipped; more are an error."""


def read_rows(data: Data) -> dict[str, Rows]:
    """All labelled pictures of `data.source` by split, without those that cannot be decoded.

    Raises:
        ValueError: no such source, no pictures in it, an empty class, a class that `train` lacks, or more than
            1 % that cannot be decoded.
    """
    source = Path(data.source)
    if data.source == DIGITS:
        rows = {"train": _digits()}
    elif data.source.startswith(PACKAGE):
        raise ValueError(f"no packaged {data.source!r} of pictures; there is {DIGITS}")
    elif source.is_file():
        raise ValueError(f"data set {data.source} is a file; pictures are a folder of class folders, or a hub name")
    elif source.is_dir() and not tables.is_saved_dataset(source):
        rows = _read_tree(source)
    else:
        rows = _read_dataset(data)
    known = set(rows["train"].labels)
    for split, split_rows in rows.items():
        if unknown := sorted(set(split_rows.labels) - known):
            raise ValueError(f"data set {data.source}: {split} has the class {unknown[0]!r}, which train lacks")
    return _without_unreadable(rows, data.source)


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    digits = load_digits()
    encoded = [_png(Image.fromarray(np.round(grey * (255 / 16)).astype(np.uint8))) for grey in digits.images]
    pictures = [_picture(f"digit {number}", lambda raw=raw: raw) for number, raw in enumerate(encoded)]
    return Rows(inputs=pictures, labels=[str(label) for label in digits.target])


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def _picture(name: str, read: Callable[[], bytes]) -> Picture:
    try:
        digest = hashlib.sha256(read()).hexdigest()
    except OSError as error:  # a broken link or no permission: it is left out with those that cannot be decoded
        digest = hashlib.sha256(f"{name}: {error}".encode()).hexdigest()
    return Picture(digest=digest, name=name, read=read)


# --- a tree of class folders ------------------------------------------------------------------------


def _read_tree(root: Path) -> dict[str, Rows]:
    """`root/<class>/...`, or `root/train/<class>/...` with `val` and `test` beside it."""
    splits: dict[str, Path] = {}
    for path in folders.folders_in(root):
        if split := _SPLITS.get(path.name.lower()):
            if split in splits:
                raise ValueError(f"data set {root} has two folders for {split}: {splits[split].name} and {path.name}")
            splits[split] = path
    if splits and "train" not in splits:
        raise ValueError(f"data set {root} has {min(splits)} but no train folder")
    return {split: _read_classes(path, root) for split, path in (splits or {"train": root}).items()}


def _read_classes(folder: Path, root: Path) -> Rows:
    files = {
        path.name: [file for file in folders.files_below(path) if file.name.lower().endswith(IMG_EXTENSIONS)]
        for path in folders.folders_in(folder)
    }
    if not files:
        raise ValueError(f"data set {root}: couldn't find any class folder in {folder}")
    if empty := [name for name, own in files.items() if not own]:
        raise ValueError(f"data set {root}: found no valid file for the classes {', '.join(empty)}")

    def read(path: Path) -> Picture:
        return _picture(os.path.relpath(path, root), functools.partial(_bytes_in, path))

    with ThreadPoolExecutor(workers()) as pool:
        pictures = list(pool.map(read, [path for own in files.values() for path in own]))
    return Rows(inputs=pictures, labels=[name for name, own in files.items() for _ in own])


def _bytes_in(path: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        OSError: it cannot be read, or is too large for a picture.
    """
    if path.stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return path.read_bytes()


# --- a data set of the `datasets` library -----------------------------------------------------------


def _read_dataset(data: Data) -> dict[str, Rows]:
    splits = tables.read_datasets(data.source)
    return {split: _rows_of(table, data, split) for split, table in splits.items()}


def _rows_of(table: Any, data: Data, split: str) -> Rows:
    import datasets

    where = tables.name_of(data, split)
    tables.check_columns(table, data, where)
    if not isinstance(table.features[data.text], datasets.Image):
        raise ValueError(f"{where}: column {data.text!r} holds no pictures")
    labels = tables.class_names(table, data.label)
    if missing := sum(label is None for label in labels):
        raise ValueError(f"{where} has {missing} rows without a {data.label}")
    encoded = table.cast_column(data.text, datasets.Image(decode=False))
    pictures = [
        _picture(f"{split} row {number}", functools.partial(_bytes_of, encoded, data.text, number))
        for number in range(len(table))
    ]
    if not pictures:
        raise ValueError(f"{where} is empty")
    return Rows(inputs=pictures, labels=[str(label) for label in labels])


def _bytes_of(table: Any, column: str, number: int) -> bytes:
    cell = table[number][column] or {}
    return cell.get("bytes") or (_bytes_in(Path(cell["path"])) if cell.get("path") else b"")


# --- the check --------------------------------------------------------------------------------------


def _without_unreadable(rows: Mapping[str, Rows], source: str) -> dict[str, Rows]:
    """The rows whose pictures can be decoded, each picture with its size.

    Raises:
        ValueError: more than 1 % cannot be read.
    """
    pictures = [picture for split_rows in rows.values() for picture in split_rows.inputs]
    digests = hashlib.sha256("".join(picture.digest for picture in pictures).encode()).hexdigest()
    key = {"pictures": digests, "code": code_version(_size_of, decode, rgb)}
    sizes = open_array(cached(key, lambda _: {"sizes": _sizes(pictures)}), "sizes")
    bad = [picture.name for picture, size in zip(pictures, sizes, strict=True) if not size[0]]
    if len(bad) > _BAD_SHARE * len(pictures):
        names = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise ValueError(f"data set {source}: {len(bad)} of {len(pictures)} pictures cannot be read: {names}")
    readable, start = {}, 0
    for split, split_rows in rows.items():
        split_sizes = sizes[start : start + len(split_rows.inputs)]
        start += len(split_rows.inputs)
        indices = [i for i, size in enumerate(split_sizes) if size[0]]
        readable[split] = Rows(
            inputs=[_sized(split_rows.inputs[i], split_sizes[i]) for i in indices],
            labels=[split_rows.labels[i] for i in indices],
            skipped=tuple(p.name for p, size in zip(split_rows.inputs, split_sizes, strict=True) if not size[0]),
        )
    return readable


def _sized(picture: Picture, size: Array) -> Picture:
    return Picture(digest=picture.digest, name=picture.name, read=picture.read, size=(int(size[0]), int(size[1])))


def _sizes(pictures: Sequence[Picture]) -> Array:
    """Width and height of each picture, 0 if it cannot be decoded; int32 [pictures, 2]."""
    with ThreadPoolExecutor(workers()) as pool:
        return np.array(list(pool.map(_size_of, pictures)), dtype=np.int32).reshape(-1, 2)


def _size_of(picture: Picture) -> tuple[int, int]:
    try:
        return decode(picture.read()).size
    except OSError:
        return 0, 0


def workers() -> int:
    """Threads that decode pictures: one a core that this process may use."""
    return len(os.sched_getaffinity(0))
