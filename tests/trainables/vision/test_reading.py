"""How pictures become 8 bits a channel: orientation, transparency, deep values, odd kinds, limits."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.image_classification import FAMILY, load
from frostline.trainables.vision import picture_store, reading
from frostline.trainables.vision.picture_rows import read_rows
from frostline.trainables.vision.reading import PLAIN, Reading, TooLargeError, converted, decode, facts, said, shared
from tests import tiny

_TAG = 0x0112
_HELD = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF's orientation -> how the stored picture lies."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


def _encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- orientation ------------------------------------------------------------------------------------


def _held(image: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[_TAG] = orientation
    stored = image.transpose(_HELD[orientation]) if orientation in _HELD else image
    return _encoded(stored, kind, exif=exif)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "mpo"])
@pytest.mark.parametrize("orientation", [1, *_HELD])
def test_a_picture_is_read_as_the_camera_saw_it(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), (255, 255, 255))
    upright.paste((255, 0, 0), (0, 0, 48, 16))
    upright.paste((0, 0, 255), (0, 0, 16, 16))
    encoded = _held(upright, orientation, kind)
    assert facts(encoded).size == (48, 32)
    difference = np.asarray(decode(encoded)).astype(int) - np.asarray(upright)
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("tag", [b"", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_a_damaged_tag_is_ignored(tag: bytes) -> None:
    encoded = _encoded(Image.new("RGB", (20, 10), (9, 9, 9)), "jpeg", exif=tag)
    assert decode(encoded).size == (20, 10)


def _photos(folder: Path, orientations: tuple[int, ...]) -> Path:
    """Photos with a band at the top or at the left, stored in these orientations in turn."""
    for name in ("left", "top"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            noise = np.random.default_rng([number, len(name)]).integers(0, 60, (40, 40, 3), dtype=np.uint8)
            noise[:12] += 150 if name == "top" else 0
            noise[:, :12] += np.uint8(150) if name == "left" else np.uint8(0)
            encoded = _held(Image.fromarray(noise), orientations[number % len(orientations)], "png")
            (folder / name / f"{number}.png").write_bytes(encoded)
    return folder


@pytest.mark.parametrize("as_pixels", [True, False])
def test_training_evaluation_and_the_export_see_photos_upright(
    as_pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_store, "pixels_fit", lambda *_: (as_pixels, 1))
    model = tiny.make_vision_model(tmp_path / "model", "shufflenet_v2_x0_5")
    seen = []
    for name, orientations in (("upright", (1,)), ("held", (1, 3, 6, 8))):
        data = Data(source=str(_photos(tmp_path / name, orientations)))
        corpus = cut_corpus(data, read_rows(data), 4)
        entry = FAMILY.prepare(model, data, corpus)
        torch.manual_seed(0)
        FAMILY.export(FAMILY.build(model, 2), model, data, corpus.classes, tmp_path / f"best-{name}")
        with Image.open(tmp_path / name / "top" / "6.png") as image:
            answer = load(tmp_path / f"best-{name}").logits(image)
        batches = [FAMILY.open(entry, split).batch(np.arange(4))["pixels"] for split in ("train", "test")]
        seen.append(([picture.name for picture in corpus.inputs["train"]], *batches, answer))
    assert seen[0][0] == seen[1][0]
    for upright, held in zip(seen[0][1:], seen[1][1:], strict=True):
        assert torch.equal(upright, held)


# --- transparency -----------------------------------------------------------------------------------


def _icon(colour: int, left: bool, mode: str = "RGBA") -> Image.Image:
    """A bar of one grey on a transparent ground of the same grey."""
    icon = Image.new("RGBA", (20, 20), (colour, colour, colour, 0))
    icon.paste((colour, colour, colour, 255), (0, 0, 10, 20) if left else (10, 0, 20, 20))
    return icon.quantize() if mode == "P" else icon.convert(mode)


@pytest.mark.parametrize(
    ("icons", "ground", "name"),
    [
        ([_icon(0, True), _icon(0, False)], 255, "white"),
        ([_icon(255, True), _icon(255, False)], 0, "black"),
        ([_icon(0, True), _icon(255, False)], 128, "grey"),
        ([_icon(90, True)], 255, "white"),
        ([_icon(0, True, "LA")], 255, "white"),
        ([_icon(0, True, "P")], 255, "white"),
    ],
)
def test_transparent_parts_get_a_ground_on_which_nothing_is_lost(
    icons: list[Image.Image], ground: int, name: str
) -> None:
    every = [facts(_encoded(icon)) for icon in icons]
    chosen = shared(every)
    assert chosen == Reading(ground=ground)
    assert f"transparent in part: {len(icons)}; they are put on {name}" in said(every, chosen)[0]
    for icon in icons:
        pixels = np.asarray(decode(_encoded(icon), chosen))[:, :, 0].astype(int)
        assert abs(pixels[5, 5] - pixels[5, 15]) > 100


@pytest.mark.parametrize(
    "image", [Image.new("RGBA", (4, 4), (90, 80, 70, 255)), Image.new("RGBA", (4, 4), (90, 80, 70, 0))]
)
def test_a_picture_that_is_opaque_or_empty_decides_no_ground(image: Image.Image) -> None:
    every = [facts(_encoded(image))]
    assert shared(every) == PLAIN
    assert said(every, PLAIN) == ()


# --- deep values ------------------------------------------------------------------------------------

_RAMP = np.linspace(0, 4095, 100).reshape(10, 10)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (_RAMP.astype(np.uint16), 0, 4095),
        (_RAMP.astype(np.int32) - 1024, -1024, 3071),
        ((_RAMP / 4095).astype(np.float32), 0, 1),
        ((_RAMP / 4095 * 30 + 280).astype(np.float32), 280, 310),
        (np.where(_RAMP == 0, np.nan, _RAMP).astype(np.float32), 4095 / 99, 4095),
        (np.where(_RAMP == 0, np.inf, _RAMP).astype(np.float32), 4095 / 99, 4095),
        ((_RAMP * 16).astype(np.uint16), 0, 65520),
    ],
)
def test_values_are_scaled_by_what_the_files_hold(values: np.ndarray, low: float, high: float) -> None:
    dark = values.copy()
    dark[:] = values.flat[50]
    encoded = [_encoded(Image.fromarray(each), "tiff") for each in (values, dark)]
    every = [facts(each) for each in encoded]
    chosen = shared(every)
    assert (chosen.low, chosen.high) == pytest.approx((low, high))
    assert (
        f"more than 8 bits a channel: 2; {chosen.low:g} to {chosen.high:g} become black to white"
        in said(every, chosen)[0]
    )
    grey = np.asarray(decode(encoded[0], chosen))[:, :, 0]
    assert (grey.flat[1] < 10, grey.flat[99]) == (True, 255)
    assert np.asarray(decode(encoded[1], chosen))[0, 0, 0] == grey.flat[50], "the same for all pictures"


def _colours_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG, which Pillow cannot write: uint16 [height, width, 3 or 4]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    fields = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2 if values.shape[2] == 3 else 6, 0, 0, 0)
    return _png(b"IHDR" + fields, b"IDAT" + zlib.compress(rows), b"IEND")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_keep_their_lower_bits(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 200, (6, 7, channels), dtype=np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    encoded = _colours_of_16_bits(values)
    about = facts(encoded)
    colours = values[..., :3]
    assert (about.low, about.high) == (colours.min(), colours.max())
    picture = np.asarray(decode(encoded, Reading(low=0, high=200))).astype(int)
    assert np.abs(picture - colours * 255 / 200).max() <= 1


def test_pictures_of_8_bits_that_are_all_dark_are_made_bright(tmp_path: Path) -> None:
    """Counts, or digits of 0 to 16 that were saved as they are."""
    dark = [Image.fromarray(np.arange(top + 1, dtype=np.uint8)[None]) for top in (9, 16)]
    every = [facts(_encoded(image)) for image in dark]
    assert shared(every) == Reading(top=16)
    assert said(every, shared(every)) == ("no picture of 8 bits has a value above 16: 0 to 16 become black to white",)
    assert np.asarray(decode(_encoded(dark[0]), shared(every)))[0, 8].tolist() == [128] * 3
    assert np.asarray(decode(_encoded(dark[0]), shared(every), "RGBA"))[0, 8].tolist() == [128] * 3 + [255]
    assert shared([*every, facts(_encoded(Image.new("L", (3, 3), 64)))]) == PLAIN


def test_the_reading_of_a_data_set_is_exported_with_the_model(tmp_path: Path) -> None:
    for number, name in enumerate(("dim", "bright")):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng([i, number]).integers(0, 2000 + 2000 * number, (40, 40), dtype=np.uint16)
            Image.fromarray(noise).save(tmp_path / "scans" / name / f"{i}.png")
    data = Data(source=str(tmp_path / "scans"))
    model, corpus = tiny.make_vision_model(tmp_path / "model"), cut_corpus(data, read_rows(data), 4)
    entry = FAMILY.prepare(model, data, corpus)
    network = FAMILY.build(model, 2)
    FAMILY.export(network, model, data, corpus.classes, tmp_path / "best")
    FAMILY.complete_export(entry, tmp_path / "best")
    assert json.loads((tmp_path / "best" / "reading.json").read_text())["high"] == pytest.approx(3999, abs=5)
    with torch.inference_mode():
        expected = FAMILY.logits(network.eval(), FAMILY.open(entry, "test").batch(np.arange(2)))
    classify = load(tmp_path / "best")
    answers = [classify.logits(Image.open(io.BytesIO(each.read()))) for each in corpus.inputs["test"][:2]]
    torch.testing.assert_close(torch.stack(answers), expected)


def test_usual_pictures_need_no_record_of_their_reading(tmp_path: Path) -> None:
    data = Data(source=str(tiny.make_pictures(tmp_path / "pictures", {"blue": 20, "red": 20})))
    model, corpus = tiny.make_vision_model(tmp_path / "model"), cut_corpus(data, read_rows(data), 4)
    (tmp_path / "best").mkdir()
    FAMILY.complete_export(FAMILY.prepare(model, data, corpus), tmp_path / "best")
    assert list((tmp_path / "best").iterdir()) == []


# --- channels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_a_model_of_other_channels_is_fed_such_pictures(channels: int, mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "timm"
    torch.manual_seed(0)
    own = timm.create_model("resnet18", in_chans=channels)
    timm.models.save_for_hf(own, folder, safe_serialization=True, model_args={"in_chans": channels})
    for number, name in enumerate(("left", "right")):
        (tmp_path / "icons" / name).mkdir(parents=True)
        for i in range(20):
            _icon(10 * i, bool(number)).save(tmp_path / "icons" / name / f"{i}.png")
    data = Data(source=str(tmp_path / "icons"), image_size=32)
    assert FAMILY.inputs(folder, data) == "32 x 32 pixels"
    corpus = cut_corpus(data, read_rows(data), 4)
    entry = FAMILY.prepare(folder, data, corpus)
    model = FAMILY.build(folder, 2)
    examples = FAMILY.open(entry, "train")
    assert examples.transform.mode == mode
    batch = examples.batch(np.arange(4))
    assert batch["pixels"].shape == (4, channels, 32, 32)
    for seed in range(20):  # among them each of RandAugment's operations
        torch.manual_seed(seed)
        recipe = _recipe(data, augmentation="randaugment-5")
        assert FAMILY.augmented(examples, recipe).batch(np.arange(4))["pixels"].shape == (4, channels, 32, 32)
    assert any("RandAugment knows 1 and 3" in note for note in FAMILY.remarks(folder, data, corpus)) == (channels == 4)
    FAMILY.loss(FAMILY.logits(model, batch), batch["labels"]).backward()
    FAMILY.export(model, folder, data, corpus.classes, tmp_path / "best")
    FAMILY.complete_export(entry, tmp_path / "best")
    with torch.inference_mode():
        expected = FAMILY.logits(model.eval(), FAMILY.open(entry, "test").batch(np.arange(2)))
    classify = load(tmp_path / "best")
    answers = [classify.logits(Image.open(io.BytesIO(each.read()))) for each in corpus.inputs["test"][:2]]
    torch.testing.assert_close(torch.stack(answers), expected)


def _recipe(data: Data, **changes: Any) -> Recipe:
    budget = Budget(trials=1, epochs=1, first_rung=1)
    fields = {"learning_rate": 1e-3, "batch_size": 4, "frozen_layers": 0, "weight_decay": 0.0, **changes}
    return Recipe(family="image_classification", model="m", data=data, budget=budget, **fields)


# --- kinds and limits -------------------------------------------------------------------------------


def _frames(kind: str) -> bytes:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    return _encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "mpo", "tiff"])
def test_of_several_pictures_in_a_file_the_first_is_read(kind: str) -> None:
    pixel = np.asarray(decode(_frames(kind)))[2, 2]
    assert pixel[0] > 150
    assert pixel[1] < 60


def _header(width: int, height: int) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return _png(b"IHDR" + fields, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND")


def _png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize(
    ("side", "reason"),
    [(13_300, "13300 x 13300 pixels; at most 89,478,485"), (14_000, "over 178,956,970 pixels; at most 89,478,485")],
)
def test_a_huge_picture_is_left_out_with_the_reason_and_no_warning(
    side: int, reason: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 60, "dog": 60})
    (tree / "cat" / "huge.png").write_bytes(_header(side, side))
    rows = read_rows(Data(source=str(tree)))["train"]
    assert rows.skipped == (f"cat/huge.png ({reason} are read)",)
    assert not [warning for warning in recwarn if "PIL" in str(warning.filename)]


def test_a_huge_photo_is_read_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_PIXELS", 100 * 100)
    assert decode(_encoded(Image.new("RGB", (160, 120)), "jpeg")).size == (80, 60)
    with pytest.raises(TooLargeError, match="160 x 120 pixels; at most 10,000 are read"):
        decode(_encoded(Image.new("RGB", (160, 120)), "png"))


def test_no_other_program_is_started_for_a_picture(tmp_path: Path) -> None:
    encoded = _encoded(Image.new("RGB", (9, 9)), "eps")
    with pytest.raises(OSError, match="cannot identify"):
        decode(encoded)


def test_a_picture_that_is_given_is_not_changed() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert np.asarray(converted(image)).tolist() == np.asarray(image).tolist()
    assert image.size == (3, 2)
