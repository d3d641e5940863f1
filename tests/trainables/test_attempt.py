"""When a stay on a slot writes a snapshot; what it writes and says is in test_worker.py, where it is trained."""

import concurrent.futures
import dataclasses
import itertools
from types import SimpleNamespace

import pytest
import torch

from tests.trainables.slots import Slot
from trainables import _attempt, _checkpoint
from trainables._attempt import Attempt
from trainables._task import Task


@pytest.mark.parametrize(("every", "apart"), [(0.0, 60), (100.0, 100)])
def test_never_more_than_a_twentieth_of_the_time_goes_into_snapshots(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, every: float, apart: int
) -> None:
    """By a clock on which a step takes one second and copying a snapshot three."""
    clock, written = SimpleNamespace(now=0.0), list[float]()

    def dear() -> _checkpoint.Snapshot:
        written.append(clock.now)
        clock.now += 3
        return _checkpoint.Snapshot(tensors={}, numbers={})

    monkeypatch.setattr(_attempt, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 0.0))
    monkeypatch.setattr(_checkpoint, "write", lambda snapshot, path: None)
    setup = dataclasses.replace(slot.setup, checkpoint_every=every)
    task = Task(folder="trials/0", recipe="")
    with Attempt(setup, task, torch.nn.Module(), slot.recipe, slot.told.append) as attempt:
        while clock.now < 1000:
            clock.now += 1
            attempt.after_step(dear)
            if attempt._writing:
                concurrent.futures.wait([attempt._writing])
    assert written[0] == max(1, every)
    assert {later - sooner - 3 for sooner, later in itertools.pairwise(written)} == {apart}
