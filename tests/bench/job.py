"""The harness gives a system one JSON file; the system answers with JSON lines.

Standard library only: every system's process reads it before anything heavy is imported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARAMETERS = ("learning_rate", "batch_size", "frozen_layers", "weight_decay")
"""The searched space, in Frostline's words."""

LEARNING_RATE, BATCH_SIZES, WEIGHT_DECAY = (1e-5, 1e-3), (8, 16, 32), (1e-4, 1e-1)
"""The space that every system searches; the rates on a logarithmic scale. The depth's range is in the job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run of one system."""

    system: str
    """Its letter."""
    search: bool
    """True if it proposes recipes itself and stops losers early; else it trains `recipes` to their end."""
    data: str
    """Folder with the token ids: `<split>-tokens`, `-offsets` and `-labels.npy`."""
    model: str
    """Folder that `from_pretrained` loads."""
    source: str
    """The model as a Frostline profile names it."""
    table: str
    """The data set as a Frostline profile names it."""
    train: int
    validation: int
    length: int
    """Tokens that a review is cut to."""
    epochs: int
    depths: tuple[int, int]
    """Least and most blocks that are frozen."""
    recipes: tuple[dict[str, Any], ...]
    """The fixed recipes; in a search, those tried first."""
    trials: int
    """Recipes in all."""
    reduction_factor: float
    first_rung: float
    """Epochs before a trial may be stopped, where a system can count in fractions of one."""
    seed: int
    concurrent: int
    """Trials at once, where the system runs several."""
    threads: int
    """Threads of a trial."""
    prefix_cache: str | None
    """Frostline's option; None leaves it as it is."""
    by_length: bool
    """Whether a peer's batches are of texts of about the same length, padded to their longest."""
    keep: bool
    """Whether a peer saves the weights of each score that is the best so far, at `kept`."""
    scratch: str
    """Folder for whatever the system writes."""

    @property
    def reports(self) -> Path:
        """Where the reports go."""
        return Path(self.scratch) / "reports.jsonl"

    def kept(self, params: Mapping[str, Any], epoch: float) -> Path:
        """Folder of the weights of a recipe after an epoch, if they were the best so far."""
        return Path(self.scratch) / "kept" / "-".join(f"{value:g}" for value in (*_key(params), epoch))

    def save(self) -> Path:
        """Write the job into its scratch folder; returns the file."""
        path = Path(self.scratch) / "job.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1))
        return path


def load(path: str | Path) -> Job:
    """The job in a file that `Job.save` wrote."""
    fields = json.loads(Path(path).read_text())
    fields["recipes"], fields["depths"] = tuple(fields["recipes"]), tuple(fields["depths"])
    return Job(**fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One validation score."""

    trial: str
    params: Mapping[str, Any]
    epoch: float
    accuracy: float
    time: float
    """Seconds since 1970."""
    seconds: float
    """Since the trial began."""


class Teller:
    """Says one trial's scores: each is a line, appended in one write, so that trials may share the file."""

    def __init__(self, path: Path, trial: str, params: Mapping[str, Any]) -> None:
        self._path, self._trial = path, trial
        self._params = {name: params[name] for name in PARAMETERS}
        self._began = time.time()

    def __call__(self, epoch: float, accuracy: float) -> None:
        now = time.time()
        report = Report(
            trial=self._trial,
            params=self._params,
            epoch=epoch,
            accuracy=accuracy,
            time=now,
            seconds=now - self._began,
        )
        line = json.dumps(dataclasses.asdict(report)).encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def read_reports(job: Job) -> list[Report]:
    """All scores that the job's system has told so far; of Frostline, those in its run directory."""
    if job.system.startswith("F"):
        return _read_records(Path(job.scratch) / "runs" / "bench" / "trials.jsonl")
    if not job.reports.exists():
        return []
    return [Report(**json.loads(line)) for line in job.reports.read_text().splitlines()]


def _read_records(path: Path) -> list[Report]:
    if not path.exists():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines(keepends=True) if text.endswith("\n")]
    return [
        Report(
            trial=str(line["number"]),
            params=line["params"],
            epoch=line["epoch"],
            accuracy=line["metrics"]["accuracy"],
            time=line["time"],
            seconds=line["seconds"],
        )
        for line in lines
        if line["outcome"] == "running"
    ]


def improvements(reports: Sequence[Report], began: float) -> tuple[tuple[float, float], ...]:
    """Seconds since `began` and the score of each report that is better than all before it."""
    return tuple((report.time - began, report.accuracy) for report in better_and_better(reports))


def better_and_better(reports: Sequence[Report]) -> list[Report]:
    """The reports, in the order of time, that are better than all before them."""
    found: list[Report] = []
    for report in sorted(reports, key=lambda report: report.time):
        if not found or report.accuracy > found[-1].accuracy:
            found.append(report)
    return found


def final_scores(job: Job, reports: Sequence[Report]) -> list[float]:
    """The score of each of the job's recipes after its last epoch, in their order.

    Raises:
        ValueError: a recipe has none.
    """
    found: dict[tuple[float, ...], float] = {}
    for report in reports:
        if report.epoch > job.epochs - 1e-6:
            found[_key(report.params)] = report.accuracy
    missing = [number for number, recipe in enumerate(job.recipes) if _key(recipe) not in found]
    if missing:
        raise ValueError(f"{job.system} has no result of {len(missing)} recipes, first number {missing[0]}")
    return [found[_key(recipe)] for recipe in job.recipes]


def _key(params: Mapping[str, Any]) -> tuple[float, ...]:
    """A recipe as a key, whatever a system's own number formats did to its last digits."""
    return tuple(float(f"{float(params[name]):.9g}") for name in PARAMETERS)
