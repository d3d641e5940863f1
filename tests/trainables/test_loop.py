import dataclasses
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainables.points import CPU, Linear, Points, assert_equal, build, fit, recipe, weights
from trainables import _data, _device, _loop, _optim
from trainables._family import First


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
    """Examples that are long in coming."""

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        time.sleep(0.01)
        return super().batch(indices)


def test_a_report_says_what_its_seconds_went_into() -> None:
    """Two epochs of 4 batches; each of their 13 portions comes after 10 ms. Who is told takes his time."""
    told: list[_loop.Report] = []

    def report(said: _loop.Report) -> None:
        told.append(said)
        time.sleep(0.3)

    fit(recipe(), Slow(100), report_at=(1.0, 2.0), report=report)
    for spent in (said.spent for said in told):
        assert 0.13 <= spent["data"] < 0.25
        assert 0 < spent["training"] < 0.25
        assert 0 < spent["evaluation"] < 0.25


def test_it_can_end_within_an_epoch() -> None:
    reports = fit(recipe(), Points(96), report_at=(0.5, 1.5))
    assert [report.samples for report in reports] == [64, 160]
    assert [report.final for report in reports] == [False, True]


def test_a_report_can_end_the_trial() -> None:
    seen = []

    def stop(report: _loop.Report) -> None:
        seen.append(report)
        raise SystemExit

    with pytest.raises(SystemExit):
        fit(recipe(), Points(64), report_at=(1.0, 2.0), report=stop)
    assert len(seen) == 1


def test_micro_batches_add_up_to_the_batch() -> None:
    gradients = []
    for size in (32, 5):
        model = build()
        portions = _device.portions(Points(40), np.arange(32), size)
        loss = _loop._backward(model, Linear(), recipe(), portions, 32, CPU)
        gradients.append((loss, [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other)


def test_the_mean_loss_of_a_report_is_of_the_examples_since_the_one_before() -> None:
    """With a step too small to change anything, it is the mean loss of the untrained model on these examples."""
    train, model = Points(100), build()
    losses = nn.functional.cross_entropy(
        model(torch.from_numpy(train.x)), torch.from_numpy(train.labels), reduction="none"
    )
    reports = fit(recipe(learning_rate=1e-30), train, report_at=(0.5, 1.0, 3.0))
    order = np.concatenate(_data.batches(train.lengths, 32, np.random.default_rng([0, 0])))
    expected = [losses[order[:64]], losses[order[64:]], losses]
    found = [report.metrics["train_loss"] for report in reports]
    assert found == pytest.approx([part.mean().item() for part in expected], rel=1e-6)


# --- what is not finite


def rates(steps: int, **changes: Any) -> list[float]:
    """Learning rate of each step."""
    optimizer, schedule = _optim.build(nn.Linear(2, 2), recipe(**changes), steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def poisoned(at: int) -> Points:
    """100 points, one of them not a number, in the batch of step `at` of the first epoch."""
    train = Points(100)
    train.x[_data.batches(train.lengths, 32, np.random.default_rng([0, 0]))[at][-1]] = math.nan
    return train


def test_a_loss_that_is_not_finite_ends_it_at_that_step() -> None:
    train = Points(64)
    train.x[:] = math.nan
    with pytest.raises(_loop.NonFiniteLossError, match=r"loss is nan at step 0, learning rate"):
        fit(recipe(), train)


def test_numbers_too_large_for_a_loss_end_it_too() -> None:
    train = Points(64)
    train.x[:] = 3e38
    with pytest.raises(_loop.NonFiniteLossError, match=r"loss is (inf|nan) at step 0, learning rate"):
        fit(recipe(), train)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_later_step_is_named_with_its_learning_rate_and_changes_nothing_any_more(step: int) -> None:
    model, taken = build(), []
    expected = rf"^loss is nan at step {step}, learning rate {rates(12, warmup=0.5)[step]:.3g}$"
    with pytest.raises(_loop.NonFiniteLossError, match=expected):
        fit(recipe(warmup=0.5), poisoned(step), model=model, after_step=lambda take: taken.append(take()))
    assert len(taken) == step
    assert all(torch.isfinite(p).all() for p in model.parameters())


class Odd(Linear):
    """A family whose metrics, from some report on, are not numbers."""

    def __init__(self, name: str, value: float, good: int = 0) -> None:
        self._name, self._value, self._good = name, value, good

    def metrics(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        self._good -= 1
        return {**super().metrics(logits, labels), **({self._name: self._value} if self._good < 0 else {})}


@pytest.mark.parametrize(("name", "value"), [("accuracy", math.nan), ("recall", math.nan), ("loss", math.inf)])
def test_a_metric_that_is_not_finite_is_named_with_its_step(name: str, value: float) -> None:
    with pytest.raises(_loop.NonFiniteLossError, match=rf"^{name} is {value} at step 4, learning rate "):
        fit(recipe(), Points(100), family=Odd(name, value))
    with pytest.raises(_loop.NonFiniteLossError, match=rf"^{name} is {value} at step 8, learning rate "):
        fit(recipe(), Points(100), family=Odd(name, value, good=1))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _loop._Run]:
    """Makes a run that takes its device for one where looking at a loss is dear. The tensors stay on the CPU."""
    backward = _loop._backward
    monkeypatch.setattr(_loop, "_backward", lambda *given: backward(*given[:5], CPU))

    def make(train: Points, steps: int = 40) -> _loop._Run:
        run = _loop._Run(build(), Linear(), recipe(batch_size=4, warmup=0.5), _device.Ahead(train, CPU), CPU, steps)
        run.device = SimpleNamespace(type="far")
        return run

    return make


Far = Callable[..., _loop._Run]


def test_the_first_bad_step_is_named_where_losses_are_looked_at_together(far: Far) -> None:
    losses = [1.0, 0.5, math.nan, math.inf, math.nan]
    run = far(Points(120))
    run._unchecked = [(7 + i, 0.1 * (i + 1), torch.tensor(loss)) for i, loss in enumerate(losses)]
    with pytest.raises(_loop.NonFiniteLossError, match=r"^loss is nan at step 9, learning rate 0.3$"):
        run.check()
    run.check()  # nothing is left to look at


def take_steps(run: _loop._Run, count: int) -> None:
    """`count` steps on four examples each."""
    for i in range(count):
        run.step_on(np.arange(4 * i, 4 * i + 4), np.arange(4))


def test_far_away_a_loss_is_seen_within_twenty_steps(far: Far) -> None:
    train = Points(120)
    train.x[4 * 7] = math.nan
    run = far(train)
    expected = rf"^loss is nan at step 7, learning rate {rates(40, warmup=0.5)[7]:.3g}$"
    with pytest.raises(_loop.NonFiniteLossError, match=expected):
        take_steps(run, 30)
    assert run.step == 19, "the twentieth step looked"


@pytest.mark.parametrize("what", ["take", "measure"])
def test_far_away_a_loss_is_seen_before_anything_is_kept_of_it(far: Far, what: str) -> None:
    train = Points(120)
    train.x[4 * 2] = math.nan
    run = far(train)
    take_steps(run, 5)
    with pytest.raises(_loop.NonFiniteLossError, match=r"^loss is nan at step 2, "):
        run.take() if what == "take" else run.measure(First(Points(50), 50), 120, final=False)


def test_far_away_good_losses_are_looked_at_once(far: Far) -> None:
    run = far(Points(120))
    take_steps(run, 30)
    assert [step for step, *_ in run._unchecked] == list(range(20, 30))
    run.take()
    assert run._unchecked == []


def test_a_long_trial_is_compiled_once_and_trains_the_same_weights(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []

    def compiled(model: nn.Module, dynamic: bool) -> nn.Module:
        made.append(nn.Sequential(*model))
        return made[-1]

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(_device, "compiling_pays", lambda device, seconds, left: seconds > 0 and left <= 80)
    run, plain = far(Points(480), 120), far(Points(480), 120)
    take_steps(run, 100)
    assert len(made) == 1, "at the second look: 40 steps done, 80 to come"
    assert run.compiled is made[0]
    monkeypatch.setattr(_device, "compiling_pays", lambda device, seconds, left: False)
    take_steps(plain, 100)
    assert_equal(weights(plain.model), weights(run.model))
    assert len(made) == 1


def test_what_a_report_takes_does_not_count_when_it_is_decided_whether_to_compile(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, seen = [0.0], []
    monkeypatch.setattr(_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(_device, "compiling_pays", lambda device, seconds, left: bool(seen.append(seconds)))
    run = far(Points(480), 120)
    for steps, report in ((30, 1000.0), (60, 0.0)):
        for _ in range(steps):
            take_steps(run, 1)
            now[0] += 1.0
        far_away, run.device = run.device, CPU
        run.measure(First(Points(50), 50), 480, final=False)
        run.device = far_away
        now[0] += report
    assert seen == [1.0] * 3, "before the report, at the second look after it, and at the next report"


def test_a_model_that_does_not_compile_is_trained_as_it_is(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no C compiler; this process then tries it no more."""

    class Broken(nn.Module):
        def forward(self, *_: object) -> None:
            raise RuntimeError("Failed to find C compiler")

    tried: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: tried.append(model) or Broken())
    monkeypatch.setattr(_device, "compiling_pays", lambda device, seconds, left: seconds > 0)
    monkeypatch.setattr(_loop._Run, "compiles", True)
    run, plain = far(Points(480), 120), far(Points(480), 120)
    with pytest.warns(UserWarning, match="goes on without: Failed to find C compiler"):
        take_steps(run, 100)
    take_steps(plain, 100)
    assert len(tried) == 1
    assert_equal(weights(plain.model), weights(run.model))


# --- the schedule and the device


def test_the_schedule_depends_on_the_whole_trial_only() -> None:
    """A trial stopped at its first rung has trained exactly like one that went on."""
    stopped, whole = [], fit(recipe(), Points(100))

    def stop(report: _loop.Report) -> None:
        stopped.append(report)
        raise SystemExit

    with pytest.raises(SystemExit):
        fit(recipe(), Points(100), report=stop)
    assert stopped[0] == whole[0]


def test_what_a_search_may_spend_on_other_recipes_changes_nothing() -> None:
    given = recipe()
    budget = dataclasses.replace(given.budget, trials=None, seconds=60.0, first_rung=2, confirm_recipes=9)
    assert fit(dataclasses.replace(given, budget=budget), Points(100)) == fit(given, Points(100))


def test_the_learning_rate_rises_and_falls() -> None:
    expected = [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(10, learning_rate=1.0, warmup=0.2) == pytest.approx(expected)


def test_a_cpu_never_computes_in_bf16() -> None:
    with _device.precision(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32
