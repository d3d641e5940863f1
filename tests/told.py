"""Messages of a slot made by hand, for tests that need no training."""

from typing import Any

from frostline.trainables._task import Failed, Measured

NOTHING_YET: dict[str, Any] = {
    "epoch": 0.0,
    "samples": 0,
    "step": 0,
    "seconds": 1.0,
    "time": 0.0,
    "pid": 1,
    "node": "",
}
"""Where a training stands before its first report."""


def said(epoch: float, score: float, now: float, **more: Any) -> Measured:
    """What a slot reports after an epoch."""
    fields: dict[str, Any] = {
        "objective": score,
        "epoch": epoch,
        "samples": int(320 * epoch),
        "step": int(40 * epoch),
        "metrics": {"accuracy": score, "loss": 1 - score},
        "partial": False,
        "final": False,
        "micro_batch": 0,
        "device": "",
        "cached_layers": 0,
        "spent": {},
        "seconds": 10 * epoch,
        "pid": 1,
        "node": "",
        "time": now,
    }
    return Measured(**{**fields, **more})


def failed(reason: str, **more: Any) -> Failed:
    """What a slot tells of a training that failed before its first report."""
    return Failed(reason=reason, **NOTHING_YET, **more)
