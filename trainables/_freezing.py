"""Frozen depth: which parameters train, and which modules run in evaluation mode."""

from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, blocks: Sequence[Sequence[nn.Module]], depth: int) -> None:
    """Fix the first `depth` blocks; everything else trains.

    Raises:
        ValueError: the model has fewer blocks than `depth`.
    """
    if not 0 <= depth <= len(blocks):
        raise ValueError(f"frozen_layers must be 0 to {len(blocks)} for this model, got {depth}")
    model.requires_grad_(True)
    for module in _frozen(blocks, depth):
        module.requires_grad_(False)


def training_mode(model: nn.Module, blocks: Sequence[Sequence[nn.Module]], depth: int) -> None:
    """Training mode for what trains; the frozen blocks stay in evaluation mode.

    There dropout is off and batch-norm statistics stand still: their output is the same function of
    the input in every epoch.
    """
    model.train()
    for module in _frozen(blocks, depth):
        module.eval()


def _frozen(blocks: Sequence[Sequence[nn.Module]], depth: int) -> list[nn.Module]:
    return [module for block in blocks[:depth] for module in block]
