"""Image classifiers of timm, torchvision and transformers as folders: their weights and their transform.

A folder has `config.json` and `model.safetensors`. timm's and transformers' are as these libraries write and load them;
a torchvision model's gives the name by which torchvision builds it.
"""

import json
import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import timm
import timm.data
import timm.models
import torch
import torchvision
from torch import Tensor, nn

from frostline.trainables._modules import size_limit
from frostline.trainables.data import model_files
from frostline.trainables.data.model_files import Weights
from frostline.trainables.vision import transformers_network
from frostline.trainables.vision.blocks import head_of
from frostline.trainables.vision.transform import Transform


def config_of(folder: Path) -> dict[str, Any]:
    """A model folder's `config.json`.

    Raises:
        ValueError: not an image classifier of timm, torchvision or transformers.
    """
    with model_files.loading(folder, "has no readable config.json"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config if isinstance(config, dict) else {}
    if not ("architecture" in config or transformers_network.describes(config)):
        raise ValueError(
            f"{folder} is not an image classifier of timm, torchvision or transformers: config.json has no architecture"
            + (f", and its model_type is {config['model_type']!r}" if "model_type" in config else "")
        )
    return cast(dict[str, Any], config)


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes of an export, in the order of the scores.

    Raises:
        ValueError: the folder holds no export.
    """
    config = config_of(folder)
    with model_files.loading(folder, "does not name its classes"):
        if transformers_network.describes(config):
            return tuple(transformers_network.class_names(config))
        return tuple(config["label_names"])


def transform_of(folder: Path) -> Transform:
    """The transform that a folder's weights were trained with.

    Raises:
        ValueError: not an image classifier, or a crop mode that is not known here.
    """
    config = config_of(folder)
    if transformers_network.describes(config):
        with model_files.loading(folder, "has no image processor that can be used here"):
            return transformers_network.transform_of(folder, int(config.get("num_channels") or 3))
    with model_files.loading(folder, "has no readable transform in its config.json"):
        if config.get("library") == "torchvision":
            return Transform.of(config["transform"])
        data_config = timm.data.resolve_data_config({}, pretrained_cfg=config.get("pretrained_cfg", {}))
        if data_config["crop_mode"] not in {"center", "squash"}:
            raise ValueError(f"crop mode {data_config['crop_mode']!r} is not known here, only center and squash")
        crop, channels = int(data_config["input_size"][1]), _channels(config)
        return Transform(
            resize=math.floor(crop / data_config["crop_pct"]),
            crop=crop,
            mean=_for_each(channels, data_config["mean"]),
            std=_for_each(channels, data_config["std"]),
            interpolation=data_config["interpolation"],
            squash=data_config["crop_mode"] == "squash",
        )


def _channels(config: dict[str, Any]) -> int:
    """Channels of a picture as a model of timm takes it."""
    in_chans = (config.get("model_args") or {}).get("in_chans")
    return int(in_chans or (config.get("pretrained_cfg") or {}).get("input_size", (3,))[0])


def _for_each(channels: int, values: Sequence[float]) -> tuple[float, ...]:
    """Means or deviations for a model of `channels` channels; timm's record has those of three, and is kept then."""
    if len(values) != 3 or channels == 3:
        return tuple(values)
    middle = sum(values) / len(values)
    return (middle,) if channels == 1 else (*values, *[middle] * (channels - len(values)))


def build(folder: Path, classes: int) -> nn.Module:
    """The pretrained model with a new head for `classes` classes, float32, channels last.

    Raises:
        ValueError: an architecture that is not known, weights that are not this model's, or a model that trains
            with auxiliary classifiers.
    """
    problem = "does not load as an image classifier"
    config, weights = config_of(folder), model_files.weights_in(folder, problem)
    with model_files.loading(folder, problem), size_limit(weights.tensors, weights.values):
        model_files.check_depth(folder, weights)
        if transformers_network.describes(config):
            model = transformers_network.build(folder, weights, classes)
        elif config.get("library") == "torchvision":
            model = _build_torchvision(weights, config["architecture"], classes)
        else:
            model = _build_timm(folder, weights, classes)
    return cast(nn.Module, model.float().to(memory_format=torch.channels_last))


def _build_timm(folder: Path, weights: Weights, classes: int | None) -> nn.Module:
    if len(weights.files) > 1:
        raise ValueError(f"its weights are in {len(weights.files)} files, and timm reads one")
    # timm would take another file of the folder first, a pickle too, and follow what config.json says of its weights.
    own = {
        "source": "",
        "file": str(weights.files[0]),
        "state_dict": None,
        "url": "",
        "hf_hub_id": None,
        "custom_load": False,
    }
    model: nn.Module = timm.create_model(
        f"local-dir:{folder}", pretrained=True, num_classes=classes, pretrained_cfg_overlay=own
    )
    return model


def check_weights(folder: Path) -> None:
    """Check that the files hold all weights of their own model, head included. With a new head timm does not check.

    Raises:
        ValueError: some are missing, or are not this model's.
    """
    config = config_of(folder)
    if config.get("library") != "torchvision" and not transformers_network.describes(config):
        weights = model_files.weights_in(folder)
        with model_files.loading(folder, "does not load as an image classifier"):
            _build_timm(folder, weights, None)


def names() -> list[str]:
    """Names of torchvision's image classifiers."""
    return [str(name) for name in torchvision.models.list_models(module=torchvision.models)]


def _build_torchvision(weights: Weights, name: str, classes: int) -> nn.Module:
    if name not in names():  # other tasks' models download a part of their weights
        raise ValueError(f"torchvision has no image classifier {name!r}")
    with warnings.catch_warnings(action="ignore"):
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    if getattr(model, "aux_logits", False):
        raise ValueError("it trains with auxiliary classifiers, which are not supported")
    own, prefix = model.state_dict(), f"{head_of(model)[0]}."
    state = OrderedDict(weights.load())
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
    if transformers_network.describes(config):
        transformers_network.save(model, folder, transform, classes, out)
        model.to(memory_format=torch.channels_last)
        return
    args = {name: value for name, value in (config.get("model_args") or {}).items() if name != "num_classes"}
    timm.models.save_for_hf(
        model,
        out,
        safe_serialization=True,
        model_config={"num_classes": len(classes), "label_names": list(classes)},
        model_args=args,
        data_config={
            "input_size": (len(transform.mean), transform.crop, transform.crop),
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
