"""Frozen depth: which parameters train, and which modules run in evaluation mode."""

from collections.abc import Sequence

from torch import nn

Block = list[nn.Module | nn.Parameter]
"""Modules in the order in which they run, and parameters that belong to none of them (such as a class token)."""


def freeze(model: nn.Module, blocks: Sequence[Block], depth: int) -> None:
    """Fix the first `depth` blocks; everything else trains.

    Raises:
        ValueError: the model has fewer blocks than `depth`.
    """
    if not 0 <= depth <= len(blocks):
        raise ValueError(f"frozen_layers must be 0 to {len(blocks)} for this model, got {depth}")
    model.requires_grad_(True)
    for part in _frozen(blocks, depth):
        part.requires_grad_(False)


def training_mode(model: nn.Module, blocks: Sequence[Block], depth: int) -> None:
    """Put the model into training mode, and its frozen blocks into evaluation mode.

    Without dropout and with fixed batch-norm statistics, their output is the same function of the input in every epoch.
    """
    model.train()
    for part in _frozen(blocks, depth):
        if isinstance(part, nn.Module):
            part.eval()


def count_trainable(model: nn.Module) -> int:
    """Number of parameters that an optimizer would change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _frozen(blocks: Sequence[Block], depth: int) -> Block:
    return [part for block in blocks[:depth] for part in block]
