"""Image classifiers of timm and torchvision as folders: their weights and their transform.

A folder has `config.json` and `model.safetensors`. timm's is as timm itself writes and loads it; a torchvision
model's gives the name by which torchvision builds it.
"""

import json
import math
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import timm
import timm.data
import timm.models
import torch
import torchvision
from safetensors import SafetensorError
from torch import Tensor, nn

from frostline.trainables._errors import first_line
from frostline.trainables.vision.blocks import head_of
from frostline.trainables.vision.transform import Transform


def config_of(folder: Path) -> dict[str, Any]:
    """A model folder's `config.json`.

    Raises:
        ValueError: not an image classifier of timm or torchvision.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} has no readable config.json: {first_line(error)}") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ValueError(f"{folder} is not an image classifier of timm or torchvision: config.json has no architecture")
    return cast(dict[str, Any], config)


def transform_of(folder: Path) -> Transform:
    """The transform that a folder's weights were trained with.

    Raises:
        ValueError: not an image classifier, or a crop mode that is not known here.
    """
    config = config_of(folder)
    if config.get("library") == "torchvision":
        return Transform.of(config["transform"])
    data_config = timm.data.resolve_data_config({}, pretrained_cfg=config.get("pretrained_cfg", {}))
    if data_config["crop_mode"] not in {"center", "squash"}:
        raise ValueError(f"{folder}: crop mode {data_config['crop_mode']!r} is not known here, only center and squash")
    crop = int(data_config["input_size"][1])
    return Transform(
        resize=math.floor(crop / data_config["crop_pct"]),
        crop=crop,
        mean=tuple(data_config["mean"]),
        std=tuple(data_config["std"]),
        interpolation=data_config["interpolation"],
        squash=data_config["crop_mode"] == "squash",
    )


def build(folder: Path, classes: int) -> nn.Module:
    """The pretrained model with a new head for `classes` classes, float32, channels last.

    Raises:
        ValueError: an architecture that is not known, weights that are not this model's, or a model that trains
            with auxiliary classifiers.
    """
    config = config_of(folder)
    try:
        if config.get("library") == "torchvision":
            model = _build_torchvision(folder, config["architecture"], classes)
        else:
            model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=classes)
    except (RuntimeError, KeyError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{folder} does not load as an image classifier: {first_line(error)}") from error
    return cast(nn.Module, model.float().to(memory_format=torch.channels_last))


def _build_torchvision(folder: Path, name: str, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    if getattr(model, "aux_logits", False):
        raise ValueError("it trains with auxiliary classifiers, which are not supported")
    own, prefix = model.state_dict(), f"{head_of(model)[0]}."
    state = OrderedDict(safetensors.torch.load_file(folder / "model.safetensors"))
    state._metadata = own._metadata  # type: ignore[attr-defined]  # versions of the layers (MNASNet); no file holds them
    for key in [key for key in state if key.startswith(prefix) and state[key].shape != own[key].shape]:
        del state[key]  # a head for another number of classes stays as drawn
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [*(key for key in missing if not key.startswith(prefix)), *unexpected]
    if wrong:
        raise ValueError(f"{len(wrong)} weights are missing or not {name}'s, first {min(wrong)}")
    return model


def save(model: nn.Module, folder: Path, transform: Transform, classes: tuple[str, ...], out: Path) -> None:
    """Write a fine-tuned model for the loader of its library, with its transform and class names.

    Args:
        model: a model that `build` returned.
        folder: the folder it was built from.
        transform: the transform it was trained with.
        classes: names of the classes, in the order of the scores.
        out: the folder to write to.
    """
    config = config_of(folder)
    out.mkdir(parents=True, exist_ok=True)
    if config.get("library") == "torchvision":
        write_torchvision(out, config["architecture"], model.state_dict(), transform, list(classes))
        return
    model.to(memory_format=torch.contiguous_format)  # files hold no other
    timm.models.save_for_hf(
        model,
        out,
        safe_serialization=True,
        model_config={"num_classes": len(classes), "label_names": list(classes)},
        data_config={
            "input_size": (3, transform.crop, transform.crop),
            "mean": transform.mean,
            "std": transform.std,
            "interpolation": transform.interpolation,
            # Readers divide and round down; with the exact quotient they may lose one pixel.
            "crop_pct": transform.crop / (transform.resize + 0.5),
            "crop_mode": "squash" if transform.squash else "center",
        },
    )
    model.to(memory_format=torch.channels_last)


def write_torchvision(
    folder: Path, name: str, state: dict[str, Tensor], transform: Transform, classes: list[str]
) -> None:
    """Write the folder of a torchvision model: weights as safetensors, and a `config.json` with name and transform."""
    config = {"library": "torchvision", "architecture": name, "transform": asdict(transform), "label_names": classes}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
