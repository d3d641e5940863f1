"""Folders of timm's and torchvision's models: weights and transform."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import timm.models
import torch

from frostline.trainables.vision import network
from frostline.trainables.vision.transform import Transform
from tests import tiny

_RECORD = {"resize": 256, "crop": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}


def test_an_export_of_any_size_is_read_with_the_transform_it_was_written_with(tmp_path: Path) -> None:
    """timm keeps the share of the crop, not the size before it; rounding that down must give the size again."""
    folder, model = tmp_path / "timm", timm.create_model("resnet18", num_classes=2)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    written = network.transform_of(folder)
    for crop, resize in ((64, 73), (48, 59), (94, 115), (224, 224)):
        transform = dataclasses.replace(written, crop=crop, resize=resize)
        network.save(model, folder, transform, ("a", "b"), tmp_path / "out")
        assert network.transform_of(tmp_path / "out") == transform


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
    with pytest.raises(ValueError, match=r"no \*\.safetensors weights"):
        network.build(tmp_path, 2)
    safetensors.torch.save_file({}, tmp_path / "model.safetensors")
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
    safetensors.torch.save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="auxiliary classifiers"):
        network.build(tmp_path, 2)


def test_layers_that_know_versions_of_themselves_are_loaded(tmp_path: Path) -> None:
    """MNASNet takes weights without one for its first version, with other channels."""
    folder = tiny.make_vision_model(tmp_path / "model", "mnasnet0_5")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    assert torch.equal(network.build(folder, 2).state_dict()["layers.0.weight"], state["layers.0.weight"])
