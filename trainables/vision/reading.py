"""How an encoded picture becomes 8 bits a channel: turned upright, scaled, put on a ground, in the model's channels."""

import functools
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from frostline.trainables.data.corpus import Array

_FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "FITS", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM"),
    *("PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
"""Pillow's formats that are pictures of pixels. It starts another program for EPS."""

MOST_PIXELS = 89_478_485
"""Pixels of the largest picture that is read, from where on Pillow warns. Three copies of it take 1 GB."""

_ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""

_OTHER_ORDER = {
    f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for order, other in ("LB", "BL", "NB")
}
"""Pillow's raw mode of colours of 16 bits -> that with the bytes of a value in the other order."""

_DARK = 64
"""Value below which all pictures of 8 bits count as scaled to less than their range, as class maps and counts are."""

_FAINT = 16
"""Mean difference between what can be seen and its ground, of 255, below which a picture counts as lost on it."""


class TooLargeError(OSError):
    """A picture with more pixels than are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What all pictures of a data set share in becoming 8 bits a channel."""

    low: float | None = None
    """Value that becomes 0 in pictures of more than 8 bits; None scales them by the largest value of their type."""
    high: float | None = None
    """Value that becomes 255 in such pictures."""
    ground: int = 255
    """Grey behind transparent parts, 0 (black) to 255 (white)."""
    top: int | None = None
    """Value that becomes 255 in pictures of 8 bits; None leaves them as they are."""


PLAIN = Reading()
"""The reading of a picture where its data set is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the pixels of one picture tell."""

    size: tuple[int, int]
    """Width and height, upright."""
    low: float = math.nan
    """Its smallest value, if it has more than 8 bits a channel."""
    high: float = math.nan
    """Its largest value, likewise."""
    top: float = math.nan
    """Its largest value, if it has 8 bits a channel."""
    visible: float = math.nan
    """Mean grey of what can be seen, 0 to 255, if parts of it are transparent."""


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats of `_FORMATS` that this Pillow reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@functools.cache
def extensions() -> frozenset[str]:
    """Endings of the files that are read as pictures, in small letters, with their dot."""
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats())


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about large or odd pictures, which do not name the file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def decode(encoded: bytes, reading: Reading = PLAIN, mode: str = "RGB") -> Image.Image:
    """A picture in 8 bits a channel.

    Args:
        encoded: the bytes of its file.
        reading: of its data set.
        mode: Pillow's mode: `RGB`, `L` or `RGBA`.

    Raises:
        OSError: it cannot be read to its end, or is too large.
    """
    with _one_kind_of_error():
        return converted(_opened(encoded), reading, mode)


def facts(encoded: bytes) -> Facts:
    """What a picture's pixels tell.

    Raises:
        OSError: it cannot be read to its end, or is too large.
    """
    with _one_kind_of_error():
        image, values = _with_values(_opened(encoded))
        eight = _in_eight_bits(image, values, PLAIN, "RGB")
        if values is not None:
            finite = values[..., :3] if values.ndim == 3 else values  # without its alpha
            finite = finite[np.isfinite(finite)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
            return Facts(size=eight.size, low=low, high=high)
        top = float(max(np.ravel(eight.getextrema())))
        return Facts(size=eight.size, top=top, visible=_visible(image) if image.has_transparency_data else math.nan)


def _opened(encoded: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(encoded), formats=formats())
    pixels = image.width * image.height
    if pixels > MOST_PIXELS and hasattr(image, "draft"):  # a JPEG can be read at a half, a quarter or an eighth
        part = math.ceil(math.sqrt(pixels / MOST_PIXELS))
        image.draft(None, (image.width // part, image.height // part))
    if image.width * image.height > MOST_PIXELS:
        raise TooLargeError(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are read")
    return image


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    """Pillow's readers raise syntax, value, type and other errors on damaged bytes; each becomes an `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"over {2 * MOST_PIXELS:,} pixels; at most {MOST_PIXELS:,} are read") from error
    except Exception as error:
        raise OSError(str(error)) from error


def converted(image: Image.Image, reading: Reading = PLAIN, mode: str = "RGB") -> Image.Image:
    """A picture upright, in 8 bits a channel. Transparent parts get the ground, or stay where `mode` has an alpha."""
    return _in_eight_bits(*_with_values(image), reading, mode)


def _in_eight_bits(image: Image.Image, values: Array | None, reading: Reading, mode: str) -> Image.Image:
    if values is not None:
        image = _scaled(image, values, reading)
    if image.has_transparency_data and mode != "RGBA":
        image = _on(image, reading.ground)
    image = image.convert(mode)
    if reading.top is None or values is not None:
        return image
    brighter = [min(255, round(255 * value / reading.top)) for value in range(256)]
    alpha = [list(range(256))] if mode == "RGBA" else []
    return image.point(sum([brighter] * (len(mode) - len(alpha)), start=list[int]()) + sum(alpha, start=list[int]()))


def upright(image: Image.Image) -> Image.Image:
    """The picture as the camera saw it. A damaged tag is ignored."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except (OSError, MemoryError):
        raise  # its pixels cannot be read
    except Exception:  # whatever Pillow raises at a damaged tag
        return image


def _with_values(image: Image.Image) -> tuple[Image.Image, Array | None]:
    """A picture upright, and its values as float32 [height, width] or [..., channels] if they have more than 8 bits."""
    low = _low_bytes(image)  # first: all else may read the pixels, which is done once only
    image = upright(image)
    if low is not None:
        low = upright(low)
        return image, np.asarray(image, dtype=np.float32) * 256 + np.asarray(low, dtype=np.float32)
    if image.mode.startswith(("I", "F")):  # whole or real numbers; Pillow's conversion clips them at 255
        return image, np.array(image, dtype=np.float32)
    return image, None


def _low_bytes(image: Image.Image) -> Image.Image | None:
    """Of a picture in colours of 16 bits the lower 8, since Pillow reads the upper 8 only; None for any other.

    Its decoder takes the lower ones where it is told the other order of bytes.
    """
    tiles, file = getattr(image, "tile", []), getattr(image, "fp", None)
    raw = _raw_mode(tiles[0].args) if tiles else ""
    if image.mode not in {"RGB", "RGBA"} or raw not in _OTHER_ORDER or file is None:
        return None
    if image.width * image.height > MOST_PIXELS // 4:
        raise TooLargeError(f"{image.width} x {image.height} pixels of 16 bits; at most {MOST_PIXELS // 4:,} are read")
    place = file.tell()
    file.seek(0)
    twin = Image.open(io.BytesIO(file.read()), formats=formats())
    file.seek(place)
    swapped = [
        tile._replace(args=_OTHER_ORDER[raw] if isinstance(tile.args, str) else (_OTHER_ORDER[raw], *tile.args[1:]))
        for tile in twin.tile
    ]
    twin.tile = swapped
    return twin


def _raw_mode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) and args else args)


def _scaled(image: Image.Image, values: Array, reading: Reading) -> Image.Image:
    low, high = reading.low, reading.high
    if low is None or high is None:
        low = 0.0
        high = max(1.0, float(np.nan_to_num(values).max(initial=0.0))) if image.mode == "F" else 65535.0
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    values -= low
    values *= 255.0 / (high - low)
    eight = Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))
    if eight.mode == "RGBA":
        eight.putalpha(image.getchannel("A"))
    return eight


def _on(image: Image.Image, ground: int) -> Image.Image:
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, (ground,) * 3)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _visible(image: Image.Image) -> float:
    """Mean grey of a picture, each pixel weighted by how much of it can be seen; NaN if all of it can, or nothing."""
    image = image.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255 or alpha.max() == 0:
        return math.nan
    return float(np.average(np.asarray(image.convert("L")), weights=alpha))


def shared(all_facts: Sequence[Facts]) -> Reading:
    """The reading of a data set: values from the smallest to the largest that occur, a ground on which none is lost.

    The ground is white; black where a picture would be lost on white, and grey where others would be lost on black.
    """
    lows = [each.low for each in all_facts if not math.isnan(each.low)]
    highs = [each.high for each in all_facts if not math.isnan(each.high)]
    visible = [each.visible for each in all_facts if not math.isnan(each.visible)]
    ground = 255
    if any(grey > 255 - _FAINT for grey in visible):
        ground = 128 if any(grey < _FAINT for grey in visible) else 0
    tops = [each.top for each in all_facts if not math.isnan(each.top)]
    top = int(max(tops)) if tops and 0 < max(tops) < _DARK else None
    if not lows or not max(highs) > min(lows):
        return Reading(ground=ground, top=top)
    return Reading(low=min(lows), high=max(highs), ground=ground, top=top)


def said(all_facts: Sequence[Facts], reading: Reading) -> tuple[str, ...]:
    """Sentences about how the pictures of a data set are read, where that is not the usual way."""
    notes = []
    if reading.low is not None:
        deep = sum(not math.isnan(each.low) for each in all_facts)
        scale = f"{reading.low:g} to {reading.high:g} become black to white in all of them"
        notes.append(f"pictures with more than 8 bits a channel: {deep:,}; {scale}")
    if reading.top is not None:
        notes.append(f"no picture of 8 bits has a value above {reading.top}: 0 to {reading.top} become black to white")
    if clear := sum(not math.isnan(each.visible) for each in all_facts):
        ground = {255: "white", 0: "black"}.get(reading.ground, "grey")
        notes.append(
            f"pictures that are transparent in part: {clear:,}; they are put on {ground}, except for 4 channels"
        )
    return tuple(notes)


CODE = (decode, converted, _in_eight_bits, _with_values, _low_bytes, upright, _opened, _scaled, _on, Reading)
"""The functions and settings that decide the pixels of a picture."""
