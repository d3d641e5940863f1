"""Pictures prepared to train on: resized once and memory-mapped if there is room, else their encoded bytes.

Encoded pictures are decoded each time they are read.
"""

import functools
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import torch

from frostline.trainables._storage import cache_root
from frostline.trainables.data.cache import is_whole, open_array
from frostline.trainables.data.corpus import SPLITS, Array, Corpus
from frostline.trainables.vision.picture_files import workers
from frostline.trainables.vision.pictures import Picture, channels_first, resized
from frostline.trainables.vision.reading import CODE as READING_CODE
from frostline.trainables.vision.reading import PLAIN, Reading, decode, quiet
from frostline.trainables.vision.transform import Transform

_AT_ONCE = 256
"""Pictures that are decoded and in memory at once while an entry is written."""


def pixels_fit(pictures: Iterable[Picture], transform: Transform, disk: float, memory: float) -> tuple[bool, int]:
    """Decide whether all pictures are kept decoded; also the bytes that they need.

    Args:
        pictures: the pictures of all slices, checked, so that they have a size.
        transform: the transform whose resize they are kept after.
        disk: free bytes of the disk; a fifth may be used.
        memory: bytes of this machine; pictures are read at random, so they should fit half of them.
    """
    needed = 0
    for picture in pictures:
        width, height = transform.resized(picture.size)
        needed += len(transform.mean) * width * height
    return needed <= min(0.2 * disk, 0.5 * memory), needed


def storage(corpus: Corpus, transform: Transform, entry: Path | None = None) -> tuple[bool, str]:
    """`pixels_fit` on this machine, and the decision in words. An `entry` that exists keeps its decision."""
    root = next(path for path in (cache_root(), *cache_root().parents) if path.exists())
    pictures = [picture for split in corpus.inputs.values() for picture in split]
    fits, needed = pixels_fit(pictures, transform, shutil.disk_usage(root).free, psutil.virtual_memory().total)
    if entry is not None and is_whole(entry):
        fits = bool(open_array(entry, "train-shapes").any())
    size = f"{needed / 1e6:.0f} MB as pixels"
    if fits:
        return True, f"pictures are decoded and resized once ({size}, memory-mapped)"
    return False, f"pictures are decoded each time they are read ({size} are too much to keep)"


def arrays(corpus: Corpus, transform: Transform, as_pixels: bool, folder: Path) -> dict[str, Array]:
    """Fill the folder of a cache entry.

    Writes all pictures of a split to one file, `<split>.bin`.

    Returns:
        Arrays by name. Of each split: the byte at which each picture begins (and the end of the last), its height and
        width in pixels (0 if it is encoded), and its label.
    """
    result: dict[str, Array] = {}
    reading = reading_of(corpus)
    convert = functools.partial(_pixels, transform=transform, reading=reading) if as_pixels else _encoded
    (folder / "reading.json").write_text(json.dumps(asdict(reading)), encoding="utf-8")
    for split in SPLITS:
        pictures, offsets, shapes = corpus.inputs[split], [0], []
        with quiet(), ThreadPoolExecutor(workers()) as pool, (folder / f"{split}.bin").open("wb") as file:
            for start in range(0, len(pictures), _AT_ONCE):
                for array in pool.map(convert, pictures[start : start + _AT_ONCE]):
                    file.write(array.tobytes())
                    offsets.append(offsets[-1] + array.nbytes)
                    shapes.append(array.shape[:2] if as_pixels else (0, 0))
        result |= {
            f"{split}-offsets": np.array(offsets, dtype=np.int64),
            f"{split}-shapes": np.array(shapes, dtype=np.int32).reshape(-1, 2),
            f"{split}-labels": corpus.labels[split],
        }
    return result


def _pixels(picture: Picture, transform: Transform, reading: Reading) -> Array:
    return np.asarray(resized(decode(picture.read(), reading, transform.mode), transform))


def _encoded(picture: Picture) -> Array:
    return np.frombuffer(picture.read(), dtype=np.uint8)


def reading_of(corpus: Corpus) -> Reading:
    """How the pictures of a corpus are read: as those of its train slice, also in slices from another source."""
    return next((picture.reading for picture in corpus.inputs["train"]), PLAIN)


CODE = (arrays, *READING_CODE, resized, Transform.resized, _pixels, _encoded)
"""The functions that decide the bytes of an entry."""


class Stored:
    """The pictures of one split, resized, by number."""

    def __init__(self, entry: Path, split: str, transform: Transform) -> None:
        self._bytes = np.memmap(entry / f"{split}.bin", dtype=np.uint8, mode="r")
        self._offsets = open_array(entry, f"{split}-offsets")
        self._shapes = open_array(entry, f"{split}-shapes")
        self._transform = transform
        self._reading = Reading(**json.loads((entry / "reading.json").read_text(encoding="utf-8")))
        self._pool = ThreadPoolExecutor(torch.get_num_threads()) if not self._shapes.any() else None

    def __call__(self, indices: Array) -> list[torch.Tensor]:
        """Pictures as uint8 [channels, height, width], each a copy in memory."""
        with quiet() if self._pool else nullcontext():
            return list(self._pool.map(self._one, indices) if self._pool else map(self._one, indices))

    def _one(self, index: int) -> torch.Tensor:
        raw = self._bytes[self._offsets[index] : self._offsets[index + 1]]
        if self._pool:
            image = decode(raw.tobytes(), self._reading, self._transform.mode)
            return channels_first(np.array(resized(image, self._transform)))
        return channels_first(np.array(raw.reshape(*self._shapes[index], len(self._transform.mean))))
