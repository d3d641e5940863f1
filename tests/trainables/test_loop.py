import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spaces import Budget, Data, Recipe
from trainables import _loop, _optim
from trainables._family import Batch, Examples
from trainables.text_classification import TextClassification

CPU = torch.device("cpu")


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
    """The loop's view of a family, on the simplest of models."""

    def blocks(self, model: nn.Module) -> list[list[nn.Module]]:
        return [[model[0]]]

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        return model(batch["x"])


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 32, "frozen_layers": 0, "weight_decay": 0.0}
    budget = Budget(trials=1, epochs=3, first_rung=1)
    return Recipe(family="f", model="m", data=Data(source="d"), budget=budget, **{**fields, **changes})


def fit(recipe: Recipe, train: Points, report_at: tuple[float, ...] = (1.0, 2.0, 3.0)) -> list[_loop.Report]:
    torch.manual_seed(recipe.seed)
    model, reports = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), list[_loop.Report]()
    _loop.fit(model, Linear(), recipe, train, Points(50), report_at=report_at, device=CPU, report=reports.append)
    return reports


def test_it_learns_and_reports_where_it_should() -> None:
    reports = fit(recipe(), Points(100), report_at=(0.5, 1.0, 2.0, 3.0))
    assert [report.samples for report in reports] == [64, 100, 200, 300]
    assert [report.final for report in reports] == [False, False, False, True]
    assert [report.step for report in reports] == [2, 4, 8, 12]
    assert [report.epoch for report in reports] == [0.64, 1.0, 2.0, 3.0]
    assert reports[-1].metrics["accuracy"] > 0.9 > 0.6 > reports[-1].metrics["train_loss"]


def test_a_report_can_end_the_trial() -> None:
    seen = []

    def stop(report: _loop.Report) -> None:
        seen.append(report)
        raise SystemExit

    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with pytest.raises(SystemExit):
        _loop.fit(model, Linear(), recipe(), Points(64), Points(8), report_at=(1.0, 2.0), device=CPU, report=stop)
    assert len(seen) == 1


def test_micro_batches_add_up_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for size in (32, 5):
        monkeypatch.setattr(_loop, "_CPU_MICRO_BATCH", size)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        loss = _loop._backward(model, Linear(), Points(40), np.arange(32), CPU)
        gradients.append((loss, [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other)


def test_a_loss_that_is_not_finite_ends_it_at_that_step() -> None:
    train = Points(64)
    train.x[:] = math.nan
    with pytest.raises(_loop.NonFiniteLossError, match=r"loss is nan at step 0, learning rate"):
        fit(recipe(), train)


def test_the_schedule_depends_on_the_whole_trial_only() -> None:
    """A trial stopped at its first rung has trained exactly like one that went on."""
    stopped, whole = [], fit(recipe(), Points(100))

    def stop(report: _loop.Report) -> None:
        stopped.append(report)
        raise SystemExit

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with pytest.raises(SystemExit):
        points = (1.0, 2.0, 3.0)
        _loop.fit(model, Linear(), recipe(), Points(100), Points(50), report_at=points, device=CPU, report=stop)
    assert stopped[0] == whole[0]


def test_the_learning_rate_rises_and_falls() -> None:
    model = nn.Linear(2, 2)
    optimizer, schedule = _optim.build(model, recipe(learning_rate=1.0, warmup=0.2), 10)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_a_cpu_never_computes_in_bf16() -> None:
    with _loop._precision(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32
