"""What training changed, on disk: a safetensors file without the frozen weights."""

import os
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that train and all buffers, by name."""
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name for name, _ in model.named_parameters()} - trains
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def save(model: nn.Module, path: Path) -> None:
    """Write `trained_state` to `path`; the file is whole or absent.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({name: tensor.contiguous() for name, tensor in trained_state(model).items()}, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(model: nn.Module, path: Path) -> None:
    """Put a saved state back into a model frozen at the same depth.

    Raises:
        ValueError: the file holds other tensors than this model at this depth trains.
    """
    saved, expected = load_file(path), trained_state(model).keys()
    if saved.keys() != expected:
        odd = sorted(saved.keys() ^ expected)
        raise ValueError(f"{path} does not belong to this model: {len(odd)} tensors differ, first {odd[0]}")
    model.load_state_dict(saved, strict=False)
