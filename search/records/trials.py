"""The records of trainings, `trials.jsonl` and `confirm.jsonl`, and the order of trials. No Ray, no torch."""

from __future__ import annotations

import bisect
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from frostline.search.records import earlier
from frostline.search.records.checks import check_counts, check_duration, check_metrics, check_params, check_seconds
from frostline.search.records.journal import Journal, entries
from frostline.spaces import SEEDS

FILES = ("trials.jsonl", "confirm.jsonl")
"""The records: trainings of trials, and those that confirm them."""


class Outcome(StrEnum):
    """How a training ended, or that it has not. The value is what records hold and people read."""

    RUNNING = "running"
    """It has reported, and has no end yet."""
    COMPLETE = "complete"
    """It has used its whole budget."""
    PRUNED = "pruned"
    """It was stopped at a rung."""
    INFEASIBLE = "infeasible"
    """The device has no memory for a single example."""
    OUT_OF_TIME = "out of time"
    """The time budget for trials was over."""
    INTERRUPTED = "interrupted"
    """Ctrl-C ended it; it goes on with `--resume`."""
    FAILED = "failed"
    """Its recipe or our code failed; `reason` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of `trials.jsonl` or `confirm.jsonl`: a report, or the end of a training."""

    number: int
    """Number of the trial, as Optuna counts, from 0."""
    outcome: Outcome
    """RUNNING in a report, else how the training ended."""
    confirms: bool
    """True for a training that confirms a trial with a fresh seed."""
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
    objective: float | None
    """The deciding metric, turned so that larger is better; None at an end without any report."""
    metrics: dict[str, float]
    """Validation metrics, `train_loss` and `peak_memory_mb`; at an end those of the last report."""
    seconds: float
    """Seconds since the training began on its slot."""
    pid: int
    """Process of the slot; 0 if it never answered."""
    time: float
    """Seconds since 1970; in a report by the slot's clock."""
    reason: str = ""
    """Why it failed or did not fit, in words."""
    seed: int = 0
    """Seed of the training."""
    micro_batch: int = 0
    """Examples per forward pass; 0 before the first report."""
    device: str = ""
    """`cpu`, or the GPU's name."""
    cached_layers: int = 0
    """Blocks that were not run, because the prefix cache had their outputs."""
    node: str = ""
    """Name of the slot's machine."""
    partial: bool = False
    """True if the metrics are those of a part of the validation examples, as at an early rung."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds since the report before, by activity: `training`, `evaluation`, `data` (waiting for batches, reading or
    making outputs of frozen blocks). Empty at an end."""

    @classmethod
    def of(cls, fields: dict[str, Any], metric: str = "accuracy") -> Line:
        """The line of a JSON object; inverse of `dataclasses.asdict`, also for records of earlier versions.

        Args:
            fields: one line of a record file.
            metric: metric that decides in a search of an earlier version, whose lines have no objective.

        Raises:
            KeyError, TypeError, ValueError: it is no line of a record.
        """
        fields = earlier.upgraded(fields, metric)
        line = cls(**{**fields, "outcome": Outcome(fields["outcome"])})
        line._check()
        return line

    def _check(self) -> None:
        """Refuse a line that is not what it seems: its numbers become folder names."""
        whole = type(self.number) is int and type(self.seed) is int
        if not whole or self.number < 0 or not 0 <= self.seed < SEEDS:
            raise ValueError(f"{(self.number, self.seed)} is no trial")
        check_counts(self.samples, self.step, self.pid, self.micro_batch, self.cached_layers)
        check_seconds(self.epoch, self.time)
        check_duration(self.seconds)
        check_metrics(self.metrics)
        check_metrics(self.spent)
        check_metrics({} if self.objective is None else {"objective": self.objective})
        check_params(self.params)
        if not all(isinstance(text, str) for text in (self.label, self.reason, self.device, self.node)):
            raise TypeError("a text has another type")
        if not (isinstance(self.confirms, bool) and isinstance(self.partial, bool)):
            raise TypeError("a field is neither true nor false")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial, or one training that confirms it, with all its reports."""

    number: int
    outcome: Outcome
    confirms: bool
    params: dict[str, Any]
    label: str
    reports: tuple[Line, ...]
    seconds: float
    reason: str = ""
    seed: int = 0
    time: float = 0.0
    """Time of its last line, seconds since 1970."""

    @property
    def key(self) -> tuple[int, int]:
        """Number and seed, which tell it from all other trainings."""
        return self.number, self.seed

    @property
    def open(self) -> bool:
        """True if training goes on when the search does: it has no end, or was interrupted."""
        return self.outcome in {Outcome.RUNNING, Outcome.INTERRUPTED}

    @property
    def best(self) -> Line | None:
        """The report with the highest objective, the earliest of equals; None without a finite one.

        A report on a part of the validation examples does not compare with the others, so it does not count.
        """
        measured = [line for line in self.reports if not line.partial and _is_finite(line.objective)]
        return max(measured, key=lambda line: line.objective or 0.0, default=None)

    @property
    def objective(self) -> float:
        """Objective of the best report; minus infinity without one."""
        best = self.best
        return -math.inf if best is None or best.objective is None else best.objective


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


class Records:
    """The trainings of one record file, kept up to date line by line."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._trials = {trial.key: trial for trial in read(path)}

    def append(self, line: Line) -> Trial:
        """Write a line; returns its training as it stands now.

        Raises:
            OSError: the disk is full; nothing has changed.
        """
        self._journal.append(asdict(line))
        trial = extended(self._trials.get((line.number, line.seed)), line)
        self._trials[trial.key] = trial
        return trial

    def get(self, number: int, seed: int) -> Trial | None:
        """The training, None before its first line."""
        return self._trials.get((number, seed))

    def __iter__(self) -> Iterator[Trial]:
        """All trainings, by number and seed."""
        return iter([self._trials[key] for key in sorted(self._trials)])

    def __len__(self) -> int:
        """Number of trainings."""
        return len(self._trials)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def read(path: Path) -> list[Trial]:
    """All trainings in a `trials.jsonl` or `confirm.jsonl`, by number. Damaged lines are left out."""
    return collect(line for _, line in numbered(path) if isinstance(line, Line))


def numbered(path: Path) -> Iterator[tuple[int, Line | str]]:
    """The number of each line of a record file, and the line; if it is damaged, why.

    Raises:
        ValueError: the path is no file.
    """
    metric = ""
    for entry in entries(path):
        fields: Line | str = entry.damage
        if not entry.damage:
            if earlier.is_earlier(entry.fields):
                metric = metric or earlier.metric_of(path)
                entry.fields["confirms"] = path.name == "confirm.jsonl"
            try:
                fields = Line.of(entry.fields, metric)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                fields = f"it is no line of a record: {error}"
        yield entry.line, fields


def collect(lines: Iterable[Line]) -> list[Trial]:
    """Lines in the order in which they were written -> trainings by number."""
    trials: dict[tuple[int, int], Trial] = {}
    for line in lines:
        trial = extended(trials.get((line.number, line.seed)), line)
        trials[trial.key] = trial
    return [trials[key] for key in sorted(trials)]


def extended(trial: Trial | None, line: Line) -> Trial:
    """The training with one line more; `trial` is None for its first line."""
    reports = trial.reports if trial else ()
    return Trial(
        number=line.number,
        outcome=line.outcome,
        confirms=line.confirms,
        params=line.params,
        label=line.label,
        reports=(*reports, line) if line.outcome == Outcome.RUNNING else reports,
        seconds=line.seconds,
        reason=line.reason,
        seed=line.seed,
        time=line.time,
    )


def winner(trials: Iterable[Trial]) -> Trial | None:
    """The trial with the highest objective; of equals the one with the lower loss there, then the earlier.

    A trial that was stopped takes part with what it reported; one that failed does not. None without
    any finite report.
    """
    return next(iter(top(trials, 1)), None)


def top(trials: Iterable[Trial], count: int) -> list[Trial]:
    """The best `count` trials, best first, in the order of `winner`."""
    placed = {place: trial for trial in trials if (place := _place(trial))}
    return [placed[place] for place in heapq.nsmallest(count, placed)]


_Place = tuple[float, float, int, int]


def _place(trial: Trial) -> _Place | None:
    """The key that `winner` sorts by, different for any two trials; None for a trial that cannot win."""
    best = trial.best
    if best is None or trial.outcome == Outcome.FAILED:
        return None
    loss = best.metrics.get("loss", math.inf)
    return -trial.objective, (math.inf if math.isnan(loss) else loss), *trial.key


class Ranking:
    """Trials in the order of `winner`. Each is put in its place when it changes, since a search often asks for its
    best."""

    def __init__(self) -> None:
        self._order: list[_Place] = []
        self._places: dict[tuple[int, int], _Place] = {}
        self._trials: dict[_Place, Trial] = {}

    def put(self, trial: Trial) -> None:
        """Add a trial, or move one that has a line more."""
        if before := self._places.pop(trial.key, None):
            del self._order[bisect.bisect_left(self._order, before)], self._trials[before]
        if place := _place(trial):
            bisect.insort(self._order, place)
            self._places[trial.key], self._trials[place] = place, trial

    def __iter__(self) -> Iterator[Trial]:
        """Those that can win, best first."""
        return (self._trials[place] for place in self._order)


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Trials per outcome, every outcome named."""
    numbers = Counter(trial.outcome for trial in trials)
    return {outcome.value: numbers[outcome] for outcome in (*list(Outcome)[1:], Outcome.RUNNING)}
