"""The transform between a picture and what a model sees of it: resized, then cut from the middle."""

import math
from dataclasses import asdict, dataclass
from typing import Any

_FILTERS = {"nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"}
_LARGEST = 4096
"""Pixels of a side. The largest pretrained classifiers take some 900."""


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels of a model -> Pillow's mode of the pictures that it takes: grey, colours, colours with transparency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """How a picture becomes what a model was trained on. The record of the model's weights gives the values."""

    resize: int
    """Pixels that the shorter side is resized to; of both sides if `squash`."""
    crop: int
    """Pixels of each side of the square cut from the middle."""
    mean: tuple[float, ...]
    """Mean of each channel, on a scale from 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel, on the same scale."""
    interpolation: str
    """A value of torchvision's `InterpolationMode`."""
    squash: bool = False
    """True if both sides are resized to `resize`, whatever their ratio was."""
    is_reversed: bool = False
    """True if the model takes blue before green and red."""
    rounds_down: bool = False
    """True if the middle is cut at the pixel above and to the left where it lies between two, as transformers does."""

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            size = getattr(self, name)
            if not (isinstance(size, int) and 1 <= size <= _LARGEST):
                raise ValueError(f"{name} is 1 to {_LARGEST} pixels, got {size!r}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not all(isinstance(value, float | int) and math.isfinite(value) for value in values):
                raise ValueError(f"{name} is a number for each channel, got {values!r}")
        if len(self.mean) != len(self.std) or len(self.mean) not in MODES:
            raise ValueError(f"mean and std are for 1, 3 or 4 channels, got {len(self.mean)} and {len(self.std)}")
        if not all(self.std):
            raise ValueError(f"std must not be 0, got {self.std}")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation is one of {', '.join(sorted(_FILTERS))}, got {self.interpolation!r}")

    @property
    def mode(self) -> str:
        """Pillow's mode of the pictures that the model takes."""
        return MODES[len(self.mean)]

    def at(self, size: int | None) -> "Transform":
        """The same transform for a crop of `size` pixels; None leaves it."""
        if size is None or size == self.crop:
            return self
        # timm's rule: the part that is cut off keeps its share, rounded down.
        values = {**asdict(self), "resize": math.floor(size * self.resize / self.crop), "crop": size}
        return Transform(**values)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of this width and height after the resize."""
        if self.squash:
            return self.resize, self.resize
        width, height = size
        if width <= height:  # the longer side is rounded down, as torchvision does
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Transform":
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
