"""Prepared pictures: kept as pixels or as bytes, they are the same."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from frostline.spaces import Data
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.vision import picture_store
from frostline.trainables.vision.picture_rows import read_rows
from frostline.trainables.vision.pictures import Picture
from frostline.trainables.vision.transform import Transform
from tests import tiny

_SQUARE = Transform(resize=36, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


def test_pixels_are_kept_if_a_fifth_of_the_disk_and_half_the_memory_hold_them() -> None:
    pictures = [Picture(digest=str(i), name="", read=bytes, size=(80, 40)) for i in range(10)]
    needed = 10 * 3 * 72 * 36
    assert picture_store.pixels_fit(pictures, _SQUARE, 5 * needed, 2 * needed) == (True, needed)
    assert not picture_store.pixels_fit(pictures, _SQUARE, 5 * needed - 5, 1e12)[0]
    assert not picture_store.pixels_fit(pictures, _SQUARE, 1e12, 2 * needed - 2)[0]


def test_an_existing_entry_is_used_whatever_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a node with less room than the driver: the entry has the same name there."""
    from frostline.trainables.image_classification import FAMILY

    tree, model = tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20}), tiny.make_vision_model(tmp_path / "m")
    data = Data(source=str(tree))
    corpus = cut_corpus(data, read_rows(data), 8)
    roomy = FAMILY.prepare(model, data, corpus)
    monkeypatch.setattr(picture_store.psutil, "virtual_memory", lambda: SimpleNamespace(total=0))
    assert "decoded and resized once" in FAMILY.remarks(model, data, corpus)[0]
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "node"))
    assert "decoded each time they are read" in FAMILY.remarks(model, data, corpus)[0]
    narrow = FAMILY.prepare(model, data, corpus)
    assert (narrow.name, narrow == roomy) == (roomy.name, False)
    some = np.arange(3)
    seen = [FAMILY.open(entry, "train").batch(some)["pixels"] for entry in (roomy, narrow)]
    assert torch.equal(*seen)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_kept_as_pixels_or_as_bytes_a_picture_is_the_same(tmp_path: Path) -> None:
    data = Data(source=str(tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20}, (50, 40))))
    corpus = cut_corpus(data, read_rows(data), 8)
    stored = []
    for as_pixels in (True, False):
        entry = tmp_path / str(as_pixels)
        entry.mkdir()
        for name, array in picture_store.arrays(corpus, _SQUARE, as_pixels, entry).items():
            np.save(entry / f"{name}.npy", array)
        stored.append(picture_store.Stored(entry, "train", _SQUARE)(np.array([5, 0, 3])))
    assert all(torch.equal(one, other) for one, other in zip(*stored, strict=True))
    assert {tuple(picture.shape) for picture in stored[0]} == {(3, 36, 45)}
    encoded = sum(len(picture.read()) for picture in corpus.inputs["train"])
    assert (tmp_path / "False" / "train.bin").stat().st_size == encoded
    assert (tmp_path / "True" / "train.bin").stat().st_size == 32 * 36 * 45 * 3
