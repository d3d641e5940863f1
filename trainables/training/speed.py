"""How fast a model trains on this machine: measured with a few steps of a real training, before a search begins."""

import dataclasses
import time

import numpy as np
import torch
from torch import nn

from frostline.spaces import Recipe
from frostline.trainables import _freezing
from frostline.trainables._family import Examples, Family, First
from frostline.trainables._task import Speed
from frostline.trainables.data.corpus import Array
from frostline.trainables.training import device as devices
from frostline.trainables.training.evaluation import evaluate
from frostline.trainables.training.loop import micro_batch_of
from frostline.trainables.training.machine import Machine
from frostline.trainables.training.training import Training

_LONG = 2.0
"""Seconds that a measurement should not exceed by much: with a slow model it is made with fewer examples."""
_FIRST, _EVALUATED = 4, 64
"""Examples that are evaluated first, to know how slow it is, and at most."""
_TRAINED = 3.0
"""Evaluations that cost about as much as training with nothing frozen."""


def measured(model: nn.Module, family: Family, recipe: Recipe, examples: Examples, device: torch.device) -> Speed:
    """Time steps of training at three depths, and an evaluation.

    Args:
        model: pretrained, on the device; it is trained and of no use afterwards.
        family: of the model.
        recipe: how it is trained, but for the frozen depth.
        examples: some that stand for all.
        device: where it trains.
    """
    blocks = family.blocks(model)
    depths = sorted({0, len(blocks) // 2, len(blocks)})
    first = min(_evaluation(model, family, First(examples, _FIRST), device) for _ in range(2))
    batch = _typical(examples.lengths, max(1, min(recipe.batch_size, int(_LONG / (_TRAINED * first)))))
    return Speed(
        depths=tuple(depths),
        trained=tuple(
            _step(model, family, dataclasses.replace(recipe, frozen_layers=depth), examples, batch, device)
            for depth in depths
        ),
        evaluated=_evaluation(model, family, First(examples, max(1, min(_EVALUATED, int(_LONG / first)))), device),
    )


def _typical(lengths: Array, count: int) -> Array:
    """A batch of examples of about the mean length."""
    return np.argsort(np.abs(lengths - lengths.mean()), kind="stable")[:count]


def _step(
    model: nn.Module, family: Family, recipe: Recipe, examples: Examples, batch: Array, device: torch.device
) -> float:
    """Seconds of a step, for each example of the batch."""
    blocks = family.blocks(model)
    _freezing.freeze(model, blocks, recipe.frozen_layers)
    training = Training(model, family, recipe, devices.Ahead(examples, device), 3, Machine(device=device))
    training.micro_batch = micro_batch_of(model, recipe.batch_size, device, examples)
    _freezing.training_mode(model, blocks, recipe.frozen_layers)
    took = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        training.step_on(batch)
        training.check()  # waits for the device
        took = min(took, time.perf_counter() - began)
        if took > _LONG:
            break
    training.ahead.close()
    return took / len(batch)


def _evaluation(model: nn.Module, family: Family, examples: First, device: torch.device) -> float:
    """Seconds of an evaluation, for each example."""
    began = time.perf_counter()
    evaluate(model, family, examples, device)
    return (time.perf_counter() - began) / len(examples.labels)
