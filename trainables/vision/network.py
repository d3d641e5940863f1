"""Image classifiers of timm and torchvision as folders: their transform, blocks and head.

A folder has `config.json` and `model.safetensors`. timm's is as timm itself writes and loads it; a torchvision
model's says the name that torchvision builds it by.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import timm
import timm.data
import timm.models
import torch
import torchvision
from safetensors import SafetensorError
from timm.models import _manipulate
from torch import Tensor, nn

from frostline.trainables._freezing import Block


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """How a picture becomes what a model was trained on, as its weights' own record says."""

    resize: int
    """Pixels that the shorter side is resized to; of both sides where `squash`."""
    crop: int
    """Pixels of each side of the square cut from the middle."""
    mean: tuple[float, ...]
    """Of each channel, on a scale from 0 to 1."""
    std: tuple[float, ...]
    interpolation: str
    """As torchvision's `InterpolationMode` has it."""
    squash: bool = False
    """Whether the sides' ratio is given up."""

    def at(self, size: int | None) -> "Transform":
        """The same for another size of the crop; None leaves it."""
        if size is None or size == self.crop:
            return self
        # timm's rule: what is cut off keeps its share, rounded down.
        values = {**asdict(self), "resize": math.floor(size * self.resize / self.crop), "crop": size}
        return Transform(**values)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Transform":
        """Inverse of `dataclasses.asdict`, also where JSON was in between."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


# --- what a folder holds ----------------------------------------------------------------------------


def config_of(folder: Path) -> dict[str, Any]:
    """A model folder's `config.json`.

    Raises:
        ValueError: not an image classifier of timm or torchvision.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} has no readable config.json: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ValueError(f"{folder} is not an image classifier of timm or torchvision: config.json has no architecture")
    return cast(dict[str, Any], config)


def transform_of(folder: Path) -> Transform:
    """The transform that a folder's weights were trained with."""
    config = config_of(folder)
    if config.get("library") == "torchvision":
        return Transform.of(config["transform"])
    found = timm.data.resolve_data_config({}, pretrained_cfg=config.get("pretrained_cfg", {}))
    if found["crop_mode"] not in {"center", "squash"}:
        raise ValueError(f"{folder}: crop mode {found['crop_mode']!r} is not known here, only center and squash")
    crop = int(found["input_size"][1])
    return Transform(
        resize=math.floor(crop / found["crop_pct"]),
        crop=crop,
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        interpolation=found["interpolation"],
        squash=found["crop_mode"] == "squash",
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
        raise ValueError(f"{folder} does not load as an image classifier: {str(error).splitlines()[0]}") from error
    return cast(nn.Module, model.float().to(memory_format=torch.channels_last))


def _build_torchvision(folder: Path, name: str, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    if getattr(model, "aux_logits", False):
        raise ValueError("it trains with auxiliary classifiers, which are not supported")
    own, prefix = model.state_dict(), f"{head_of(model)[0]}."
    state = OrderedDict(safetensors.torch.load_file(folder / "model.safetensors"))
    state._metadata = own._metadata  # type: ignore[attr-defined]  # versions of the layers (MNASNet), which no file has
    for key in [key for key in state if key.startswith(prefix) and state[key].shape != own[key].shape]:
        del state[key]  # a head for another number of classes is drawn anew
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [*(key for key in missing if not key.startswith(prefix)), *unexpected]
    if wrong:
        raise ValueError(f"{len(wrong)} weights are missing or not {name}'s, first {min(wrong)}")
    return model


def save(model: nn.Module, folder: Path, transform: Transform, classes: tuple[str, ...], out: Path) -> None:
    """Write a fine-tuned model as its library loads it, its transform and class names beside it.

    Args:
        model: as `build` made it.
        folder: that it was built from.
        transform: that it was trained with.
        classes: names, in the order of the scores.
        out: folder to write to.
    """
    config = config_of(folder)
    out.mkdir(parents=True, exist_ok=True)
    if config.get("library") == "torchvision":
        write_torchvision(out, config["architecture"], model.state_dict(), transform, list(classes))
        return
    model.to(memory_format=torch.contiguous_format)  # a file has no other
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
            # Whoever reads it rounds down; of the quotient itself rounding may take one pixel too many.
            "crop_pct": transform.crop / (transform.resize + 0.5),
            "crop_mode": "squash" if transform.squash else "center",
        },
    )
    model.to(memory_format=torch.channels_last)


def write_torchvision(
    folder: Path, name: str, state: dict[str, Tensor], transform: Transform, classes: list[str]
) -> None:
    """Write the folder of a torchvision model: weights as safetensors, what it is and its transform beside them."""
    config = {"library": "torchvision", "architecture": name, "transform": asdict(transform), "label_names": classes}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


# --- head and blocks --------------------------------------------------------------------------------


def head_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the layer that scores the classes: timm knows; else it is the last one with weights.

    Raises:
        ValueError: there is none, more than one, or one with weights that cannot be drawn anew.
    """
    if hasattr(model, "get_classifier"):
        head = model.get_classifier()
        named = [(name, module) for name, module in model.named_modules() if module is head]
    else:
        named = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1:]
    if len(named) != 1 or not any(True for _ in named[0][1].parameters()):
        raise ValueError(f"cannot tell the head of a {type(model).__name__}")
    name, head = named[0]
    drawn = {id(p) for module in head.modules() if _draws(module) for p in module.parameters(recurse=False)}
    if isinstance(head, nn.ModuleList) or not all(id(p) in drawn for p in head.parameters()):
        raise ValueError(f"cannot draw the head of a {type(model).__name__} anew: it is a {type(head).__name__}")
    return name, head


def draw_anew(head: nn.Module) -> None:
    """Fresh weights for a head, from torch's random state, each layer's in its own way."""
    for module in head.modules():
        if _draws(module):
            module.reset_parameters()  # type: ignore[operator]


def _draws(module: nn.Module) -> bool:
    return callable(getattr(module, "reset_parameters", None))


def blocks_of(model: nn.Module) -> list[Block]:
    """The blocks from the input on: timm's own groups of layers (stages), else by the order of the modules.

    Raises:
        ValueError: fewer than two.
    """
    found = _timm_blocks(model) if hasattr(model, "group_matcher") else _blocks_in_order(model)
    weights = [id(p) for block in found for part in block for p in _weights(part)]
    if len(found) < 2 or len(set(weights)) < len(weights):
        raise ValueError(f"cannot tell the blocks of a {type(model).__name__}")
    return found


def _weights(part: nn.Module | nn.Parameter) -> Iterator[nn.Parameter]:
    return part.parameters() if isinstance(part, nn.Module) else iter([part])


def _timm_blocks(model: nn.Module) -> list[Block]:
    """Of each of timm's groups the largest modules that lie in it whole, and parameters that no module owns."""
    try:
        groups = _manipulate.group_parameters(model, model.group_matcher(coarse=True), reverse=True)  # type: ignore[operator]
    except AssertionError:  # RDNet's knows single layers only
        return _blocks_in_order(model)
    head = f"{head_of(model)[0]}."
    group_of = {name: group for name, group in groups.items() if not name.startswith(head)}
    found: dict[int, Block] = {}

    def visit(module: nn.Module, prefix: str) -> None:
        below = [name for name in groups if name.startswith(prefix)]
        inside = {group_of.get(name) for name in below}
        if len(inside) == 1 and None not in inside and prefix:
            found.setdefault(group_of[below[0]], []).append(module)
        elif below:
            for name, parameter in module.named_parameters(recurse=False):
                if prefix + name in group_of:
                    found.setdefault(group_of[prefix + name], []).append(parameter)
            for name, child in module.named_children():
                visit(child, f"{prefix}{name}.")

    visit(model, "")
    return _joined([found[group] for group in sorted(found)])


def _blocks_in_order(model: nn.Module) -> list[Block]:
    """The children of the trunk, which is found by going down as long as one child holds nearly all that is no head.

    What stands before or after the trunk is a unit, too.
    """
    head = head_of(model)[1]
    inside = {id(module) for module in head.modules()}

    def units(module: nn.Module) -> Iterator[nn.Module | nn.Parameter]:
        yield from module.parameters(recurse=False)
        sized = [(child, size) for child in module.children() if (size := _size(child, head))]
        to_head = [child for child, _ in sized if any(id(part) in inside for part in child.modules())]
        rest = sum(size for child, size in sized if child not in to_head)
        for child, size in sized:
            trunk = size > _TRUNK * rest and len(list(child.children())) > 1
            if child in to_head or trunk:
                yield from units(child)
            else:
                yield child

    return _joined([[unit] for unit in units(model)])


_TRUNK = 0.8
"""Share of the parameters that makes a module the trunk. A last stage may hold two thirds (ResNet-50)."""


def _size(module: nn.Module, head: nn.Module) -> int:
    skip = {id(parameter) for parameter in head.parameters()}
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in skip)


def _joined(units: list[Block]) -> list[Block]:
    """Norms and single parameters are no blocks of their own: they join the one before, the first ones the next."""
    joined: list[Block] = []
    waiting: Block = []
    for unit in units:
        if not all(isinstance(part, nn.Parameter) or _is_norm(part) for part in unit):
            joined.append([*waiting, *unit])
            waiting = []
        elif joined:
            joined[-1] += unit
        else:
            waiting += unit
    return joined


def _is_norm(module: nn.Module) -> bool:
    return all(parameter.ndim <= 1 for parameter in module.parameters())
