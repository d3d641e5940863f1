"""A picture: its encoded bytes, decoded to RGB, resized and cut.

A file or a row stays encoded until it is needed, so that a data set of any size fits memory.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from frostline.trainables.vision.transform import Transform

_PIL_MODES = {
    mode.value: getattr(Image.Resampling, mode.name) for mode in InterpolationMode if mode.name != "NEAREST_EXACT"
}
"""Torchvision's name of a filter -> Pillow's filter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An encoded picture. It equals another one with the same bytes."""

    digest: str
    """SHA-256 of its bytes."""
    name: str = field(compare=False)
    """Name in messages: the file, or the row of the data set."""
    read: Callable[[], bytes] = field(compare=False)
    """Reads its bytes; raises OSError if they cannot be read."""
    size: tuple[int, int] = field(default=(0, 0), compare=False)
    """Width and height in pixels, once it has been checked."""

    def __str__(self) -> str:
        return self.digest


def decode(encoded: bytes) -> Image.Image:
    """A picture in RGB. Grey, palette and 16-bit pictures are converted; transparency is dropped.

    Raises:
        OSError: it cannot be read to its end.
    """
    try:
        return rgb(Image.open(io.BytesIO(encoded)))
    except OSError:
        raise
    except Exception as error:  # Pillow's readers raise syntax, value, type and other errors on damaged bytes
        raise OSError(str(error)) from error


def rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, 8 bits a channel."""
    if image.mode.startswith(("I", "F")):  # Pillow would clip values above 255
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max(initial=0.0)))
        image = Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def resized(image: Image.Image, transform: Transform) -> Image.Image:
    """The first half of the transform for evaluation. The second half is `cropped`."""
    size = transform.resized(image.size)
    return image if image.size == size else image.resize(size, _PIL_MODES[transform.interpolation])


def cropped(pixels: torch.Tensor, transform: Transform) -> torch.Tensor:
    """The middle of a resized picture, uint8 [channels, crop, crop]."""
    crop = transform.crop
    if not transform.rounds_down:
        return v2.functional.center_crop(pixels, [crop, crop])
    top, left = ((side - crop) // 2 for side in pixels.shape[-2:])
    return pixels[..., top : top + crop, left : left + crop]
