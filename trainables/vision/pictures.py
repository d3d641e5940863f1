"""A picture: its encoded bytes, decoded, resized and cut.

A file or a row stays encoded until it is needed, so that a data set of any size fits memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from frostline.trainables.data.corpus import Array
from frostline.trainables.vision.reading import PLAIN, Reading
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
    reading: Reading = field(default=PLAIN, compare=False)
    """Of its data set."""

    def __str__(self) -> str:
        return self.digest


def resized(image: Image.Image, transform: Transform) -> Image.Image:
    """The first half of the transform for evaluation. The second half is `cropped`."""
    size = transform.resized(image.size)
    return image if image.size == size else image.resize(size, _PIL_MODES[transform.interpolation])


def channels_first(pixels: Array) -> torch.Tensor:
    """A picture as a tensor, uint8 [channels, height, width], from an array [height, width] or [..., channels]."""
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)


def cropped(pixels: torch.Tensor, transform: Transform) -> torch.Tensor:
    """The middle of a resized picture, uint8 [channels, crop, crop]."""
    crop = transform.crop
    if not transform.rounds_down:
        return v2.functional.center_crop(pixels, [crop, crop])
    top, left = ((side - crop) // 2 for side in pixels.shape[-2:])
    return pixels[..., top : top + crop, left : left + crop]
