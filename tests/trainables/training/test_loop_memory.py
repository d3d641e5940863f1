"""A device whose memory runs out. On a CPU torch raises no such error, so the families here raise it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frostline.trainables._family import Batch
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import device as devices
from frostline.trainables.training import evaluation, training
from frostline.trainables.training.machine import Machine
from tests.trainables.points import CPU, Linear, Points, assert_equal, build, fit, recipe, weights

TRAIN = Points(100)
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Tight(Linear):
    """A family on a device that holds a pass of `fits` examples."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.refused: list[int] = []
        """Sizes of the passes that did not fit, in training."""
        self.refused_in_evaluation: list[int] = []

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        if len(batch["labels"]) > self.fits:
            (self.refused if model.training else self.refused_in_evaluation).append(len(batch["labels"]))
            raise torch.OutOfMemoryError(MESSAGE)
        return super().logits(model, batch)


@pytest.mark.parametrize(
    ("fits", "refused", "left"),
    [(1, [8, 4, 2], 1), (2, [8, 4], 2), (3, [8, 4], 2), (5, [8], 4), (7, [8], 4), (8, [], 8)],
)
def test_a_step_that_does_not_fit_is_tried_again_with_half(fits: int, refused: list[int], left: int) -> None:
    family, model, roomy = Tight(fits), build(), build()
    reports = fit(recipe(), TRAIN, family=family, model=model)
    assert family.refused == refused, "and none after that"
    assert [report.micro_batch for report in reports] == [left] * 3
    expected = fit(recipe(), TRAIN, model=roomy)
    for found, without in zip(reports, expected, strict=True):
        assert (found.samples, found.step) == (without.samples, without.step)
        assert found.metrics == pytest.approx(without.metrics, rel=1e-4)
    torch.testing.assert_close(weights(model), weights(roomy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fits", "known"), [(1, 1), (3, 2), (5, 4)])
def test_what_is_known_to_fit_is_never_refused(fits: int, known: int) -> None:
    found, told = build(), build()
    family = Tight(fits)
    reports = fit(recipe(), TRAIN, family=Tight(fits), model=found)
    assert fit(recipe(), TRAIN, family=family, model=told, micro_batch=known) == reports
    assert family.refused == []
    assert_equal(weights(told), weights(found))


def test_a_short_batch_that_does_not_fit_is_halved_itself() -> None:
    """Of five examples that do not fit two are next, not half of what longer batches may hold."""
    family, train = Tight(4), Points(37)
    reports = fit(recipe(batch_size=8), train, (1.0,), family=family, micro_batch=64)
    assert family.refused == [8]
    assert reports[0].micro_batch == 4
    family = Tight(4)
    run = training.Training(build(), family, recipe(), devices.Ahead(train, CPU), 4, Machine(device=CPU))
    run.micro_batch = 64
    run.step_on(torch.arange(5).numpy())
    assert family.refused == [5]
    assert run.micro_batch == 2


class _Burst(torch.autograd.Function):
    """Passes its input on; its gradient does not fit."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError(MESSAGE)


class Once(Linear):
    """Memory runs out once, in the training pass number `call`, on its way `forward` or `backward`."""

    def __init__(self, call: int, way: str) -> None:
        self._left, self._way = call, way

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        logits = super().logits(model, batch)
        self._left -= model.training
        if self._left or not model.training:
            return logits
        if self._way == "forward":
            raise torch.OutOfMemoryError(MESSAGE)
        return _Burst.apply(logits)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("call", [1, 3, 4])
def test_gradients_of_a_pass_that_failed_half_way_do_not_count_twice(call: int, way: str, dropout: float) -> None:
    """The step is the same, to the bit, as with smaller portions from the start, dropout included."""
    failed, known = build(dropout=dropout), build(dropout=dropout)
    torch.manual_seed(0)
    reports = fit(recipe(), TRAIN, model=failed, family=Once(call, way))
    torch.manual_seed(0)
    assert fit(recipe(), TRAIN, model=known, micro_batch=4) == reports
    assert [report.micro_batch for report in reports] == [4] * 3
    assert_equal(weights(failed), weights(known))


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_later_step_that_does_not_fit_is_tried_again_from_where_it_began(way: str, tmp_path: Path) -> None:
    """Steps 0 and 1 with eight examples a pass, the rest with four."""
    failed, known, taken = build(dropout=0.4), build(dropout=0.4), []
    passes = 2 * 4 + 3  # two whole steps of four passes, then the third pass of the next
    torch.manual_seed(0)
    reports = fit(recipe(), TRAIN, model=failed, family=Once(passes, way))

    def stop(take: training.Take) -> None:
        taken.append(take())
        if len(taken) == 2:
            checkpoints.write(taken[-1], tmp_path / "last.safetensors")
            raise SystemExit

    torch.manual_seed(0)
    with pytest.raises(SystemExit):
        fit(recipe(), TRAIN, model=known, after_step=stop)
    snapshot = checkpoints.read(tmp_path / "last.safetensors")
    assert snapshot
    assert snapshot.numbers["micro_batch"] == 8
    snapshot.numbers["micro_batch"] = 4
    assert fit(recipe(), TRAIN, model=known, resume=snapshot) == reports
    assert_equal(weights(failed), weights(known))


def test_a_snapshot_knows_what_fits(tmp_path: Path) -> None:
    path, family = tmp_path / "last.safetensors", Tight(3)
    fit(recipe(), TRAIN, family=Tight(3), after_step=lambda take: checkpoints.write(take(), path))
    reports = fit(recipe(), TRAIN, family=family, model=build(1), resume=checkpoints.read(path))
    assert family.refused == []
    assert [report.micro_batch for report in reports] == [2]


def test_an_example_that_does_not_fit_alone_ends_it_at_its_step() -> None:
    with pytest.raises(devices.DoesNotFitError, match=r"^out of GPU memory at step 0 with a micro-batch of 1$"):
        fit(recipe(), TRAIN, family=Tight(0))


@pytest.mark.parametrize("step", [1, 5])
def test_an_example_that_no_longer_fits_ends_it_at_its_step(step: int) -> None:
    family, taken = Tight(8), []

    def shrink(_: training.Take) -> None:
        taken.append(1)
        if len(taken) == step:
            family.fits = 0

    with pytest.raises(devices.DoesNotFitError, match=rf"^out of GPU memory at step {step} with a micro-batch of 1$"):
        fit(recipe(), TRAIN, family=family, after_step=shrink)


def test_another_error_is_not_tried_again() -> None:
    class Broken(Linear):
        calls = 0

        def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
            self.calls += 1
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    family = Broken()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(recipe(), TRAIN, family=family)
    assert family.calls == 1


@pytest.mark.parametrize(("fits", "refused"), [(1, [16, 8, 4, 2]), (3, [16, 8, 4]), (8, [16]), (16, [])])
def test_evaluation_halves_too_and_every_example_counts_once(fits: int, refused: list[int]) -> None:
    family, model, validation = Tight(fits), build(), Points(53)
    logits, labels = evaluation.predict(model, family, validation, CPU)
    assert family.refused_in_evaluation == refused
    expected, same = evaluation.predict(model, Linear(), validation, CPU)
    assert labels.tolist() == same.tolist() == validation.labels.tolist()
    torch.testing.assert_close(logits, expected)
    assert not model.training


def test_no_room_for_the_optimizers_state_is_infeasible_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW makes its two moments in its first step."""

    def step(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(devices.DoesNotFitError, match="for the optimizer's state at step 0"):
        fit(recipe(), TRAIN)


def test_room_that_is_there_once_memory_was_given_back_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    untouched, once = fit(recipe(), TRAIN), [True]
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        if once:
            once.pop()
            raise torch.OutOfMemoryError
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert fit(recipe(), TRAIN) == untouched
