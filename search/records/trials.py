"""What a search left: `trials.jsonl` and `confirm.jsonl` read and written, and which trial wins. No Ray, no torch."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frostline.search.records.journal import Journal, read_lines

RUNNING, COMPLETE, PRUNED, FAIL = "RUNNING", "COMPLETE", "PRUNED", "FAIL"

INTERRUPTED = "interrupted"
"""Reason of a trial that Ctrl-C ended: `--resume` goes on with it."""
OUT_OF_TIME = "time budget"
"""Reason of a trial that stopped because the time for trials was over."""
INFEASIBLE = "infeasible"
"""How the reason of a trial begins that no micro-batch of the device could hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of `trials.jsonl` or `confirm.jsonl`: a report (state RUNNING) or the end of a training."""

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
    seed: int = 0
    """Of the training; the search's own in `trials.jsonl`, a fresh one in `confirm.jsonl`."""
    micro_batch: int = 0
    """Examples per forward pass; 0 before the first report."""
    device: str = ""
    """`cpu`, or the GPU's name."""
    cached_layers: int = 0
    """Blocks that were not run, since the prefix cache had what they put out."""
    node: str = ""
    """Name of the slot's machine."""
    partial: bool = False
    """Whether the metrics are of the first of the validation examples only, as at an early rung."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds since the report before by what they went into: `training`, `evaluation`, `data` (waiting for batches,
    reading or making what frozen blocks put out). Nothing at an end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial, or one training that confirms it, with all its reports."""

    number: int
    state: str
    params: dict[str, Any]
    label: str
    reports: tuple[Line, ...]
    seconds: float
    reason: str = ""
    seed: int = 0
    time: float = 0.0
    """Of its last line, seconds since 1970."""

    @property
    def key(self) -> tuple[int, int]:
        """Number and seed: what tells it from all others."""
        return self.number, self.seed

    @property
    def open(self) -> bool:
        """Whether training goes on when the search does: it has no end, or only that of an interruption."""
        return self.state == RUNNING or self.reason == INTERRUPTED

    def best(self, metric: str) -> Line | None:
        """The report with the highest `metric`, the earliest of equals; None without a finite one.

        What was measured on some of the validation examples only does not compare, so it does not count.
        """
        whole = [line for line in self.reports if not line.partial]
        finite = [line for line in whole if math.isfinite(line.metrics.get(metric, math.nan))]
        return max(finite, key=lambda line: line.metrics[metric], default=None)

    def score(self, metric: str) -> float:
        """`metric` at its best report; minus infinity without one."""
        best = self.best(metric)
        return best.metrics[metric] if best else -math.inf


class Records:
    """The trials of one journal file, kept up to date line by line."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._trials = {trial.key: trial for trial in read(path)}

    def append(self, line: Line) -> Trial:
        """Write a line; returns the trial it belongs to, as it stands now.

        Raises:
            OSError: the disk is full; nothing has changed.
        """
        self._journal.append(asdict(line))
        trial = extended(self._trials.get((line.number, line.seed)), line)
        self._trials[trial.key] = trial
        return trial

    def get(self, number: int, seed: int) -> Trial | None:
        """The trial, None before its first line."""
        return self._trials.get((number, seed))

    def __iter__(self) -> Iterator[Trial]:
        """All trials, by number and seed."""
        return iter([self._trials[key] for key in sorted(self._trials)])

    def __len__(self) -> int:
        """How many there are."""
        return len(self._trials)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def read(path: Path) -> list[Trial]:
    """All trials in a `trials.jsonl` or `confirm.jsonl`, by number."""
    lines = []
    for fields in read_lines(path):
        try:
            line = Line(**fields)
        except TypeError:
            continue
        if _is_sound(line):
            lines.append(line)
    return collect(lines)


def _is_sound(line: Line) -> bool:
    """Whether a line read from disk is what it seems: its numbers become folder names."""
    numbered = type(line.number) is int and type(line.seed) is int and line.number >= 0
    known = line.state in {RUNNING, COMPLETE, PRUNED, FAIL} and isinstance(line.reason, str)
    measured = isinstance(line.metrics, dict) and all(isinstance(v, int | float) for v in line.metrics.values())
    timed = all(isinstance(v, int | float) for v in (line.epoch, line.samples, line.seconds, line.time))
    split = isinstance(line.spent, dict) and all(isinstance(v, int | float) for v in line.spent.values())
    return numbered and known and measured and timed and split and isinstance(line.params, dict)


def collect(lines: Iterable[Line]) -> list[Trial]:
    """Lines in the order they were written -> trials by number."""
    found: dict[tuple[int, int], Trial] = {}
    for line in lines:
        trial = extended(found.get((line.number, line.seed)), line)
        found[trial.key] = trial
    return [found[key] for key in sorted(found)]


def extended(trial: Trial | None, line: Line) -> Trial:
    """The trial with one line more; `None` for its first."""
    reports = trial.reports if trial else ()
    return Trial(
        number=line.number,
        state=line.state,
        params=line.params,
        label=line.label,
        reports=(*reports, line) if line.state == RUNNING else reports,
        seconds=line.seconds,
        reason=line.reason,
        seed=line.seed,
        time=line.time,
    )


def unreported(number: int, seed: int, params: dict[str, Any], label: str, now: float) -> Trial:
    """A training that was given to a slot and has no line yet."""
    return Trial(number=number, state=RUNNING, params=params, label=label, reports=(), seconds=0.0, seed=seed, time=now)


def winner(trials: Iterable[Trial], metric: str) -> Trial | None:
    """The trial whose best report is highest; of equals the one with the lower loss there, then the earlier.

    A trial that ASHA stopped takes part with what it reported; one that failed does not. None without
    any finite report.
    """
    return next(iter(top(trials, metric, 1)), None)


def top(trials: Iterable[Trial], metric: str, count: int) -> list[Trial]:
    """The best `count` trials, best first, in the order of `winner`."""
    placed = {place: trial for trial in trials if (place := _place(trial, metric))}
    return [placed[place] for place in heapq.nsmallest(count, placed)]


_Place = tuple[float, float, int, int]


def _place(trial: Trial, metric: str) -> _Place | None:
    """What `winner` sorts by, no two trials alike; None for a trial that cannot win."""
    best = trial.best(metric)
    if best is None or trial.state == FAIL:
        return None
    loss = best.metrics.get("loss", math.inf)
    return -best.metrics[metric], (math.inf if math.isnan(loss) else loss), *trial.key


class Ranking:
    """Trials in the order of `winner`, each put in its place as it changes: a search asks for its best all the time."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._order: list[_Place] = []
        self._places: dict[tuple[int, int], _Place] = {}
        self._trials: dict[_Place, Trial] = {}

    def put(self, trial: Trial) -> None:
        """A new trial, or one that has a line more."""
        if before := self._places.pop(trial.key, None):
            del self._order[bisect.bisect_left(self._order, before)], self._trials[before]
        if place := _place(trial, self._metric):
            bisect.insort(self._order, place)
            self._places[trial.key], self._trials[place] = place, trial

    def __iter__(self) -> Iterator[Trial]:
        """Those that can win, best first."""
        return (self._trials[place] for place in self._order)


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """Trials per state, every state named."""
    found = Counter(trial.state for trial in trials)
    return {state: found[state] for state in (COMPLETE, PRUNED, FAIL, RUNNING)}


def majority(labels: Sequence[int]) -> float:
    """Accuracy of always answering the most frequent class."""
    return max(Counter(labels).values()) / len(labels)


FAST_FAILURES = 5
"""Failures in a row, each before the first report, that say something is wrong with more than the recipes."""


def hopeless(ended: Sequence[Trial]) -> str | None:
    """Why going on would only burn the budget: the last reason of `FAST_FAILURES` fast failures in a row.

    A recipe that did not fit the device counts only while no trial has fitted.

    Args:
        ended: trials in the order they ended in this session.
    """
    fitted = any(trial.reports for trial in ended)
    counted = (trial for trial in reversed(ended) if not (fitted and trial.reason.startswith(INFEASIBLE)))
    last = list(itertools.islice(counted, FAST_FAILURES))
    fast = [trial for trial in last if not trial.reports and trial.reason not in {INTERRUPTED, OUT_OF_TIME}]
    return last[0].reason if len(fast) == FAST_FAILURES else None


def fitting_micro_batches(trials: Iterable[Trial], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """By device, the smallest micro-batch that one of the trials had to shrink to.

    Length is one in a search, so model, depth and device are what is left of (model, length, frozen depth, device).

    Args:
        trials: any number of them, all of one model, frozen at one depth.
        known: what other such trials gave.
    """
    found = dict(known or {})
    for trial in trials:
        for line in trial.reports:
            if 0 < line.micro_batch < trial.params.get("batch_size", 0):
                found[line.device] = min(line.micro_batch, found.get(line.device, line.micro_batch))
    return found


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
