"""When a stay on a slot writes a snapshot. test_worker.py trains, and looks at the files and reports."""

import concurrent.futures
import dataclasses
import itertools
from types import SimpleNamespace

import pytest
import torch

from frostline.trainables._task import Task
from frostline.trainables.slot import attempt as attempts
from frostline.trainables.slot.attempt import Attempt
from frostline.trainables.training import checkpoint as checkpoints
from tests.trainables.slots import Slot


@pytest.mark.parametrize(("every", "apart"), [(0.0, 60), (100.0, 100)])
def test_snapshots_take_at_most_a_twentieth_of_the_time(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, every: float, apart: int
) -> None:
    """On this clock a step takes one second, and copying a snapshot takes three."""
    clock, written = SimpleNamespace(now=0.0), list[float]()

    def slow() -> checkpoints.Snapshot:
        written.append(clock.now)
        clock.now += 3
        return checkpoints.Snapshot(tensors={}, numbers={})

    monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 0.0))
    monkeypatch.setattr(checkpoints, "write", lambda snapshot, path: None)
    setup = dataclasses.replace(slot.setup, checkpoint_every=every)
    task = Task(folder="trials/0", recipe="")
    with Attempt(setup, task, torch.nn.Module(), slot.recipe, lambda message: None) as attempt:
        while clock.now < 1000:
            clock.now += 1
            attempt.after_step(slow)
            if attempt._writing:
                concurrent.futures.wait([attempt._writing])
    assert written[0] == max(1, every)
    assert {later - sooner - 3 for sooner, later in itertools.pairwise(written)} == {apart}
