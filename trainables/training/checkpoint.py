"""A training on disk as safetensors, without the frozen weights: the best weights, and a snapshot to go on from."""

import errno
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frostline.trainables import _atomic


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A training between two steps, complete enough to go on from."""

    tensors: dict[str, Tensor]
    """Trained weights, optimizer state, random state."""
    numbers: dict[str, Any]
    """Counters, learning rates and other values that JSON holds exactly."""


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes, by name: parameters that train, and buffers except those of frozen modules.

    A frozen batch norm is in evaluation mode, so its statistics do not change. A tensor with several names, as the
    embeddings of an encoder and its decoder, has the first of them alone.
    """
    first = {name for named in (model.named_parameters, model.named_buffers) for name, _ in named()}
    frozen = set()
    for prefix, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        names = [name for name, parameter in own if not parameter.requires_grad]
        if own and len(names) == len(own):
            names += [name for name, _ in module.named_buffers(recurse=False)]
        frozen |= {f"{prefix}.{name}" if prefix else name for name in names}
    return {name: tensor for name, tensor in model.state_dict().items() if name in first and name not in frozen}


def save(model: nn.Module, path: Path) -> None:
    """Write `trained_state` to `path`; the file is whole or absent.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    _write(trained_state(model), {}, path)


def load(model: nn.Module, path: Path) -> None:
    """Read a saved state into a model that is frozen at the same depth.

    Raises:
        ValueError: this model trains other tensors at this depth, or the file cannot be read.
    """
    try:
        saved = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    put(model, saved, str(path))


def put(model: nn.Module, saved: dict[str, Tensor], origin: str) -> None:
    """Copy tensors by name into the model.

    Raises:
        ValueError: this model trains other tensors at this depth; the message names `origin`.
    """
    expected = trained_state(model).keys()
    if saved.keys() != expected:
        odd = sorted(saved.keys() ^ expected)
        raise ValueError(f"{origin} does not belong to this model: {len(odd)} tensors differ, first {odd[0]}")
    model.load_state_dict(saved, strict=False)


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot; after an error the file is the one before.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    _write(snapshot.tensors, {"numbers": json.dumps(snapshot.numbers)}, path)


def read(path: Path) -> Snapshot | None:
    """The snapshot in `path`; None if there is no file, or it cannot be read as a snapshot."""
    try:
        with safe_open(path, "pt") as file:
            numbers = json.loads(file.metadata()["numbers"])
            # Copies: tensors that map the file would keep it on disk after a newer one has taken its name.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return Snapshot(tensors=tensors, numbers=numbers)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _write(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    _atomic.make_folder(path.parent)
    aside = _atomic.aside_of(path)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata)
        _atomic.place(aside, path)
    except SafetensorError as error:
        # The library's error holds the system's number, which tells whether the disk is full, in its text only.
        match = re.search(r"os error (\d+)", str(error))
        number = int(match[1]) if match else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        aside.unlink(missing_ok=True)
