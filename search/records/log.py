"""`log.jsonl`: what has happened in a run directory besides training. The process that holds it works there alone."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search.records import folder as run_folder
from frostline.search.records.journal import Journal, is_journal, read_lines
from frostline.search.records.trials import FILES, Outcome, Trial, check_metrics, check_params, check_seconds, read
from frostline.spaces._typed import typed

LOG = "log.jsonl"

_EVERY = 30.0
"""Seconds after which a session that works says so in the log."""


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

    def __post_init__(self) -> None:
        check_metrics(self.metrics)


_KINDS = {"session": _Session, "lost": _Lost, "test": _Test}


class Log:
    """The events of a run directory, one JSON line each.

    Events: `session` (a process has begun to work here), `start` (a training was given to a slot for the first time),
    `lost` (its process died and it goes on), `test` (the test set was read), `worked` (the session has worked so long).
    """

    def __init__(self, run: Path, clock: Callable[[], float] | None = None) -> None:
        """Open the log.

        Args:
            run: the run directory.
            clock: gives seconds since 1970 and is never set. None for the clock of the system, which may be set, beside
                its stopwatch, which is not.
        """
        self._path, self._clock, self._stopwatch = run / LOG, clock or time.time, clock or time.monotonic
        self._journal = Journal(self._path)
        self._began = self._stopwatch()
        self._marked = 0.0
        self.remove: Callable[[Path], None] = run_folder.remove
        """Removes a file of a training, here and at the URL if the run directory has one."""
        self.news: Callable[[], list[str]] = list
        """Messages for the user about the storage since the last call; raises if another process has taken it over."""
        self.unsent = ""
        """Warning if files could not be uploaded; empty if all were."""

    @property
    def seconds(self) -> float:
        """Seconds since this process opened the log."""
        return self._stopwatch() - self._began

    def append(self, event: str, **fields: Any) -> None:
        """Write one event, with the time and the seconds that this session has worked.

        Raises:
            OSError: the disk is full.
        """
        self._marked = self.seconds
        self._journal.append({"event": event, "time": self._clock(), "worked": round(self._marked, 3), **fields})

    def mark(self, every: float = _EVERY) -> None:
        """Write how long this session has worked, if the last event is `every` seconds old.

        Raises:
            OSError: the disk is full.
        """
        if self.seconds - self._marked >= every:
            self.append("worked")

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """All events of these kinds, oldest first; of every kind if none is given."""
        return list(read_events(self._path, *kinds))

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


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


@contextmanager
def hold(run: Path, command: str = "", clock: Callable[[], float] | None = None) -> Iterator[Log]:
    """The log of a run directory, for one process at a time. The system releases it when the process dies.

    A start that the log has lost is written again, from the records of the training.

    Args:
        run: the run directory.
        command: the command line, kept with the session; empty if there was none.
        clock: as `Log` has it.

    Raises:
        ValueError: another process works in the directory; the message names it.
    """
    is_journal(run / LOG)
    with (run / LOG).open("ab") as lock:  # the log itself is the lock, so no lock file is left behind
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run} is in use by {_holder(run)}") from None
        log = Log(run, clock)
        try:
            log.append("session", pid=os.getpid(), host=socket.gethostname(), command=command)
            for job in unlogged_jobs(run):
                log.append("start", **dataclasses.asdict(job))
            yield log
        finally:
            log.close()


def check_free(run: Path) -> None:
    """Refuse a directory that another process works in, before anything slow is done.

    Raises:
        ValueError: names that process.
    """
    if not is_journal(run / LOG):
        return  # `read_plan` says what is wrong with it
    try:
        with (run / LOG).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{run} is in use by {_holder(run)}") from None


def _holder(run: Path) -> str:
    sessions = list(read_events(run / LOG, "session"))
    if not sessions:
        return "another process"
    last = sessions[-1]
    since = datetime.datetime.fromtimestamp(last["time"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {last['pid']} on {last['host']} since {since}"


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


def unlogged_jobs(run: Path) -> list[Job]:
    """The trainings that have records, and no start in the log, by number and seed."""
    started = {job.key for job in started_jobs(run)}
    trainings = [trial for name in FILES for trial in read(run / name)]
    return [job_of(trial) for trial in trainings if trial.key not in started]


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
