"""Pictures from trees, data sets and packages: what is read, what is refused, what is kept."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from frostline.spaces import Data
from frostline.trainables.data import sources
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.vision import pictures as picture_store
from frostline.trainables.vision.network import Transform
from tests import tiny

_SQUARE = Transform(resize=36, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


def _encoded(image: Image.Image, kind: str = "png") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


# --- one picture ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_kind_of_picture_becomes_rgb(mode: str) -> None:
    white = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    found = picture_store.decode(_encoded(white, "tiff" if mode == "CMYK" else "png"))
    assert (found.mode, found.size) == ("RGB", (5, 4))
    assert np.asarray(found).min() >= 250


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    deep = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert np.asarray(picture_store.decode(_encoded(deep)))[0, :, 0].tolist() == [0, 0, 127, 255]


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
def test_what_cannot_be_read_is_one_kind_of_error(broken: bytes) -> None:
    with pytest.raises(OSError):
        picture_store.decode(broken)


@pytest.mark.parametrize("size", [(50, 40), (40, 50), (33, 97), (36, 36), (20, 31)])
def test_resizing_and_cutting_is_torchvisions(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    reference = v2.Compose([v2.Resize(36, InterpolationMode.BILINEAR), v2.CenterCrop(32), v2.PILToTensor()])(image)
    resized = torch.from_numpy(np.array(picture_store.resized(image, _SQUARE))).permute(2, 0, 1)
    assert torch.equal(picture_store.cropped(resized, _SQUARE), reference)


# --- sources ----------------------------------------------------------------------------------------


def test_one_tree_of_class_folders_is_all_train(tmp_path: Path) -> None:
    rows = picture_store.read_rows(Data(source=str(tiny.make_pictures(tmp_path / "tree", {"cat": 3, "dog": 2}))))
    assert list(rows) == ["train"]
    assert rows["train"].labels == ["cat"] * 3 + ["dog"] * 2
    assert {picture.size for picture in rows["train"].inputs} == {(40, 32)}


def test_train_and_val_folders_are_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        tiny.make_pictures(tmp_path / "tree" / split, {"cat": count, "dog": count})
    rows = picture_store.read_rows(Data(source=str(tmp_path / "tree")))
    assert {split: len(found.labels) for split, found in rows.items()} == {"train": 8, "validation": 4}


def test_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    tiny.make_pictures(tmp_path / "tree" / "train", {"cat": 2, "dog": 2})
    tiny.make_pictures(tmp_path / "tree" / "val", {"cat": 2, "fox": 2})
    with pytest.raises(ValueError, match="validation has the class 'fox', which train lacks"):
        picture_store.read_rows(Data(source=str(tmp_path / "tree")))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 2, "dog": 2})
    (tree / "fox").mkdir()
    with pytest.raises(ValueError, match=r"tree: found no valid file for the classes fox$"):
        picture_store.read_rows(Data(source=str(tree)))


def test_a_folder_without_classes_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="couldn't find any class folder in"):
        picture_store.read_rows(Data(source=str(tmp_path / "empty")))
    (tmp_path / "empty" / "val").mkdir()
    with pytest.raises(ValueError, match="has validation but no train folder"):
        picture_store.read_rows(Data(source=str(tmp_path / "empty")))
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match="is a file; pictures are a folder"):
        picture_store.read_rows(Data(source=str(tmp_path / "a.csv")))


def test_one_truncated_picture_in_a_hundred_is_left_out_and_named(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 60, "dog": 60})
    broken = tree / "cat" / "007.png"
    broken.write_bytes(broken.read_bytes()[:500])
    rows = picture_store.read_rows(Data(source=str(tree)))["train"]
    assert rows.skipped == ("cat/007.png",)
    assert len(rows.inputs) == len(rows.labels) == 119
    assert cut_corpus(Data(source=str(tree)), {"train": rows}, 8).skipped == ("cat/007.png",)
    for name in ("001.png", "002.png"):
        (tree / "dog" / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"3 of 120 pictures cannot be read: cat/007\.png, dog/001\.png, dog/002\.png$"
    ):
        picture_store.read_rows(Data(source=str(tree)))


def test_the_digits_are_scikit_learns() -> None:
    rows = picture_store.read_rows(Data(source=picture_store.DIGITS))["train"]
    assert (len(rows.inputs), sorted(set(rows.labels))) == (1797, [str(digit) for digit in range(10)])
    first = np.asarray(picture_store.decode(rows.inputs[0].read()))
    assert rows.labels[0] == "0"
    assert first[0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16


def test_a_data_set_with_a_column_of_pictures(tmp_path: Path) -> None:
    import datasets

    made = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(6)]
    features = datasets.Features({"image": datasets.Image(), "labels": datasets.ClassLabel(names=["cat", "dog"])})
    table = datasets.Dataset.from_dict({"image": made, "labels": [0, 1] * 3}, features=features)
    table.save_to_disk(tmp_path / "saved")
    data = Data(source=str(tmp_path / "saved"), text="image", label="labels")
    rows = picture_store.read_rows(data)["train"]
    assert rows.labels == ["cat", "dog"] * 3
    assert np.asarray(picture_store.decode(rows.inputs[4].read()))[0, 0].tolist() == [4, 0, 0]
    with pytest.raises(ValueError, match="column 'labels' holds no pictures"):
        picture_store.read_rows(Data(source=str(tmp_path / "saved"), text="labels", label="labels"))
    with pytest.raises(ValueError, match="no column 'text'; it has image, labels"):
        picture_store.read_rows(Data(source=str(tmp_path / "saved")))


def test_a_hub_data_set_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[str] = []

    def load(name: str, **_: object) -> None:
        asked.append(name)
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(sources, "_hub_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(sources.NotCachedError, match="data set 'microsoft/cats_vs_dogs' is not cached here"):
        picture_store.read_rows(Data(source="microsoft/cats_vs_dogs", text="image", label="labels"))
    assert asked == ["microsoft/cats_vs_dogs"]


def test_a_link_that_leads_nowhere_is_named_and_left_out(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 100, "dog": 100})
    (tree / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    rows = picture_store.read_rows(Data(source=str(tree)))["train"]
    assert (len(rows.inputs), rows.skipped) == (200, ("cat/gone.png",))


@pytest.mark.parametrize(("train", "test"), [("Train", "Val"), ("training_set", "valid")])
def test_folders_of_slices_by_other_names(tmp_path: Path, train: str, test: str) -> None:
    for name in (train, test):
        tiny.make_pictures(tmp_path / "tree" / name, {"cat": 3, "dog": 3})
    rows = picture_store.read_rows(Data(source=str(tmp_path / "tree")))
    assert {split: sorted(set(found.labels)) for split, found in rows.items()} == {
        "train": ["cat", "dog"],
        "validation": ["cat", "dog"],
    }


def test_two_folders_for_one_slice_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        tiny.make_pictures(tmp_path / "tree" / name, {"cat": 3, "dog": 3})
    with pytest.raises(ValueError, match="two folders for validation: val and valid"):
        picture_store.read_rows(Data(source=str(tmp_path / "tree")))


def test_the_same_picture_twice_is_one_example(tmp_path: Path) -> None:
    tree = tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20})
    (tree / "dog" / "copy.png").write_bytes((tree / "dog" / "000.png").read_bytes())
    data = Data(source=str(tree))
    assert cut_corpus(data, picture_store.read_rows(data), 8).duplicates == 1


# --- kept -------------------------------------------------------------------------------------------


def test_pixels_are_kept_where_a_fifth_of_the_disk_and_half_the_memory_hold_them() -> None:
    pictures = [picture_store.Picture(digest=str(i), name="", read=bytes, size=(80, 40)) for i in range(10)]
    needed = 10 * 3 * 72 * 36
    assert picture_store.pixels_fit(pictures, _SQUARE, 5 * needed, 2 * needed) == (True, needed)
    assert not picture_store.pixels_fit(pictures, _SQUARE, 5 * needed - 5, 1e12)[0]
    assert not picture_store.pixels_fit(pictures, _SQUARE, 1e12, 2 * needed - 2)[0]


def test_what_is_kept_already_is_used_whatever_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a node that has less room than the driver's: the entry has the same name there."""
    from frostline.trainables.image_classification import FAMILY

    tree, model = tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20}), tiny.make_vision_model(tmp_path / "m")
    data = Data(source=str(tree))
    corpus = cut_corpus(data, picture_store.read_rows(data), 8)
    roomy = FAMILY.prepare(model, data, corpus)
    monkeypatch.setattr(picture_store.psutil, "virtual_memory", lambda: SimpleNamespace(total=0))
    assert "decoded and resized once" in FAMILY.remarks(model, data, corpus)[0]
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "node"))
    assert "decoded anew at each look" in FAMILY.remarks(model, data, corpus)[0]
    narrow = FAMILY.prepare(model, data, corpus)
    assert (narrow.name, narrow == roomy) == (roomy.name, False)
    some = np.arange(3)
    seen = [FAMILY.open(entry, "train").batch(some)["pixels"] for entry in (roomy, narrow)]
    assert torch.equal(*seen)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_kept_as_pixels_or_as_bytes_a_picture_is_the_same(tmp_path: Path) -> None:
    data = Data(source=str(tiny.make_pictures(tmp_path / "tree", {"cat": 20, "dog": 20}, (50, 40))))
    corpus = cut_corpus(data, picture_store.read_rows(data), 8)
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
