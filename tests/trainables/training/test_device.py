"""Batches in portions, made ahead of a GPU. There is none here, so the thread is asked for by hand."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from frostline.trainables._family import Batch
from frostline.trainables.training import device as devices
from tests.trainables.points import CPU, Points

INDICES = np.arange(10)


class Watched(Points):
    """Remembers which thread asked for which examples."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.asked: list[tuple[int, list[int]]] = []

    def batch(self, indices: np.ndarray) -> Batch:
        self.asked.append((threading.get_ident(), indices.tolist()))
        return super().batch(indices)


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, devices.Ahead]:
    """Examples, and an `Ahead` that works as for a GPU, but without pinned memory, which needs one."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    examples = Watched(40)
    return examples, devices.Ahead(examples, torch.device("cuda"))


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (10, [10]), (64, [10]), (1, [1] * 10)])
def test_portions_hold_every_example_once(size: int, sizes: list[int]) -> None:
    portions = devices.portions(Points(40), INDICES, size)
    assert [len(batch["labels"]) for batch in portions] == sizes
    assert equal(
        devices.portions(Points(40), INDICES, 10), [{n: torch.cat([b[n] for b in portions]) for n in portions[0]}]
    )


@pytest.mark.parametrize(("longest", "examples"), [(1, 16), (128, 16), (129, 15), (256, 8), (512, 4), (8192, 4)])
def test_a_cpu_takes_fewer_of_longer_texts_at_once(longest: int, examples: int) -> None:
    assert devices.per_pass(CPU, longest) == examples
    assert devices.per_pass(torch.device("cuda"), longest) == 128


def test_what_was_made_ahead_is_what_is_asked_for_and_was_made_in_a_thread(far: Any) -> None:
    examples, ahead = far
    ahead.prepare(INDICES, 4)
    assert equal(list(ahead.get(INDICES, 4)), devices.portions(Points(40), INDICES, 4))
    assert len(examples.asked) == 3
    assert threading.get_ident() not in {thread for thread, _ in examples.asked}
    ahead.close()


@pytest.mark.parametrize(("indices", "size"), [(np.arange(3), 4), (INDICES, 2)])
def test_something_else_than_was_made_ahead_is_made_now(far: Any, indices: np.ndarray, size: int) -> None:
    """After a step that did not fit, the portions are smaller."""
    _, ahead = far
    ahead.prepare(INDICES, 4)
    assert equal(list(ahead.get(indices, size)), devices.portions(Points(40), indices, size))
    ahead.close()


def test_on_a_cpu_nothing_is_made_ahead() -> None:
    examples = Watched(40)
    ahead = devices.Ahead(examples, CPU)
    ahead.prepare(INDICES, 4)
    assert examples.asked == []
    assert equal(list(ahead.get(INDICES, 4)), devices.portions(Points(40), INDICES, 4))
    ahead.close()


@pytest.mark.parametrize(
    ("device", "seconds", "steps", "pays"),
    [("cuda", 0.1, 1_000, False), ("cuda", 0.1, 10_000, True), ("cuda", 1.0, 241, True), ("cpu", 1.0, 10**6, False)],
)
def test_a_model_is_compiled_only_where_the_trial_earns_it_back(
    device: str, seconds: float, steps: int, pays: bool
) -> None:
    assert devices.compiling_pays(torch.device(device), seconds, steps) is pays
