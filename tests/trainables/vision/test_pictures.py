"""One picture: decoded, resized and cut."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from frostline.trainables.vision.pictures import cropped, resized
from frostline.trainables.vision.reading import decode
from frostline.trainables.vision.transform import Transform

_SQUARE = Transform(resize=36, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


def _encoded(image: Image.Image, kind: str = "png") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_kind_of_picture_becomes_rgb(mode: str) -> None:
    white = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    picture = decode(_encoded(white, "tiff" if mode == "CMYK" else "png"))
    assert (picture.mode, picture.size) == ("RGB", (5, 4))
    assert np.asarray(picture).min() >= 250


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    deep = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert np.asarray(decode(_encoded(deep)))[0, :, 0].tolist() == [0, 0, 127, 255]


_TIFF = _encoded(Image.new("RGB", (8, 8)), "tiff")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"not a picture",
        _encoded(Image.new("RGB", (50, 50)), "jpeg")[:300],
        _TIFF[:72] + bytes([2]) + _TIFF[73:],  # a tag of another type, at which Pillow has a TypeError
    ],
)
def test_every_unreadable_picture_is_one_kind_of_error(broken: bytes) -> None:
    with pytest.raises(OSError):
        decode(broken)


@pytest.mark.parametrize("size", [(50, 40), (40, 50), (33, 97), (36, 36), (20, 31)])
def test_resizing_and_cutting_is_torchvisions(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    reference = v2.Compose([v2.Resize(36, InterpolationMode.BILINEAR), v2.CenterCrop(32), v2.PILToTensor()])(image)
    pixels_resized = torch.from_numpy(np.array(resized(image, _SQUARE))).permute(2, 0, 1)
    assert torch.equal(cropped(pixels_resized, _SQUARE), reference)
