"""The record of the trained baseline, `baseline.json`, and its answers for the test slice, `baseline.safetensors`.

Before the test set is read with a winner, these answers have met no labels: no test score of the baseline exists.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.search.records.checks import check_counts, check_duration, check_metrics
from frostline.spaces._typed import typed
from frostline.trainables import _atomic

FILE, ANSWERS = "baseline.json", "baseline.safetensors"

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRecord:
    """What came of the trained baseline."""

    name: str
    seconds: float
    """Wall-clock seconds that it took."""
    examples: dict[str, int] = field(default_factory=dict)
    """Split -> examples that it was trained on, or answered. They are the first ones of the slice."""
    validation: dict[str, Any] = field(default_factory=dict)
    """Metrics on the validation examples; empty if there is a problem."""
    test: dict[str, Any] | None = None
    """Metrics on the test examples; None before the test set is read with a winner."""
    problem: str = ""
    """Why there are no scores, as the end of a sentence that begins with the name; empty if there are."""

    def __post_init__(self) -> None:
        check_duration(self.seconds)
        check_counts(*self.examples.values())
        check_metrics(self.validation)
        check_metrics(self.test or {})
        if not (self.problem or {"train", "validation", "test"} <= self.examples.keys()):
            raise ValueError("a baseline has examples of three slices")


def read(run: Path) -> BaselineRecord | None:
    """The record in a run directory; None if there is none, or a damaged one."""
    try:
        return typed(BaselineRecord, json.loads((run / FILE).read_text(encoding="utf-8")), more=True)
    except (OSError, ValueError, RecursionError):
        return None


def write(run: Path, record: BaselineRecord, answers: Array | None = None) -> None:
    """Write the record, after the answers that it stands for.

    Args:
        run: the run directory.
        record: what came of the baseline.
        answers: log-probabilities for the test examples, float32 [examples, classes]; None if they stay as they are.

    Raises:
        OSError: the disk is full.
    """
    if answers is not None:
        from safetensors.numpy import save

        _atomic.write(run / ANSWERS, save({"test": answers}))
    _atomic.write(run / FILE, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def answers(run: Path) -> Array | None:
    """The answers for the test examples, in the order of the slice.

    None if there are none, or damaged ones, or if the record is of something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    record = read(run)
    if record is None or record.problem:
        return None
    try:
        test = load((run / ANSWERS).read_bytes())["test"]
    except (OSError, KeyError, ValueError, SafetensorError):
        return None
    return np.asarray(test) if test.ndim == 2 and len(test) == record.examples["test"] else None
