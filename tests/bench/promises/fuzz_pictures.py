"""Pictures and lists of pictures spoilt at random: read, left out, or one line; never over 1 GB.

By hand: `python -m tests.bench.promises.fuzz_pictures 5000`
"""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frostline.spaces import Data
from frostline.trainables.vision.picture_rows import read_rows
from frostline.trainables.vision.reading import decode, facts, quiet, shared
from tests.bench.promises import fuzz
from tests.bench.promises.fuzz_targets import Target
from tests.bench.promises.rows import Failure, Row
from tests.bench.promises.spoil import spoilt_bytes

_MOST_MEMORY = int(1e9)

_NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)

_PICTURES: dict[str, tuple[Any, str]] = {
    "PNG": (_NOISE[..., :3], "png"),
    "JPEG": (_NOISE[..., :3], "jpeg"),
    "PNG with alpha": (_NOISE, "png"),
    "PNG of 16 bits": (_NOISE[..., 0].astype(np.uint16) * 9, "png"),
    "GIF": (_NOISE[..., 0], "gif"),
    "TIFF of real numbers": (_NOISE[..., 0].astype(np.float32), "tiff"),
    "WebP": (_NOISE, "webp"),
    "BMP": (_NOISE[..., :3], "bmp"),
}


def tried(count: int, seed: int, match: Sequence[str] = ()) -> Row:
    """Try `count` inputs of all kinds together.

    Args:
        count: inputs.
        seed: seed of all of them.
        match: parts of the names of those that are tried; all if empty.
    """
    began, failures, total = time.monotonic(), list[Failure](), 0
    with tempfile.TemporaryDirectory() as folder:
        made = targets(Path(folder))
        for target in made:
            names = [f"fuzz: {target.name} {number}" for number in range(max(1, count // len(made)))]
            numbers = [number for number, name in enumerate(names) if not match or any(part in name for part in match)]
            failures += fuzz._tried(target, seed, numbers)
            total += len(numbers)
    return Row(kind="fuzz of pictures", tried=total, seconds=time.monotonic() - began, failures=failures)


def targets(folder: Path) -> list[Target]:
    """All kinds of inputs; lists are written in `folder`."""
    encoded = {name: _encoded(pixels, kind) for name, (pixels, kind) in _PICTURES.items()}
    made = [Target(name=name, attempt=_of_picture(right, spoilt_bytes), share=1) for name, right in encoded.items()]
    made += [
        Target(name="chunks of a PNG", attempt=_of_picture(encoded["PNG with alpha"], _with_spoilt_chunk), share=1),
        Target(name="EXIF", attempt=_of_exif(encoded["JPEG"]), share=1),
        Target(name="a list", attempt=_of_list(folder), share=1),
    ]
    return made


def _encoded(pixels: Any, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _of_picture(right: bytes, spoil: Callable[[bytes, random.Random], bytes]) -> Callable[[random.Random], None]:
    def attempt(dice: random.Random) -> None:
        _check(spoil(right, dice))

    return attempt


def _check(encoded: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with quiet():
            about = facts(encoded)
            image = decode(encoded, shared([about]))
    except OSError:
        return  # it is left out
    assert image.mode == "RGB", f"mode {image.mode}"
    assert image.size == about.size, f"size {image.size} after {about.size}"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < _MOST_MEMORY, f"{grown / 1e6:.0f} MB"


def _with_spoilt_chunk(right: bytes, dice: random.Random) -> bytes:
    """A PNG in which one chunk is spoilt and has the right length and check sum."""
    chunks, start = list[bytes](), 8
    while start < len(right):
        (size,) = struct.unpack(">I", right[start : start + 4])
        chunks.append(right[start + 4 : start + 8 + size])
        start += 12 + size
    place = dice.randrange(len(chunks))
    kind, body = chunks[place][:4], chunks[place][4:]
    chunks[place] = kind + spoilt_bytes(body or b"\0", dice)
    return right[:8] + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def _of_exif(jpeg: bytes) -> Callable[[random.Random], None]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    right = exif.tobytes()

    def attempt(dice: random.Random) -> None:
        body = spoilt_bytes(right, dice)[:60_000]
        _check(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:])

    return attempt


def _of_list(folder: Path) -> Callable[[random.Random], None]:
    """A `train.csv` beside its pictures."""
    root = folder / "list"
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(6):
        Image.fromarray(np.roll(_NOISE, number, 0)).save(root / "images" / f"{number}.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2]}")
    right = "\n".join(["file,label", *rows]).encode()

    def attempt(dice: random.Random) -> None:
        (root / "train.csv").write_bytes(spoilt_bytes(right, dice))
        for split in read_rows(Data(source=str(root / "train.csv"))).values():
            assert len(split.inputs) == len(split.labels), "rows of two lengths"
            assert all(label is None or isinstance(label, str) for label in split.labels), "a label is no text"

    return attempt


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FROSTLINE_CACHE"] = cache
        print(tried(int(sys.argv[1]), seed=int((sys.argv[2:] or ["0"])[0])))
