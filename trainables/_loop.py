"""The one training loop: plain torch, one process, one device; `report` is a callable."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from spaces import Recipe
from trainables import _data, _freezing, _optim
from trainables._family import Examples, Family

_CPU_MICRO_BATCH = 8
"""Examples per forward pass on a CPU: larger ones are no faster there and cost memory (1.1 GB at 32 × 128 tokens)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a trial says at a rung and at the end of each epoch."""

    epoch: float
    """Passes over the training examples so far."""
    samples: int
    """Training examples seen so far."""
    step: int
    """Optimizer steps so far."""
    metrics: dict[str, float]
    """Of the whole validation slice; plus `train_loss`, the mean since the last report."""
    final: bool
    """Whether the trial has used its whole budget."""


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or not a number: the recipe has failed."""

    def __init__(self, value: float, step: int, learning_rate: float) -> None:
        super().__init__(f"loss is {value} at step {step}, learning rate {learning_rate:.3g}")


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch, the short last batch included."""
    return math.ceil(examples / batch_size)


def fit(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    train: Examples,
    validation: Examples,
    *,
    report_at: Sequence[float],
    device: torch.device,
    report: Callable[[Report], None],
) -> None:
    """Fine-tune `model` in place by `recipe`.

    Args:
        model: pretrained, its new head drawn, on `device`.
        family: what the model and the data are.
        recipe: how to train.
        train: examples to learn from.
        validation: examples that every report is measured on.
        report_at: epochs at which to report, rising; the last one is the end of training.
        device: where the model is.
        report: called with each report. It may raise to end the trial.

    Raises:
        NonFiniteLossError: at the step at which it is seen (on a GPU within 20 steps).
        ValueError: the model has fewer blocks than the recipe freezes.
    """
    blocks = family.blocks(model)
    _freezing.freeze(model, blocks, recipe.frozen_layers)
    size = len(train.labels)
    steps = math.ceil(report_at[-1] * steps_per_epoch(size, recipe.batch_size))
    optimizer, schedule = _optim.build(model, recipe, steps)
    # Reading the loss waits for the device, so a GPU is asked only now and then.
    check_every = 1 if device.type == "cpu" else 20
    due = [math.ceil(point * size) for point in report_at]
    step = seen = since = 0
    total = torch.zeros((), device=device)
    _freezing.training_mode(model, blocks, recipe.frozen_layers)
    while due:
        order = np.random.default_rng([recipe.seed, seen // size])
        for indices in _data.batches(train.lengths, recipe.batch_size, order):
            loss = _backward(model, family, train, indices, device)
            if step % check_every == 0 and not math.isfinite(value := loss.item()):
                raise NonFiniteLossError(value, step, schedule.get_last_lr()[0])
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            step, seen, since, total = step + 1, seen + len(indices), since + len(indices), total + loss * len(indices)
            if seen >= due[0]:
                due.pop(0)
                metrics = evaluate(model, family, validation, device)
                metrics["train_loss"] = total.item() / since
                if not all(map(math.isfinite, metrics.values())):
                    raise NonFiniteLossError(metrics["loss"], step, schedule.get_last_lr()[0])
                report(Report(epoch=seen / size, samples=seen, step=step, metrics=metrics, final=not due))
                total.zero_()
                since = 0
                if not due:
                    return
                _freezing.training_mode(model, blocks, recipe.frozen_layers)


def _backward(
    model: nn.Module, family: Family, train: Examples, indices: _data.Array, device: torch.device
) -> torch.Tensor:
    """Accumulate the gradient of the batch's mean loss; returns that mean, detached."""
    micro = _CPU_MICRO_BATCH if device.type == "cpu" else len(indices)
    total = torch.zeros((), device=device)
    for start in range(0, len(indices), micro):
        batch = _to(train.batch(indices[start : start + micro]), device)
        with _precision(device):
            logits = family.logits(model, batch)
        loss = family.loss(logits.float(), batch["labels"]) / len(indices)
        loss.backward()
        total += loss.detach()
    return total


@torch.inference_mode()
def evaluate(model: nn.Module, family: Family, examples: Examples, device: torch.device) -> dict[str, float]:
    """Metrics of `model` on all examples; leaves it in evaluation mode."""
    model.eval()
    size = 16 if device.type == "cpu" else 128
    logits, labels = [], []
    for indices in _data.by_length(examples.lengths, size):
        batch = _to(examples.batch(indices), device)
        with _precision(device):
            logits.append(family.logits(model, batch).float())
        labels.append(batch["labels"])
    return family.metrics(torch.cat(logits).cpu(), torch.cat(labels).cpu())


def _to(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _precision(device: torch.device) -> torch.autocast:
    """bf16 on a GPU that has it; always float32 on a CPU (bf16 without the instructions is 7 times slower)."""
    usable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)
