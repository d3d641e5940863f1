"""A training in progress, step by step."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from frostline.trainables._family import First
from frostline.trainables.training import device as devices
from frostline.trainables.training import training
from frostline.trainables.training.machine import Compiler, Machine
from tests.trainables.points import CPU, Linear, Points, assert_equal, build, rates, recipe, weights


def test_micro_batches_add_up_to_the_batch() -> None:
    gradients = []
    for size in (32, 5):
        model = build()
        portions = devices.portions(Points(40), np.arange(32), size)
        loss = training._backward(model, Linear(), recipe(), portions, 32, CPU)
        gradients.append((loss, [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[..., training.Training]:
    """Makes trainings of one process whose device is slow to read a loss from. The tensors stay on the CPU."""
    backward = training._backward
    monkeypatch.setattr(training, "_backward", lambda *given: backward(*given[:5], CPU))

    compiler = Compiler()

    def make(train: Points, steps: int = 40) -> training.Training:
        given, machine = recipe(batch_size=4, warmup=0.5), Machine(device=CPU, compiler=compiler)
        run = training.Training(build(), Linear(), given, devices.Ahead(train, CPU), steps, machine)
        run.device = SimpleNamespace(type="far")
        return run

    return make


Far = Callable[..., training.Training]


def test_the_first_bad_step_is_named_where_losses_are_looked_at_together(far: Far) -> None:
    losses = [1.0, 0.5, math.nan, math.inf, math.nan]
    run = far(Points(120))
    run._unchecked = [(7 + i, 0.1 * (i + 1), torch.tensor(loss)) for i, loss in enumerate(losses)]
    with pytest.raises(training.NonFiniteLossError, match=r"^loss is nan at step 9, learning rate 0.3$"):
        run.check()
    run.check()  # nothing is left to look at


def take_steps(run: training.Training, count: int) -> None:
    """`count` steps on four examples each."""
    for i in range(count):
        run.step_on(np.arange(4 * i, 4 * i + 4), np.arange(4))


def test_far_away_a_loss_is_seen_within_twenty_steps(far: Far) -> None:
    train = Points(120)
    train.x[4 * 7] = math.nan
    run = far(train)
    expected = rf"^loss is nan at step 7, learning rate {rates(40, warmup=0.5)[7]:.3g}$"
    with pytest.raises(training.NonFiniteLossError, match=expected):
        take_steps(run, 30)
    assert run.step == 19, "the twentieth step looked"


@pytest.mark.parametrize("what", ["take", "measure"])
def test_far_away_a_loss_is_seen_before_anything_is_kept_of_it(far: Far, what: str) -> None:
    train = Points(120)
    train.x[4 * 2] = math.nan
    run = far(train)
    take_steps(run, 5)
    with pytest.raises(training.NonFiniteLossError, match=r"^loss is nan at step 2, "):
        run.take() if what == "take" else run.measure(First(Points(50), 50), 120, final=False)


def test_far_away_good_losses_are_checked_once(far: Far) -> None:
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
    monkeypatch.setattr(devices, "compiling_pays", lambda device, seconds, left: seconds > 0 and left <= 80)
    run, plain = far(Points(480), 120), far(Points(480), 120)
    take_steps(run, 100)
    assert len(made) == 1, "at the second look: 40 steps done, 80 to come"
    assert run.compiled is made[0]
    monkeypatch.setattr(devices, "compiling_pays", lambda device, seconds, left: False)
    take_steps(plain, 100)
    assert_equal(weights(plain.model), weights(run.model))
    assert len(made) == 1


def test_what_a_report_takes_does_not_count_when_it_is_decided_whether_to_compile(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, seen = [0.0], []
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(devices, "compiling_pays", lambda device, seconds, left: bool(seen.append(seconds)))
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
    """For example, there is no C compiler. This process does not try again."""

    class Broken(nn.Module):
        def forward(self, *_: object) -> None:
            raise RuntimeError("Failed to find C compiler")

    tried: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: tried.append(model) or Broken())
    monkeypatch.setattr(devices, "compiling_pays", lambda device, seconds, left: seconds > 0)
    run, plain = far(Points(480), 120), far(Points(480), 120)
    with pytest.warns(UserWarning, match="goes on without: Failed to find C compiler"):
        take_steps(run, 100)
    take_steps(plain, 100)
    assert len(tried) == 1
    assert_equal(weights(plain.model), weights(run.model))
