"""Blocks, head, transform and source of timm's and torchvision's models."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import timm.models
import torch
import torchvision
from torch import nn

from frostline.trainables.vision import network
from frostline.trainables.vision.network import Transform
from tests import tiny

_RECORD = {"resize": 256, "crop": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}


def _kinds(model: nn.Module) -> list[str]:
    return ["+".join(type(part).__name__ for part in block) for block in network.blocks_of(model)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["Conv2d+BatchNorm2d", *["Sequential"] * 4]),
        ("efficientnet_b0", ["Conv2dNormActivation", *["Sequential"] * 7, "Conv2dNormActivation"]),
        ("convnext_tiny", ["Conv2dNormActivation", *["Sequential"] * 6, "Sequential+LayerNorm2d"]),
        ("vit_b_16", ["Parameter+Conv2d+Parameter", *["EncoderBlock"] * 11, "EncoderBlock+LayerNorm"]),
        ("vgg11", [*["Conv2d"] * 8, "Linear", "Linear"]),
        ("squeezenet1_0", ["Conv2d", *["Fire"] * 8]),
    ],
)
def test_blocks_of_torchvision_follow_the_order_of_the_modules(name: str, expected: list[str]) -> None:
    with torch.device("meta"):
        assert _kinds(torchvision.models.get_model(name, weights=None)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["Conv2d+BatchNorm2d", *["Sequential"] * 4]),
        ("vit_tiny_patch16_224", ["Parameter+Parameter+PatchEmbed", *["Block"] * 11, "Block+LayerNorm"]),
        ("convnext_atto", ["Sequential", *["ConvNeXtStage"] * 3, "ConvNeXtStage+LayerNorm2d"]),
        (
            "tf_efficientnet_lite0",
            ["Conv2dSame+BatchNormAct2d", *["Sequential"] * 6, "Sequential+Conv2d+BatchNormAct2d"],
        ),
    ],
)
def test_blocks_of_timm_are_its_own_groups(name: str, expected: list[str]) -> None:
    assert _kinds(timm.create_model(name)) == expected


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "densenet121", "swin_t", "shufflenet_v2_x0_5", "maxvit_t"]
)
def test_blocks_and_head_share_nothing_and_leave_nothing_out(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    head = {id(p) for p in network.head_of(model)[1].parameters()}
    parts = [part for block in network.blocks_of(model) for part in block]
    below = [p for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])]
    assert len({id(p) for p in below}) == len(below)
    assert {id(p) for p in below} | head == {id(p) for p in model.parameters()}


def test_an_export_of_any_size_is_read_with_the_transform_it_was_written_with(tmp_path: Path) -> None:
    """timm keeps the share of the crop, not the size before it; rounding that down must give the size again."""
    folder, model = tmp_path / "timm", timm.create_model("resnet18", num_classes=2)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    written = network.transform_of(folder)
    for crop, resize in ((64, 73), (48, 59), (94, 115), (224, 224)):
        transform = dataclasses.replace(written, crop=crop, resize=resize)
        network.save(model, folder, transform, ("a", "b"), tmp_path / "out")
        assert network.transform_of(tmp_path / "out") == transform


def test_a_model_with_two_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot tell the head"):
        network.head_of(timm.create_model("deit_tiny_distilled_patch16_224"))


def test_another_size_keeps_the_share_that_is_cut_off() -> None:
    transform = Transform(**_RECORD)
    assert transform.at(None) == transform
    assert (transform.at(64).resize, transform.at(64).crop) == (73, 64)
    assert Transform.of(json.loads(json.dumps({**_RECORD, "squash": False}))) == transform


def test_a_folder_that_is_no_image_classifier_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no readable config\.json"):
        network.build(tmp_path, 2)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="has no architecture"):
        network.build(tmp_path, 2)
    (tmp_path / "config.json").write_text('{"library": "torchvision", "architecture": "resnet18"}')
    with pytest.raises(ValueError, match="does not load as an image classifier"):
        network.build(tmp_path, 2)


def test_weights_that_lack_something_are_named(tmp_path: Path) -> None:
    folder = tiny.make_vision_model(tmp_path / "model", "resnet18")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "resnet34"}))
    with pytest.raises(ValueError, match="weights are missing or not resnet34's, first layer"):
        network.build(folder, 2)


def test_a_model_with_auxiliary_classifiers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"library": "torchvision", "architecture": "googlenet"}')
    with pytest.raises(ValueError, match="auxiliary classifiers"):
        network.build(tmp_path, 2)


def test_layers_that_know_versions_of_themselves_are_loaded(tmp_path: Path) -> None:
    """MNASNet takes weights without one for its first version, with other channels."""
    folder = tiny.make_vision_model(tmp_path / "model", "mnasnet0_5")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    assert torch.equal(network.build(folder, 2).state_dict()["layers.0.weight"], state["layers.0.weight"])


def test_a_head_of_several_layers_is_drawn_anew_as_a_whole() -> None:
    torch.manual_seed(0)
    head = network.head_of(timm.create_model("repvit_m0_9", num_classes=3))[1]
    before = {name: weights.clone() for name, weights in head.named_parameters() if weights.ndim > 1}
    assert len(before) > 1
    network.draw_anew(head)
    assert not any(torch.equal(before[name], weights) for name, weights in head.named_parameters() if name in before)


def test_a_head_that_is_no_one_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw the head of a CrossVit anew: it is a ModuleList"):
        network.head_of(timm.create_model("crossvit_tiny_240"))
    with pytest.raises(ValueError, match="cannot draw the head of a Sequential anew: it is a _Own"):
        network.head_of(nn.Sequential(nn.Linear(2, 2), _Own()))


class _Own(nn.Linear):
    """A layer whose weights nobody knows how to draw."""

    reset_parameters = None  # type: ignore[assignment]

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(2, 2))


def test_timms_groups_where_it_has_none_by_stage() -> None:
    assert len(network.blocks_of(timm.create_model("rdnet_tiny"))) == 8
