"""Labelled pictures: read from a tree of class folders, a data set or a package, checked, kept ready to train on.

A picture is its encoded bytes until it is prepared. Then every one of a slice stands resized in one memory-mapped
file where there is room for that, else as its bytes, which are decoded anew at each look.
"""

import functools
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from torchvision.datasets import folder as image_folder
from torchvision.transforms import InterpolationMode, v2

from frostline.spaces import Data
from frostline.trainables._storage import cache_root
from frostline.trainables.data import tables
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.corpus import SPLITS, Array, Corpus, Rows
from frostline.trainables.vision.network import Transform

DIGITS = "package:scikit_learn_digits"
"""The 1,797 handwritten digits, 8 x 8 pixels of 17 greys, that come with scikit-learn."""

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
"""Folder at the top of a tree, in small letters -> split."""

_BAD_SHARE = 0.01
"""More pictures than this share that cannot be read are an error, not something to skip."""

_PIL_MODES = {
    mode.value: getattr(Image.Resampling, mode.name) for mode in InterpolationMode if mode.name != "NEAREST_EXACT"
}
"""Pillow's filter by torchvision's name of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An encoded picture; equal to another that holds the same bytes."""

    digest: str
    """SHA-256 of its bytes."""
    name: str = field(compare=False)
    """For messages: the file, or the row of the data set."""
    read: Callable[[], bytes] = field(compare=False)
    size: tuple[int, int] = field(default=(0, 0), compare=False)
    """Width and height in pixels, once it has been checked."""

    def __str__(self) -> str:
        return self.digest


def decode(encoded: bytes) -> Image.Image:
    """A picture in RGB, whatever it was: grey, with a palette, with transparency (which is dropped), 16 bits deep.

    Raises:
        OSError: cannot be read as a whole.
    """
    try:
        return rgb(Image.open(io.BytesIO(encoded)))
    except OSError:
        raise
    except Exception as error:  # Pillow's readers meet any bytes with any error: of syntax, value, type, size
        raise OSError(str(error)) from error


def rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, 8 bits a channel."""
    if image.mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max(initial=0.0)))
        image = Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def resized(image: Image.Image, transform: Transform) -> Image.Image:
    """The first half of the transform for evaluation; the second is the cut from the middle."""
    size = (transform.resize,) * 2 if transform.squash else _fit(image.size, transform.resize)
    return image if image.size == size else image.resize(size, _PIL_MODES[transform.interpolation])


def _fit(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height with the shorter side as asked for; the other is rounded down, as torchvision does it."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def cropped(pixels: torch.Tensor, transform: Transform) -> torch.Tensor:
    """The middle of a resized picture, uint8 [3, crop, crop]."""
    return v2.functional.center_crop(pixels, [transform.crop, transform.crop])


# --- sources ----------------------------------------------------------------------------------------


def read_rows(data: Data) -> dict[str, Rows]:
    """All labelled pictures of `data.source` by split; those that cannot be decoded are left out.

    Raises:
        ValueError: no such source, not one of pictures, an empty class, a class that `train` lacks, or more than
            1 % that cannot be decoded.
    """
    if data.source == DIGITS:
        rows = {"train": _digits()}
    elif data.source.startswith("package:"):
        raise ValueError(f"no packaged {data.source!r} of pictures; there is {DIGITS}")
    elif Path(data.source).is_file():
        raise ValueError(f"data set {data.source} is a file; pictures are a folder of class folders, or a hub name")
    elif Path(data.source).is_dir() and not any(
        (Path(data.source) / name).is_file() for name in ("dataset_dict.json", "state.json")
    ):
        rows = _read_tree(Path(data.source))
    else:
        rows = _read_dataset(data)
    known = set(rows["train"].labels)
    for split, found in rows.items():
        if more := sorted(set(found.labels) - known):
            raise ValueError(f"data set {data.source}: {split} has the class {more[0]!r}, which train lacks")
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
    except OSError as error:  # a link that leads nowhere, no permission: left out with those that cannot be decoded
        digest = hashlib.sha256(f"{name}: {error}".encode()).hexdigest()
    return Picture(digest=digest, name=name, read=read)


def _read_tree(root: Path) -> dict[str, Rows]:
    """`root/<class>/...`, or `root/train/<class>/...` with `val` and `test` beside it."""
    splits: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.is_dir() and (split := _SPLITS.get(path.name.lower())):
            if split in splits:
                raise ValueError(f"data set {root} has two folders for {split}: {splits[split].name} and {path.name}")
            splits[split] = path
    if splits and "train" not in splits:
        raise ValueError(f"data set {root} has {min(splits)} but no train folder")
    return {split: _read_classes(path, root) for split, path in (splits or {"train": root}).items()}


def _read_classes(folder: Path, root: Path) -> Rows:
    try:
        classes, index = image_folder.find_classes(str(folder))
        files = image_folder.make_dataset(str(folder), index, extensions=image_folder.IMG_EXTENSIONS)
    except FileNotFoundError as error:
        problem = str(error).split(". Supported")[0].rstrip(".")
        raise ValueError(f"data set {root}: {problem[:1].lower()}{problem[1:]}") from error
    with ThreadPoolExecutor(_workers()) as pool:
        pictures = list(
            pool.map(lambda path: _picture(os.path.relpath(path, root), Path(path).read_bytes), [p for p, _ in files])
        )
    return Rows(inputs=pictures, labels=[classes[label] for _, label in files])


def _read_dataset(data: Data) -> dict[str, Rows]:
    import datasets

    rows = {}
    for split, table in tables.read_datasets(data.source).items():
        tables.check_columns(table, data, tables.name_of(data, split))
        if not isinstance(table.features[data.text], datasets.Image):
            raise ValueError(f"data set {data.source}: column {data.text!r} holds no pictures")
        labels = tables.class_names(table, data.label)
        if missing := sum(label is None for label in labels):
            raise ValueError(f"data set {data.source} ({split}) has {missing} rows without a {data.label}")
        encoded = table.cast_column(data.text, datasets.Image(decode=False))
        pictures = [
            _picture(f"{split} row {number}", functools.partial(_bytes_of, encoded, data.text, number))
            for number in range(len(table))
        ]
        if not pictures:
            raise ValueError(f"data set {data.source} ({split}) is empty")
        rows[split] = Rows(inputs=pictures, labels=[str(label) for label in labels])
    return rows


def _bytes_of(table: Any, column: str, number: int) -> bytes:
    cell = table[number][column] or {}
    return cell.get("bytes") or (Path(cell["path"]).read_bytes() if cell.get("path") else b"")


def _without_unreadable(rows: Mapping[str, Rows], source: str) -> dict[str, Rows]:
    """Every picture is decoded once to see that it can be; what was found out is kept with the data.

    Raises:
        ValueError: more than 1 % cannot be read.
    """
    pictures = [picture for split in rows.values() for picture in split.inputs]
    digests = hashlib.sha256("".join(picture.digest for picture in pictures).encode()).hexdigest()
    key = {"pictures": digests, "code": code_version(_size_of, decode, rgb)}
    sizes = open_array(cached(key, lambda _: {"sizes": _sizes(pictures)}), "sizes")
    bad = [picture.name for picture, size in zip(pictures, sizes, strict=True) if not size[0]]
    if len(bad) > _BAD_SHARE * len(pictures):
        names = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise ValueError(f"data set {source}: {len(bad)} of {len(pictures)} pictures cannot be read: {names}")
    kept, start = {}, 0
    for split, found in rows.items():
        of_split = sizes[start : start + len(found.inputs)]
        start += len(found.inputs)
        whole = [i for i, size in enumerate(of_split) if size[0]]
        kept[split] = Rows(
            inputs=[_sized(found.inputs[i], of_split[i]) for i in whole],
            labels=[found.labels[i] for i in whole],
            skipped=tuple(picture.name for picture, size in zip(found.inputs, of_split, strict=True) if not size[0]),
        )
    return kept


def _sized(picture: Picture, size: Array) -> Picture:
    return Picture(digest=picture.digest, name=picture.name, read=picture.read, size=(int(size[0]), int(size[1])))


def _sizes(pictures: Sequence[Picture]) -> Array:
    """Width and height of each, 0 where it cannot be decoded, int32 [pictures, 2]."""
    with ThreadPoolExecutor(_workers()) as pool:
        return np.array(list(pool.map(_size_of, pictures)), dtype=np.int32).reshape(-1, 2)


def _size_of(picture: Picture) -> tuple[int, int]:
    try:
        return decode(picture.read()).size
    except OSError:
        return 0, 0


def _workers() -> int:
    return len(os.sched_getaffinity(0))


# --- prepared ---------------------------------------------------------------------------------------


def pixels_fit(pictures: Iterable[Picture], transform: Transform, disk: float, memory: float) -> tuple[bool, int]:
    """Whether all pictures are kept decoded, and the bytes that takes.

    Args:
        pictures: of all slices, checked.
        transform: what they are resized to.
        disk: bytes that are free; a fifth may be taken.
        memory: bytes of this machine; what is read at random should fit half of them.
    """
    needed = 0
    for picture in pictures:
        size = (transform.resize,) * 2 if transform.squash else _fit(picture.size, transform.resize)
        needed += 3 * size[0] * size[1]
    return needed <= min(0.2 * disk, 0.5 * memory), needed


def storage(corpus: Corpus, transform: Transform, entry: Path | None = None) -> tuple[bool, str]:
    """`pixels_fit` on this machine, and the decision in words; what is in `entry` already has been decided."""
    root = next(path for path in (cache_root(), *cache_root().parents) if path.exists())
    pictures = [picture for split in corpus.inputs.values() for picture in split]
    fits, needed = pixels_fit(pictures, transform, shutil.disk_usage(root).free, psutil.virtual_memory().total)
    if entry is not None and entry.is_dir():
        fits = bool(open_array(entry, "train-shapes").any())
    size = f"{needed / 1e6:.0f} MB as pixels"
    if fits:
        return True, f"pictures are decoded and resized once ({size}, memory-mapped)"
    return False, f"pictures are decoded anew at each look ({size} are too much to keep)"


def arrays(corpus: Corpus, transform: Transform, as_pixels: bool, folder: Path) -> dict[str, Array]:
    """Fill an entry: of each split all pictures in one file, where each begins, its shape (of pixels) and label."""
    made: dict[str, Array] = {}
    convert = functools.partial(_pixels, transform=transform) if as_pixels else _encoded
    for split in SPLITS:
        pictures, offsets, shapes = corpus.inputs[split], [0], []
        with ThreadPoolExecutor(_workers()) as pool, (folder / f"{split}.bin").open("wb") as file:
            for start in range(0, len(pictures), 256):  # at most so many in memory
                for array in pool.map(convert, pictures[start : start + 256]):
                    file.write(array.tobytes())
                    offsets.append(offsets[-1] + array.nbytes)
                    shapes.append(array.shape[:2] if as_pixels else (0, 0))
        made |= {
            f"{split}-offsets": np.array(offsets, dtype=np.int64),
            f"{split}-shapes": np.array(shapes, dtype=np.int32).reshape(-1, 2),
            f"{split}-labels": corpus.labels[split],
        }
    return made


def _pixels(picture: Picture, transform: Transform) -> Array:
    return np.asarray(resized(decode(picture.read()), transform))


def _encoded(picture: Picture) -> Array:
    return np.frombuffer(picture.read(), dtype=np.uint8)


CODE = (decode, rgb, resized, _fit, _pixels, _encoded)
"""What decides the bytes of an entry beside `arrays`."""


class Stored:
    """The pictures of one split, resized, by number."""

    def __init__(self, entry: Path, split: str, transform: Transform) -> None:
        self._bytes = np.memmap(entry / f"{split}.bin", dtype=np.uint8, mode="r")
        self._offsets = open_array(entry, f"{split}-offsets")
        self._shapes = open_array(entry, f"{split}-shapes")
        self._transform = transform
        self._pool = ThreadPoolExecutor(torch.get_num_threads()) if not self._shapes.any() else None

    def __call__(self, indices: Array) -> list[torch.Tensor]:
        """Each uint8 [3, height, width], in memory of its own."""
        return list(self._pool.map(self._one, indices) if self._pool else map(self._one, indices))

    def _one(self, index: int) -> torch.Tensor:
        raw = self._bytes[self._offsets[index] : self._offsets[index + 1]]
        if self._pool:
            pixels = np.array(resized(decode(raw.tobytes()), self._transform))
        else:
            pixels = np.array(raw.reshape(*self._shapes[index], 3))
        return torch.from_numpy(pixels).permute(2, 0, 1)
