"""The optimizer and its schedule."""

from typing import Any

import torch
import transformers
from torch import nn

from frostline.spaces import Recipe


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What trains, in two groups: matrices with weight decay; biases and norms (one dimension) without."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build(
    model: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW over what trains; its learning rate rises linearly over the warm-up and falls linearly to 0.

    The schedule depends on the whole length of the trial, never on when the trial is stopped.

    Args:
        model: frozen already.
        recipe: learning rate, weight decay, warm-up.
        steps: optimizer steps of a trial that is never stopped.
    """
    # Fused also on a CPU: 21 ms a step instead of 213 for the 22.7 M parameters of MiniLM on one thread.
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(recipe.warmup * steps), steps)
    return optimizer, schedule
