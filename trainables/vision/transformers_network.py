"""Image classifiers of transformers as folders: weights, blocks, and the transform that an image processor makes.

A processor's fields mean something else in almost every class. So the transform is found by trying: what the processor
does to pictures of one colour tells mean, standard deviation and the order of the channels, and of the ways to resize
and cut that its fields allow, the one is taken that gives the same pixels.
"""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoImageProcessor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
)

from frostline.trainables._modules import size_limit
from frostline.trainables._transformers import quiet, with_new_head
from frostline.trainables.data.model_files import Weights
from frostline.trainables.vision.pictures import cropped, resized
from frostline.trainables.vision.transform import Transform

PROCESSOR = "preprocessor_config.json"
"""The file of an image processor."""

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's number of a filter, which processors keep -> torchvision's name."""

_NEAR = 0.03
"""Largest mean difference, on a scale from 0 to 1, between a processor's picture and the same one made here."""


def describes(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is that of an image classifier of transformers."""
    return "architecture" not in config and config.get("model_type") in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES


def build(folder: Path, weights: Weights, classes: int) -> nn.Module:
    """The pretrained model with a new head for `classes` classes, float32.

    Raises:
        ValueError: no image classifier, or weights of its body are missing.
        Exception: whatever transformers raises at a damaged folder.
    """
    quiet()
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, num_labels=classes)
    kind = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    # Those with a second head for distillation come second; without that head the same weights are a usual classifier.
    kind = kind[0] if isinstance(kind, tuple) else kind
    if kind.main_input_name != "pixel_values":
        raise ValueError(f"a {config.model_type} takes {kind.main_input_name}, not pictures")
    config.problem_type = "single_label_classification"
    with size_limit(weights.tensors, weights.values):
        model, info = with_new_head(kind, config, weights.load())
    outside = _outside_of_body(model)
    heads = [name for name, module in outside.items() if getattr(module, "out_features", None) == classes]
    if len(heads) != 1:
        raise ValueError(f"a {config.model_type} has {len(heads)} heads; one is needed")
    absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    head, others = heads[0].split(".")[0], tuple(f"{name}." for name in outside)
    if body := [key for key in absent if not key.startswith((f"{head}.", *others)) and ".pooler." not in key]:
        raise ValueError(f"it lacks {len(body)} weights of the model's body, first {min(body)}")
    return cast(nn.Module, model)


def _outside_of_body(model: Any) -> dict[str, nn.Module]:
    """Modules by name that do not lie in the model without a head; all where the two are one."""
    body = model.base_model
    inside = {id(model)} if body is model else {id(model), *map(id, body.modules())}
    return {name: module for name, module in model.named_modules() if id(module) not in inside}


# --- the transform ---------------------------------------------------------------------------------


def transform_of(folder: Path, channels: int) -> Transform:
    """The transform of the image processor in a model folder.

    Args:
        folder: the model folder.
        channels: channels of a picture as the model takes it.

    Raises:
        ValueError: it has none, or one whose pictures cannot be made here.
    """
    if not (folder / PROCESSOR).is_file():
        advice = "AutoImageProcessor.from_pretrained(NAME).save_pretrained(FOLDER)"
        raise ValueError(f"it has no {PROCESSOR}; write it there with {advice}")
    return _transform(folder, (folder / PROCESSOR).read_text(encoding="utf-8"), channels)


@functools.lru_cache(maxsize=16)
def _transform(folder: Path, _text: str, channels: int) -> Transform:
    """`_text`: content of the processor's file, so that another one is read again."""
    processor = _processor(folder)
    dark, light = (_seen(processor, np.full((64, 64, channels), value, np.uint8)) for value in (0, 255))
    crop = dark.shape[1]
    if dark.shape[2] != crop:
        raise ValueError(f"its pictures are {dark.shape[2]} x {crop} pixels, and only square ones are known here")
    low, high = dark.mean((1, 2)), light.mean((1, 2))
    first = np.zeros((64, 64, channels), np.uint8)
    first[..., 0] = 255
    is_reversed = channels > 1 and bool(_seen(processor, first)[-1].mean() > low[-1] + 1e-3)
    std = 1 / (high - low)
    fields = {
        "crop": crop,
        "mean": tuple(round(float(value), 6) + 0.0 for value in -low * std),
        "std": tuple(round(float(value), 6) for value in std),
        "interpolation": _FILTERS[int(processor.resample)],
        "is_reversed": is_reversed,
        "rounds_down": True,
    }
    chosen = min(_allowed(processor, crop, fields), key=functools.partial(_distance, processor, channels))
    if _distance(processor, channels, chosen) > _NEAR:
        raise ValueError(f"what a {type(processor).__name__} does to a picture is not known here")
    return chosen


def _allowed(processor: Any, crop: int, fields: dict[str, Any]) -> Iterator[Transform]:
    """The ways to resize and cut that the fields of a processor may mean."""
    size = processor.size or {}
    edge = size.get("shortest_edge") or size.get("height") or crop
    share = getattr(processor, "crop_pct", None) or 1.0
    sizes = {crop, edge, int(edge / share), int(edge * 256 / 224)}  # the last one is LeViT's
    for squash, resize in itertools.product((True, False), sorted(size for size in sizes if size >= crop)):
        yield Transform(resize=resize, squash=squash, **fields)


def _distance(processor: Any, channels: int, transform: Transform) -> float:
    """Mean difference between a picture as the processor makes it and as the transform does, on a scale of 0 to 1."""
    total, draw = 0.0, np.random.default_rng(0)
    for width, height in ((331, 200), (210, 340)):
        coarse = draw.integers(0, 256, (height // 10, width // 10, channels), dtype=np.uint8)
        image = _image(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).reshape(height, width, channels)
        own = np.array(resized(image, transform))
        view = (
            cropped(torch.from_numpy(own.reshape(*own.shape[:2], channels)).permute(2, 0, 1), transform).numpy() / 255
        )
        if transform.is_reversed:
            view = view[::-1]
        mean, std = (np.array(values)[:, None, None] for values in (transform.mean, transform.std))
        total += float(np.abs(view - _seen(processor, pixels) * std - mean).mean()) / 2
    return total


def _processor(folder: Path) -> Any:
    return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _seen(processor: Any, pixels: Any) -> Any:
    """A picture as a model sees it: float32 [channels, height, width], from uint8 [height, width, channels]."""
    return np.asarray(processor(images=_image(pixels), return_tensors="np")["pixel_values"][0])


def _image(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])


# --- the export ------------------------------------------------------------------------------------


def save(model: Any, folder: Path, transform: Transform, classes: tuple[str, ...], out: Path) -> None:
    """Write a fine-tuned model and its image processor as transformers loads them.

    Args:
        model: a model that `build` returned.
        folder: the folder it was built from.
        transform: the transform it was trained with.
        classes: names of the classes, in the order of the scores.
        out: the folder to write to.
    """
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {name: number for number, name in enumerate(classes)}
    model.save_pretrained(out)
    processor, own = _processor(folder), transform_of(folder, len(transform.mean)).crop
    if own != transform.crop:
        for name in ("size", "crop_size"):
            if sizes := getattr(processor, name, None):
                setattr(
                    processor, name, {key: value * transform.crop // own for key, value in dict(sizes).items() if value}
                )
    processor.save_pretrained(out)


def class_names(config: dict[str, Any]) -> list[str]:
    """The classes of an export, in the order of the scores."""
    return [name for _, name in sorted(config["id2label"].items(), key=lambda item: int(item[0]))]
