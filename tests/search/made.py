"""Lines, trials, a clock and a full disk made by hand, for tests that need no training."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search import results
from search.results import RUNNING, Line, Trial

PARAMS = {"learning_rate": 1.25e-4, "batch_size": 8, "frozen_layers": 3, "weight_decay": 0.00866}


def line(number: int, state: str, score: float | None = None, **more: Any) -> Line:
    """One line of a record; without a score it has no metrics."""
    fields: dict[str, Any] = {
        "number": number,
        "state": state,
        "params": PARAMS,
        "label": "",
        "epoch": 1.0,
        "samples": 320,
        "step": 40,
        "metrics": {} if score is None else {"accuracy": score, "loss": 1 - score},
        "seconds": 12.0,
        "pid": 1,
        "time": 0.0,
    }
    return Line(**{**fields, **more})


def trial(number: int, state: str, *scores: float, reason: str = "", **more: Any) -> Trial:
    """A trial with a report an epoch, and the line of its end unless it is RUNNING."""
    lines = [
        line(number, RUNNING, score, **{"epoch": float(epoch), "samples": 320 * epoch, **more})
        for epoch, score in enumerate(scores, start=1)
    ]
    if state != RUNNING:
        last = {"epoch": float(len(scores)), "samples": 320 * len(scores)}
        lines.append(line(number, state, scores[-1] if scores else None, reason=reason, **{**last, **more}))
    return results.collect(lines)[0]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: the system itself writes short, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
