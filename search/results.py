"""What a search left: `trials.jsonl` read and written, and the decisions made on it. No Ray, no torch."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RUNNING, COMPLETE, PRUNED, FAIL = "RUNNING", "COMPLETE", "PRUNED", "FAIL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of `trials.jsonl`: a report (state RUNNING) or the end of a trial."""

    number: int
    """Of the trial, as Optuna counts, from 0."""
    state: str
    """RUNNING, or how it ended: COMPLETE, PRUNED (stopped early) or FAIL."""
    params: dict[str, Any]
    """The searched parameters."""
    label: str
    """Name of the space's own recipe that this trial is; empty for a sampled one."""
    epoch: float
    """Passes over the training slice so far."""
    samples: int
    """Training examples seen so far."""
    step: int
    """Optimizer steps so far."""
    metrics: dict[str, float]
    """Validation metrics, `train_loss` and `peak_memory_mb`; of the last report at an end."""
    seconds: float
    """Since the trial began on its slot."""
    pid: int
    """Process of the slot; 0 where it never answered."""
    time: float
    """Seconds since 1970, by the slot's clock for a report."""
    reason: str = ""
    """Why it failed or was stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial with all its reports."""

    number: int
    state: str
    params: dict[str, Any]
    label: str
    reports: tuple[Line, ...]
    seconds: float
    reason: str = ""

    def best(self, metric: str) -> Line | None:
        """The report with the highest `metric`, the earliest of equals; None without a finite one."""
        finite = [line for line in self.reports if math.isfinite(line.metrics.get(metric, math.nan))]
        return max(finite, key=lambda line: line.metrics[metric], default=None)

    def score(self, metric: str) -> float:
        """`metric` at its best report; minus infinity without one."""
        best = self.best(metric)
        return best.metrics[metric] if best else -math.inf


class Journal:
    """Appends to `trials.jsonl`; each line is on disk before `append` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def append(self, line: Line) -> None:
        """Write one line.

        Raises:
            OSError: the disk is full.
        """
        self._file.write(json.dumps(asdict(line)) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[Trial]:
    """All trials in a `trials.jsonl`, by number. A line cut short by a crash, or no file, is no trial."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(Line(**json.loads(text)))
        except (json.JSONDecodeError, TypeError):
            continue
    return collect(lines)


def collect(lines: Iterable[Line]) -> list[Trial]:
    """Lines in the order they were written -> trials by number."""
    by_number: dict[int, list[Line]] = {}
    for line in lines:
        by_number.setdefault(line.number, []).append(line)
    return [_trial(by_number[number]) for number in sorted(by_number)]


def _trial(lines: Sequence[Line]) -> Trial:
    last = lines[-1]
    return Trial(
        number=last.number,
        state=last.state,
        params=last.params,
        label=last.label,
        reports=tuple(line for line in lines if line.state == RUNNING),
        seconds=last.seconds,
        reason=last.reason,
    )


def winner(trials: Iterable[Trial], metric: str) -> Trial | None:
    """The trial whose best report is highest; of equals the one with the lower loss there, then the earlier.

    A trial that ASHA stopped takes part with what it reported; one that failed does not. None without
    any finite report.
    """

    def key(trial: Trial) -> tuple[float, float, int]:
        best = trial.best(metric)
        return (-trial.score(metric), best.metrics.get("loss", math.inf) if best else math.inf, trial.number)

    able = [trial for trial in trials if trial.state != FAIL and trial.best(metric)]
    return min(able, key=key, default=None)


def top(trials: Iterable[Trial], metric: str, count: int) -> list[Trial]:
    """The best `count` trials, best first, in the order of `winner`."""
    left = list(trials)
    found: list[Trial] = []
    while len(found) < count and (best := winner(left, metric)):
        found.append(best)
        left.remove(best)
    return found


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Trials per state, every state named."""
    found = Counter(trial.state for trial in trials)
    return {state: found[state] for state in (COMPLETE, PRUNED, FAIL, RUNNING)}


def majority(labels: Sequence[int]) -> float:
    """Accuracy of always answering the most frequent class."""
    return max(Counter(labels).values()) / len(labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A row to hold the winner against."""

    name: str
    validation: float | None
    """Best validation score; None where the recipe never reported."""
    first_rung: float | None = None
    """Score at its first report."""
    epoch: float | None = None
    """Epochs of the best report."""
    test: float | None = None
    """Test score, known for the majority class only: the test set is read for the winner alone."""
    params: Mapping[str, Any] = field(default_factory=dict)


def references(
    trials: Iterable[Trial], metric: str, majority_validation: float, majority_test: float
) -> list[Reference]:
    """Majority class first, then the space's own recipes in the order they were tried."""
    rows = [Reference(name="majority class", validation=majority_validation, test=majority_test)]
    for trial in trials:
        if trial.label:
            best = trial.best(metric)
            rows.append(
                Reference(
                    name=trial.label,
                    validation=best.metrics[metric] if best else None,
                    first_rung=trial.reports[0].metrics.get(metric) if trial.reports else None,
                    epoch=best.epoch if best else None,
                    params=trial.params,
                )
            )
    return rows
