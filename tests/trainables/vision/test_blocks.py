"""Blocks and head of timm's and torchvision's models."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from frostline.trainables.vision.blocks import blocks_of, draw_again, head_of


def _kinds(model: nn.Module) -> list[str]:
    return ["+".join(type(part).__name__ for part in block) for block in blocks_of(model)]


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
    head = {id(p) for p in head_of(model)[1].parameters()}
    parts = [part for block in blocks_of(model) for part in block]
    below = [p for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])]
    assert len({id(p) for p in below}) == len(below)
    assert {id(p) for p in below} | head == {id(p) for p in model.parameters()}


def test_a_model_with_two_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot tell the head"):
        head_of(timm.create_model("deit_tiny_distilled_patch16_224"))


def test_a_head_of_several_layers_is_drawn_again_as_a_whole() -> None:
    torch.manual_seed(0)
    head = head_of(timm.create_model("repvit_m0_9", num_classes=3))[1]
    before = {name: weights.clone() for name, weights in head.named_parameters() if weights.ndim > 1}
    assert len(before) > 1
    draw_again(head)
    assert not any(torch.equal(before[name], weights) for name, weights in head.named_parameters() if name in before)


def test_a_head_that_cannot_be_drawn_again_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw the head of a CrossVit again: it is a ModuleList"):
        head_of(timm.create_model("crossvit_tiny_240"))
    with pytest.raises(ValueError, match="cannot draw the head of a Sequential again: it is a _Own"):
        head_of(nn.Sequential(nn.Linear(2, 2), _Own()))


class _Own(nn.Linear):
    """A layer whose weights nobody knows how to draw."""

    reset_parameters = None  # type: ignore[assignment]

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(2, 2))


def test_blocks_of_a_timm_model_without_groups_by_stage() -> None:
    assert len(blocks_of(timm.create_model("rdnet_tiny"))) == 8
