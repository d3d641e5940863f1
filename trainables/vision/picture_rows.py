"""Labelled pictures of a data set: class folders, lists, tables, the hub, or a package.

Every picture is decoded once to see that it can be; the result is cached with the data.
"""

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from frostline.spaces import Data
from frostline.trainables.data import library
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.corpus import Array
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.sources import PACKAGE
from frostline.trainables.vision import picture_lists, picture_tables, picture_tree
from frostline.trainables.vision.picture_files import picture, workers
from frostline.trainables.vision.pictures import Picture
from frostline.trainables.vision.reading import CODE as READING_CODE
from frostline.trainables.vision.reading import Facts, Reading, TooLargeError, facts, quiet, said, shared

DIGITS = "package:scikit_learn_digits"
"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels in 17 greys."""

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
    elif source.exists():
        rows = _of_file(source, data) if source.is_file() else _of_folder(source, data)
    else:
        rows = picture_tables.read_tables(data)
    known = {label for label in rows["train"].labels if label is not None}
    for split, split_rows in rows.items():
        if unknown := sorted({label for label in split_rows.labels if label is not None} - known):
            raise ValueError(f"data set {data.source}: {split} has the class {unknown[0]!r}, which train lacks")
    return _without_unreadable(rows, data.source)


def _of_file(source: Path, data: Data) -> dict[str, Rows]:
    if picture_tables.is_table(source):
        return picture_tables.read_tables(data)
    if source.suffix.lower() not in picture_lists.ENDINGS:
        packed = source.suffix.lower() in {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}
        advice = "; unpack it and give the folder" if packed else ""
        raise ValueError(
            f"data set {data.source} is a file; pictures are a folder of class folders, a CSV file that lists pictures "
            f"and classes, a Parquet file, or a hub name{advice}"
        )
    tree = picture_tree.walked(source.parent)
    files = picture_lists.Files(tree)
    found = picture_lists.listing(source, files, data)
    if found is None:
        raise ValueError(f"data set {data.source} does not list pictures: {picture_lists.reading_failed(source)}")
    return picture_lists.read_lists([dataclasses.replace(found, split=None)], files, data)


def _of_folder(source: Path, data: Data) -> dict[str, Rows]:
    if library.is_saved_dataset(source):
        return picture_tables.read_tables(data)
    tree = picture_tree.walked(source)
    if rows := picture_lists.read_folder(tree, data):
        return rows
    if not tree.full and not tree.direct and picture_tables.is_table(source):
        return picture_tables.read_tables(data)
    return picture_tree.read_tree(tree)


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    digits = load_digits()
    encoded = [_png(Image.fromarray(np.round(grey * (255 / 16)).astype(np.uint8))) for grey in digits.images]
    pictures = [picture(f"digit {number}", lambda raw=raw: raw) for number, raw in enumerate(encoded)]
    return Rows(inputs=pictures, labels=[str(label) for label in digits.target])


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


# --- the check --------------------------------------------------------------------------------------


def _without_unreadable(rows: Mapping[str, Rows], source: str) -> dict[str, Rows]:
    """The rows whose pictures can be decoded, each picture with its size and the reading of the data set.

    Raises:
        ValueError: more than 1 % cannot be read.
    """
    pictures = [each for split_rows in rows.values() for each in split_rows.inputs if each is not None]
    digests = hashlib.sha256("".join(each.digest for each in pictures).encode()).hexdigest()
    key = {"pictures": digests, "code": code_version(_checked, *READING_CODE, facts)}
    entry = cached(key, lambda _: _check(pictures))
    checked = [_of_numbers(row) for row in open_array(entry, "numbers").tolist()]
    reasons = [f" ({reason})" if reason else "" for reason in open_array(entry, "reasons").tolist()]
    bad = [each.name + why for each, about, why in zip(pictures, checked, reasons, strict=True) if about is None]
    if len(bad) > _BAD_SHARE * len(pictures):
        names = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise ValueError(f"data set {source}: {len(bad)} of {len(pictures)} pictures cannot be read: {names}")
    every = [about for about in checked if about is not None]
    reading, results, names = shared(every), iter(checked), iter(bad)
    readable = {split: _readable(split_rows, reading, results, names) for split, split_rows in rows.items()}
    train = readable["train"]
    return {**readable, "train": dataclasses.replace(train, notes=(*train.notes, *said(every, reading)))}


def _readable(rows: Rows, reading: Reading, results: Iterator[Facts | None], bad: Iterator[str]) -> Rows:
    """The rows of a split without those in `bad`. `results` are the facts of its pictures, in order."""
    inputs, kept, skipped = list[Picture | None](), list[int](), list[str]()
    for number, each in enumerate(rows.inputs):
        about = None if each is None else next(results)
        if each is not None and about is None:
            skipped.append(next(bad))
            continue
        kept.append(number)
        inputs.append(about and dataclasses.replace(each, size=about.size, reading=reading))
    return dataclasses.replace(
        rows,
        inputs=inputs,
        labels=[rows.labels[i] for i in kept],
        groups=None if rows.groups is None else [rows.groups[i] for i in kept],
        skipped=tuple(skipped),
    )


def _check(pictures: Sequence[Picture]) -> dict[str, Array]:
    """Numbers of each picture's facts, float64 [pictures, 6], and why it cannot be read, str [pictures]."""
    with quiet(), ThreadPoolExecutor(workers()) as pool:
        results = list(pool.map(_checked, pictures))
    numbers = np.array([numbers for numbers, _ in results], dtype=np.float64).reshape(-1, 6)
    return {"numbers": numbers, "reasons": np.array([reason for _, reason in results], dtype=np.str_)}


def _checked(each: Picture) -> tuple[tuple[float, ...], str]:
    try:
        about = facts(each.read())
    except TooLargeError as error:
        return (0.0,) * 6, str(error)
    except OSError:
        return (0.0,) * 6, ""
    return (*about.size, about.low, about.high, about.top, about.visible), ""


def _of_numbers(row: Sequence[float]) -> Facts | None:
    width, height, low, high, top, visible = row
    size = int(width), int(height)
    return Facts(size=size, low=low, high=high, top=top, visible=visible) if width else None
