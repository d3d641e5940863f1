"""The events of `log.jsonl`, and the jobs that they start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search.records import folder as run_folder
from frostline.search.records.checks import check_metrics, check_params, check_seconds
from frostline.search.records.journal import read_lines
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces._typed import typed

LOG = "log.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training: of a recipe that is tried, or of one of the best recipes again, with a fresh seed."""

    number: int
    """Number of the trial, as Optuna counts, from 0."""
    seed: int
    params: dict[str, Any]
    """The searched parameters."""
    label: str
    """Name of the space's own recipe; empty for a sampled one."""
    confirms: bool
    """Whether it confirms a trial with a fresh seed."""

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"there is no trial {self.number}")

    @property
    def key(self) -> tuple[int, int]:
        """Number and seed."""
        return self.number, self.seed

    @property
    def folder(self) -> str:
        """Where its files are, below the run directory."""
        return run_folder.folder(self.number, self.seed if self.confirms else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The fields that every event has."""

    event: str
    """Its kind."""
    time: float
    """Seconds since 1970, by the clock of the machine."""
    worked: float | None = None
    """Seconds that the session has worked; None in a log of an earlier version."""

    def __post_init__(self) -> None:
        check_seconds(self.time, self.worked or 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Session:
    pid: int
    host: str
    command: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lost:
    number: int
    seed: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Test:
    folder: str
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    difference: Any = None

    def __post_init__(self) -> None:
        check_metrics(self.metrics)
        if self.difference is not None:
            if not (isinstance(self.difference, list) and len(self.difference) == 2):
                raise ValueError("a difference is no interval")
            check_metrics(dict(enumerate(self.difference)))


_KINDS = {"session": _Session, "lost": _Lost, "test": _Test}


def read_events(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """The events of these kinds, of every kind if none is given, oldest first. Damaged lines are left out."""
    for fields in read_lines(path):
        if (not kinds or fields.get("event") in kinds) and not fault_of(fields):
            yield fields


def fault_of(fields: Mapping[str, Any]) -> str:
    """Why a line of a log is no event; empty if it is one. A kind of event that is not known here is one."""
    try:
        event = typed(Event, fields, more=True)
        if kind := _KINDS.get(event.event):
            typed(kind, fields, more=True)
        if event.event == "start":
            job_in(fields)
    except ValueError as error:
        return str(error)
    return ""


def job_in(fields: Mapping[str, Any]) -> Job:
    """The job of a `start`.

    Raises:
        ValueError: a field is missing, of another type, or impossible.
    """
    job = typed(Job, {"label": "", "confirms": False, **fields}, more=True)
    check_params(job.params)
    return job


def started_jobs(run: Path) -> list[Job]:
    """Every training that was ever given to a slot, in that order. Events with impossible numbers are left out."""
    return [job_in(fields) for fields in read_events(run / LOG, "start")]


def job_of(trial: Trial) -> Job:
    """The job of a recorded training."""
    return Job(number=trial.number, seed=trial.seed, params=trial.params, label=trial.label, confirms=trial.confirms)


def unreported(job: Job, now: float) -> Trial:
    """A training that was given to a slot and has no line yet. `now`: seconds since 1970."""
    return Trial(
        number=job.number,
        outcome=Outcome.RUNNING,
        confirms=job.confirms,
        params=job.params,
        label=job.label,
        reports=(),
        seconds=0.0,
        seed=job.seed,
        time=now,
    )
