import dataclasses
import math
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frostline.trainables.data.batches import batches
from frostline.trainables.training import device as devices
from frostline.trainables.training import loop, stopwatch, training
from tests.search.made import Clock
from tests.trainables.points import CPU, Linear, Points, build, fit, rates, recipe


def test_it_learns_and_reports_where_it_should() -> None:
    reports = fit(recipe(), Points(100), report_at=(0.5, 1.0, 2.0, 3.0))
    assert [report.samples for report in reports] == [64, 100, 200, 300]
    assert [report.final for report in reports] == [False, False, False, True]
    assert [report.step for report in reports] == [2, 4, 8, 12]
    assert [report.epoch for report in reports] == [0.64, 1.0, 2.0, 3.0]
    assert [report.micro_batch for report in reports] == [8] * 4
    assert reports[-1].metrics["accuracy"] > 0.9 > 0.6 > reports[-1].metrics["train_loss"]


@pytest.mark.parametrize(("longest", "batch_size", "taken"), [(256, 32, 8), (512, 32, 4), (4096, 32, 4), (512, 2, 2)])
def test_a_cpu_takes_fewer_of_longer_texts_at_once(longest: int, batch_size: int, taken: int) -> None:
    train = Points(40)
    train.lengths[7] = longest
    [report] = fit(recipe(batch_size=batch_size), train, report_at=(1.0,))
    assert report.micro_batch == taken


class Slow(Points):
    """Examples whose portions take some seconds each, on a clock that only the test moves."""

    def __init__(self, count: int, seconds: float, clock: Clock) -> None:
        super().__init__(count)
        self._seconds, self._clock = seconds, clock

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        self._clock.now += self._seconds
        return super().batch(indices)


def test_a_report_says_what_its_seconds_went_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of 4 batches, whose 13 portions take 10 s each; a gradient takes 2 s, telling a report 300 s."""
    clock, reports = Clock(0.0), list[training.Report]()
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(monotonic=clock))
    backward = training._backward

    def slow_backward(*arguments: Any) -> torch.Tensor:
        clock.now += 2.0
        return backward(*arguments)

    def report(made: training.Report) -> None:
        reports.append(made)
        clock.now += 300.0

    monkeypatch.setattr(training, "_backward", slow_backward)
    fit(recipe(), Slow(100, 10.0, clock), report_at=(1.0, 2.0), to=report)
    assert [made.spent for made in reports] == [{"training": 8.0, "evaluation": 0.0, "data": 130.0}] * 2


@pytest.mark.parametrize(
    ("lefts", "samples"),
    [
        ([0.0], [32]),  # as late as can be: one step, and a measurement
        ([1e6, -1.0], [64]),
        ([1e6] * 3 + [0.0], [96, 128]),  # the last one is on all examples, in the middle of an epoch
        ([1e6] * 9, [96, 192, 288]),
    ],
)
def test_when_the_time_is_over_it_is_measured_once_more(lefts: list[float], samples: list[int]) -> None:
    left, whole = iter(lefts), list[bool]()
    reports = fit(recipe(), Points(96), left=lambda: next(left), validate_on=(10, 10, 50), ended=whole)
    assert [report.samples for report in reports] == samples
    assert whole == [samples[-1] == 288]
    assert [report.final for report in reports] == [False] * (len(reports) - 1) + whole
    assert [report.partial for report in reports] == [True] * (len(reports) - 1) + [False]


def test_a_measurement_fits_into_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch takes 40 s and a measurement 70. After 230 s there is no time for both once more."""
    clock = Clock(0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=clock))
    measure = training.Training.measure

    def slow(run: training.Training, *given: Any, **named: Any) -> training.Report:
        clock.now += 70.0
        return measure(run, *given, **named)

    monkeypatch.setattr(training.Training, "measure", slow)
    reports = fit(recipe(), Slow(96, 10.0, clock), left=lambda: 330.0 - clock.now)
    assert [report.samples for report in reports] == [96, 128]
    assert clock.now == 120.0 + 70.0 + 40.0 + 70.0


def test_it_can_end_within_an_epoch() -> None:
    reports = fit(recipe(), Points(96), report_at=(0.5, 1.5))
    assert [report.samples for report in reports] == [64, 160]
    assert [report.final for report in reports] == [False, True]


def test_a_report_can_end_the_trial() -> None:
    seen = []

    def stop(report: training.Report) -> None:
        seen.append(report)
        raise SystemExit

    with pytest.raises(SystemExit):
        fit(recipe(), Points(64), report_at=(1.0, 2.0), to=stop)
    assert len(seen) == 1


def test_the_mean_loss_of_a_report_is_of_the_examples_since_the_one_before() -> None:
    """With a step too small to change anything, it is the mean loss of the untrained model on these examples."""
    train, model = Points(100), build()
    losses = nn.functional.cross_entropy(
        model(torch.from_numpy(train.x)), torch.from_numpy(train.labels), reduction="none"
    )
    reports = fit(recipe(learning_rate=1e-30), train, report_at=(0.5, 1.0, 3.0))
    order = np.concatenate(batches(train.lengths, 32, np.random.default_rng([0, 0])))
    expected = [losses[order[:64]], losses[order[64:]], losses]
    found = [report.metrics["train_loss"] for report in reports]
    assert found == pytest.approx([part.mean().item() for part in expected], rel=1e-6)


# --- what is not finite


def poisoned(at: int) -> Points:
    """100 points, one of them not a number, in the batch of step `at` of the first epoch."""
    train = Points(100)
    train.x[batches(train.lengths, 32, np.random.default_rng([0, 0]))[at][-1]] = math.nan
    return train


def test_a_loss_that_is_not_finite_ends_it_at_that_step() -> None:
    train = Points(64)
    train.x[:] = math.nan
    with pytest.raises(training.NonFiniteLossError, match=r"loss is nan at step 0, learning rate"):
        fit(recipe(), train)


def test_numbers_too_large_for_a_loss_end_it_too() -> None:
    train = Points(64)
    train.x[:] = 3e38
    with pytest.raises(training.NonFiniteLossError, match=r"loss is (inf|nan) at step 0, learning rate"):
        fit(recipe(), train)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_later_step_is_named_with_its_learning_rate_and_changes_nothing_any_more(step: int) -> None:
    model, taken = build(), []
    expected = rf"^loss is nan at step {step}, learning rate {rates(12, warmup=0.5)[step]:.3g}$"
    with pytest.raises(training.NonFiniteLossError, match=expected):
        fit(recipe(warmup=0.5), poisoned(step), model=model, after_step=lambda take: taken.append(take()))
    assert len(taken) == step
    assert all(torch.isfinite(p).all() for p in model.parameters())


class Odd(Linear):
    """A family whose metrics, from some report on, are not numbers."""

    def __init__(self, name: str, value: float, good: int = 0) -> None:
        self._name, self._value, self._good = name, value, good

    def score(self, logits: torch.Tensor, labels: torch.Tensor, names: Collection[str] = ()) -> dict[str, float]:
        self._good -= 1
        return {**super().score(logits, labels, names), **({self._name: self._value} if self._good < 0 else {})}


@pytest.mark.parametrize(("name", "value"), [("accuracy", math.nan), ("recall", math.nan), ("loss", math.inf)])
def test_a_metric_that_is_not_finite_is_named_with_its_step(name: str, value: float) -> None:
    with pytest.raises(training.NonFiniteLossError, match=rf"^{name} is {value} at step 4, learning rate "):
        fit(recipe(), Points(100), family=Odd(name, value))
    with pytest.raises(training.NonFiniteLossError, match=rf"^{name} is {value} at step 8, learning rate "):
        fit(recipe(), Points(100), family=Odd(name, value, good=1))


# --- the schedule and the device


def test_the_schedule_depends_on_the_whole_trial_only() -> None:
    """A trial stopped at its first rung has trained exactly like one that went on."""
    stopped, whole = [], fit(recipe(), Points(100))

    def stop(report: training.Report) -> None:
        stopped.append(report)
        raise SystemExit

    with pytest.raises(SystemExit):
        fit(recipe(), Points(100), to=stop)
    assert stopped[0] == whole[0]


def test_what_a_search_may_spend_on_other_recipes_changes_nothing() -> None:
    given = recipe()
    budget = dataclasses.replace(given.budget, trials=None, seconds=60.0, first_rung=2, confirm_recipes=9)
    assert fit(dataclasses.replace(given, budget=budget), Points(100)) == fit(given, Points(100))


def test_the_learning_rate_rises_and_falls() -> None:
    expected = [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(10, learning_rate=1.0, warmup=0.2) == pytest.approx(expected)


def test_a_cpu_never_computes_in_bf16() -> None:
    with devices.precision(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


# --- weights of the classes, and metrics beside the usual ones


class Rare(Points):
    """One point in ten is of the second class, and the classes overlap."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.labels = (np.arange(count) % 10 == 0).astype(np.int64)
        self.x = (np.random.default_rng(1).normal(size=(count, 4)) + 0.7 * self.labels[:, None]).astype(np.float32)


def test_balanced_classes_are_found_as_often_as_each_other() -> None:
    """Without weights nearly all answers are the common class."""
    found = {}
    for weights in ("none", "balanced"):
        model = build()
        fit(recipe(class_weights=weights), Rare(1000), model=model)
        examples = Rare(1000)
        answers = model.eval()(torch.from_numpy(examples.x)).argmax(1).numpy()
        found[weights] = (answers[examples.labels == 1] == 1).mean()
    assert found["none"] < 0.4 < 0.7 < found["balanced"]


def test_weights_of_equal_classes_change_nothing() -> None:
    train = Points(96)
    train.labels = np.arange(96) % 2
    one, other = (fit(recipe(class_weights=kind), train) for kind in ("none", "balanced"))
    assert [report.metrics for report in one] == [report.metrics for report in other]


def test_micro_batches_of_weighed_classes_add_up_to_the_batch() -> None:
    train, gradients = Rare(40), []
    for size in (32, 5):
        model = build()
        portions = devices.portions(train, np.arange(32), size)
        training._backward(model, Linear(), recipe(), portions, 32, CPU, torch.tensor([0.5, 5.0]))
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, another in zip(*gradients, strict=True):
        torch.testing.assert_close(one, another)


def test_a_report_has_the_metric_that_decides_beside_the_usual_ones() -> None:
    usual = {"accuracy", "macro_f1", "loss", "train_loss"}
    assert {*fit(recipe(), Points(64))[0].metrics} == usual
    assert {*fit(recipe(metric="roc_auc"), Points(64))[0].metrics} == {*usual, "roc_auc"}


def test_a_metric_that_a_slice_leaves_undefined_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first validation examples are of one class; all of them are of both."""
    examples = Points(50)
    monkeypatch.setattr("tests.trainables.points.Points", lambda count: examples)
    ordered = np.argsort(examples.labels)
    examples.labels, examples.x = examples.labels[ordered], examples.x[ordered]
    reports = fit(recipe(metric="roc_auc"), Points(64), validate_on=(10, 50, 50))
    assert [math.isnan(report.metrics["roc_auc"]) for report in reports] == [True, False, False]
