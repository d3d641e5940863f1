"""Odd model folders: each is refused in one line that names it, or trains; nothing of it is run or unpickled."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch

from frostline.spaces import Data
from frostline.trainables import _family
from frostline.trainables.data.corpus import Corpus
from tests import tiny
from tests.trainables import odd_models
from tests.trainables.odd_models import OF_ANY_FAMILY, OF_TEXT, OF_TIMM, OF_TORCHVISION, STILL_TRAINS, Change

TEXT, PICTURES = "text_classification", "image_classification"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Data, Corpus]]:
    """A folder that trains, with data, of each kind."""
    texts, pictures = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("pictures")
    text, of_text = tiny.make_text_classification(texts)
    torchvision, of_pictures = tiny.make_image_classification(pictures)
    args = {"depth": 2, "img_size": 32, "embed_dim": 24, "num_heads": 3}
    torch.manual_seed(7)
    vit = timm.create_model("vit_tiny_patch16_224", **args)
    timm.models.save_for_hf(vit, pictures / "vit", safe_serialization=True, model_args=args)
    corpora = tiny.corpus(of_text), tiny.corpus(of_pictures, read=_family.load(PICTURES).read_rows)
    return {
        "text": (text, of_text, corpora[0]),
        "timm": (pictures / "vit", of_pictures, corpora[1]),
        "torchvision": (torchvision, of_pictures, corpora[1]),
    }


def plan(family: str, source: str, data: Data, corpus: Corpus) -> int:
    """Everything that planning and the first slot do with a model; returns the tokens of the longest example."""
    own = _family.load(family)
    folder = own.model_folder(source)
    info = own.describe(folder)
    if info.max_length is not None:
        data = dataclasses.replace(data, max_length=min(data.max_length, info.max_length))
    own.inputs(folder, data)
    own.remarks(folder, data, corpus)
    return own.open(own.prepare(folder, data, corpus), "train").longest


def cases(kind: str, own: Mapping[str, Change]) -> list[object]:
    return [pytest.param(kind, change, name, id=f"{kind}: {name}") for name, change in (OF_ANY_FAMILY | own).items()]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("kind", "change", "name"),
    [*cases("text", OF_TEXT), *cases("timm", OF_TIMM), *cases("torchvision", OF_TORCHVISION)],
)
def test_an_odd_model_folder_is_refused_in_one_line(
    good: dict[str, tuple[Path, Data, Corpus]],
    kind: str,
    change: Change,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model, data, corpus = good[kind]
    folder = tmp_path / "models" / "odd"
    shutil.copytree(model, folder)
    change(folder)
    capfd.readouterr()
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    family = TEXT if kind == "text" else PICTURES
    if name in STILL_TRAINS:
        assert plan(family, str(folder), data, corpus) > 0
        return
    with pytest.raises(ValueError, match=r"^.+$") as refused:  # a dot matches no line break
        plan(family, str(folder), data, corpus)
    assert str(folder) in str(refused.value) or "max_length must be at least" in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_more_than_a_hundred_odd_folders_are_tried() -> None:
    assert len(OF_ANY_FAMILY | OF_TEXT) + len(OF_ANY_FAMILY | OF_TIMM) + len(OF_ANY_FAMILY | OF_TORCHVISION) > 100


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", ["text", "timm", "torchvision"])
def test_the_pickle_beside_the_weights_is_never_read(
    good: dict[str, tuple[Path, Data, Corpus]], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded is what is hashed: the safetensors file, whatever else lies beside it."""
    family = _family.load(TEXT if kind == "text" else PICTURES)
    model, *_ = good[kind]
    folder = shutil.copytree(model, tmp_path / "model")
    for name in ("pytorch_model.bin", "model.pth", "open_clip_pytorch_model.bin", "model.pt"):
        torch.save({key: torch.zeros(3) for key in family.build(model, 2).state_dict()}, folder / name)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    expected, weights = family.build(model, 2).state_dict(), family.build(folder, 2).state_dict()
    drawn = {name for name in weights if not torch.equal(weights[name], expected[name])}
    assert len(drawn) <= 2, "only the new head differs"


@pytest.mark.usefixtures("cache")
def test_weights_in_several_files_load_as_in_one(good: dict[str, tuple[Path, Data, Corpus]], tmp_path: Path) -> None:
    family, (model, *_) = _family.load(TEXT), good["text"]
    folder = shutil.copytree(model, tmp_path / "model")
    odd_models.in_shards(folder)
    expected, weights = family.build(model, 2).state_dict(), family.build(folder, 2).state_dict()
    assert len([name for name in weights if not torch.equal(weights[name], expected[name])]) <= 2, "but for the head"
