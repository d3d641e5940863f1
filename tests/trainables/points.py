"""The smallest task for the loop: two clouds of points and a model of two layers."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables._family import Batch, Examples
from frostline.trainables.text_classification import TextClassification
from frostline.trainables.training import loop, optim, training
from frostline.trainables.training.machine import Machine

CPU = torch.device("cpu")
EPOCHS = 3

Weights = dict[str, torch.Tensor]


class Points(Examples):
    """Two clouds of points in four dimensions."""

    def __init__(self, count: int, scale: float = 1.0) -> None:
        rng = np.random.default_rng(count)
        self.labels = rng.integers(0, 2, count)
        self.x = (rng.normal(size=(count, 4)) + 2 * self.labels[:, None]).astype(np.float32) * scale
        self.lengths = np.ones(count, dtype=np.int64)

    def batch(self, indices: np.ndarray) -> Batch:
        return {"x": torch.from_numpy(self.x[indices]), "labels": torch.from_numpy(self.labels[indices])}


class Linear(TextClassification):
    """The smallest family for the loop."""

    def blocks(self, model: nn.Module) -> list[list[nn.Module]]:
        return [[model[0]]]

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        return model(batch["x"])


def recipe(**changes: Any) -> Recipe:
    """A recipe of three epochs at batch 32."""
    fields: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 32, "frozen_layers": 0, "weight_decay": 0.0}
    budget = Budget(trials=1, epochs=EPOCHS, first_rung=1)
    return Recipe(family="f", model="m", data=Data(source="d"), budget=budget, **{**fields, **changes})


def build(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """One block and a head; leaves torch's random state after the weights were drawn from `seed`."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 2))


def fit(
    recipe: Recipe,
    train: Points,
    report_at: tuple[float, ...] = (1.0, 2.0, 3.0),
    *,
    model: nn.Module | None = None,
    family: Linear | None = None,
    ended: list[bool] | None = None,
    **options: Any,
) -> list[training.Report]:
    """Train on a CPU; `options` as for `grouped`. Without a model of the caller's one is drawn from the seed.

    What `loop.fit` returns is added to `ended`.
    """
    model, reports = model or build(recipe.seed), list[training.Report]()
    given = grouped(**{"at": report_at, "to": reports.append, **options})
    whole = loop.fit(model, family or Linear(), recipe, {"train": train, "validation": Points(50)}, **given)
    if ended is not None:
        ended.append(whole)
    return reports


def grouped(**options: Any) -> dict[str, Any]:
    """Fields of `Reports`, `Machine` and `Snapshots` as the arguments of `loop.fit`; the device is a CPU."""
    groups = {"reports": loop.Reports, "machine": Machine, "snapshots": loop.Snapshots}
    options = {"device": CPU, **options}
    arguments = {}
    for name, group in groups.items():
        own = {field.name for field in dataclasses.fields(group)} & options.keys()
        arguments[name] = group(**{field: options.pop(field) for field in own})
    assert not options
    return arguments


def weights(model: nn.Module) -> Weights:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(one: Weights, other: Weights) -> None:
    """Assert that two copies are equal to the bit."""
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def rates(steps: int, **changes: Any) -> list[float]:
    """Learning rate of each step."""
    optimizer, schedule = optim.build(nn.Linear(2, 2), recipe(**changes), steps)
    values = []
    for _ in range(steps):
        values.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return values
