"""Tasks of a slot that fail: by the fault of the recipe, of the disk, or of neither."""

import dataclasses
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import ray.exceptions
import torch

from frostline.trainables import _family
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._task import DiskFull, Failed, NodeError, Told, best_path, last_path
from frostline.trainables.slot.process import THIS
from frostline.trainables.training import checkpoint as checkpoints
from tests.trainables.slots import FAMILY, NEVER, Slot, core, recorded


def test_a_loss_that_is_not_finite_is_a_failure(slot: Slot) -> None:
    (told,) = slot.train(recipe=dataclasses.replace(slot.recipe, learning_rate=1e38, warmup=0.0))
    assert isinstance(told, Failed)
    assert re.fullmatch(r"loss is (nan|inf) at step [1-9], learning rate [\d.]+e\+3[78]", told.reason)
    assert (told.infeasible, told.traceback) == (False, "")
    assert (told.epoch, told.samples, told.step, told.pid) == (0.0, 0, 0, os.getpid())


def test_a_failure_leaves_the_process_as_it_was(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next trial finds the pretrained weights and no frozen block of the failed one."""
    whole = slot.train("trials/whole")
    slot.train("trials/failed", recipe=dataclasses.replace(slot.recipe, learning_rate=1e38, frozen_layers=3))
    monkeypatch.setattr(THIS, "forget", lambda: None)
    warm = THIS.pretrained
    assert core(slot.train("trials/next")) == core(whole)
    assert THIS.pretrained is warm, "the warm model"
    assert slot.best("trials/next").read_bytes() == slot.best("trials/whole").read_bytes()


def _raising(error: BaseException, after: int) -> Callable[..., torch.Tensor]:
    """The `logits` of a family, which raise an error after `after` calls."""
    real, calls = type(_family.load(FAMILY)).logits, []

    def logits(model: torch.nn.Module, batch: _family.Batch) -> torch.Tensor:
        calls.append(1)
        if len(calls) > after:
            raise error
        return real(_family.load(FAMILY), model, batch)

    return logits


def test_what_does_not_fit_is_a_failure_and_infeasible(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU never raises this error by itself."""
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(torch.OutOfMemoryError("out of memory"), 0))
    (told,) = slot.train()
    assert isinstance(told, Failed)
    assert told.reason == "out of GPU memory at step 0 with a micro-batch of 1"
    assert told.infeasible is True
    assert told.traceback == ""


def test_a_failure_after_reports_tells_where_the_trial_stood(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = slot.train("trials/whole")
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(ZeroDivisionError("half way"), 13))
    told = slot.train()  # 8 steps, 3 evaluations of 2 batches
    assert core(told[:-1]) == core(whole[: len(told) - 1])
    assert len(told) > 1
    failed, before = told[-1], told[-2]
    assert failed.reason == "half way"
    assert (failed.epoch, failed.samples, failed.step) == (before.epoch, before.samples, before.step)


def test_a_depth_the_model_lacks_is_a_failure_with_its_traceback(slot: Slot) -> None:
    (told,) = slot.train(recipe=dataclasses.replace(slot.recipe, frozen_layers=99))
    assert isinstance(told, Failed)
    assert told.reason == "frozen_layers must be 0 to 3 for this model, got 99"
    assert told.traceback.startswith("Traceback (most recent call last):")
    assert "in freeze" in told.traceback
    assert told.infeasible is False


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (RuntimeError("CUDA error: an illegal access\nthe last line \n"), "CUDA error: an illegal access"),
        (RuntimeError("\n  Some tensors share memory.\n  More at https://hf.co"), "Some tensors share memory."),
        (RuntimeError("Error in loading:\n\tsize mismatch for a"), "Error in loading: size mismatch for a"),
        (IndexError("list index out of range"), "list index out of range"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_unknown_error_is_one_line_and_a_traceback(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, error: Exception, failed: str
) -> None:
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(error, 0))
    (told,) = slot.train()
    assert told.reason == failed
    assert type(error).__name__ in told.traceback


@pytest.mark.parametrize(("every", "file"), [(0, "last.safetensors"), (NEVER, ".best.safetensors.new")])
def test_a_full_disk_is_told_and_nothing_is_raised(
    slot: Slot, small_disk: Callable[[str], Path], every: float, file: str
) -> None:
    run = small_disk("64k")
    (told,) = slot.train(run=run, every=every)
    assert isinstance(told, DiskFull)
    error = OSError(told.number, told.text, told.path)  # as the driver makes it
    assert error.errno == errno.ENOSPC
    assert str(error) == f"[Errno 28] No space left on device: '{run}/trials/00000/{file}'"
    assert list((run / "trials" / "00000").iterdir()) == []


def test_a_disk_that_is_full_while_a_failure_is_told_is_told_instead(
    slot: Slot, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot of the first step is still being written when the second fails; the driver pauses for the disk."""
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(RuntimeError("the second step"), 1))
    (told,) = slot.train(run=small_disk("64k"), every=0)
    assert isinstance(told, DiskFull)
    assert told.number == errno.ENOSPC


def test_a_disk_that_fills_up_leaves_the_older_snapshot_to_go_on_from(
    slot: Slot, small_disk: Callable[[str], Path]
) -> None:
    for seed in range(10):
        slot.recipe = dataclasses.replace(slot.recipe, seed=seed)
        whole = slot.train(f"trials/{seed}")
        if whole[1].objective > whole[0].objective:
            break
    else:
        pytest.fail("no second report writes new weights")
    run = small_disk("4m")
    slot.on_report = lambda _: _fill(run) if len(slot.told) == 1 else None
    told = slot.train(run=run, every=0)
    assert len(told) == 2
    assert told[-1].number == errno.ENOSPC
    assert core(told[:-1]) == core(whole[: len(told) - 1])
    (run / "ballast").unlink()
    before = told[:-1]
    assert checkpoints.read(last_path(run, "trials/00000"))
    after = slot.train(run=run, every=0, **recorded(before))
    assert slot.steps[0] > 0
    assert core(after) == core(whole[len(before) :])
    assert best_path(run, "trials/00000").read_bytes() == slot.best(f"trials/{seed}").read_bytes()


def _fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_data_that_this_machine_lacks_is_no_fault_of_the_recipe(slot: Slot) -> None:
    slot.change(entry=f"{slot.own.entry}-gone")
    with pytest.raises(NodeError, match="are others here than at the driver"):
        slot.train()
    assert slot.told == []


def test_another_error_of_the_disk_is_raised(slot: Slot) -> None:
    Path(slot.setup.run).mkdir()
    (Path(slot.setup.run) / "trials").write_text("a file is in the way")
    with pytest.raises(OSError, match="trials") as caught:
        slot.train()
    assert caught.value.errno not in DISK_FULL
    assert slot.told == []


def test_an_error_of_ray_is_no_fault_of_the_recipe(slot: Slot) -> None:
    def lose(_: Told) -> None:
        raise ray.exceptions.RaySystemError("the driver has gone")

    slot.on_report = lose
    with pytest.raises(ray.exceptions.RaySystemError):
        slot.train()
    assert len(slot.told) == 1
