"""`log.jsonl`: what has happened in a run directory besides training. The process that holds it works there alone."""

from __future__ import annotations

import datetime
import fcntl
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search.records import folder as run_folder
from frostline.search.records.journal import Journal, read_lines
from frostline.search.records.trials import Outcome, Trial

LOG = "log.jsonl"


class Log:
    """The events of a run directory, one JSON line each.

    Events: `session` (a process has begun to work here), `start` (a training was given to a slot for the first time),
    `lost` (its process died and it goes on), `test` (the test set was read).
    """

    def __init__(self, run: Path) -> None:
        self._path = run / LOG
        self._journal = Journal(self._path)
        self.remove: Callable[[Path], None] = run_folder.remove
        """Removes a file of a training, here and at the URL if the run directory has one."""
        self.news: Callable[[], list[str]] = list
        """Messages for the user about the storage since the last call; raises if another process has taken it over."""
        self.unsent = ""
        """Warning if files could not be uploaded; empty if all were."""

    def append(self, event: str, **fields: Any) -> None:
        """Write one event.

        Raises:
            OSError: the disk is full.
        """
        self._journal.append({"event": event, "time": time.time(), **fields})

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """All events of these kinds, oldest first."""
        return [fields for fields in read_lines(self._path) if fields.get("event") in kinds]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


@contextmanager
def hold(run: Path, command: str = "") -> Iterator[Log]:
    """The log of a run directory, for one process at a time. The system releases it when the process dies.

    Args:
        run: the run directory.
        command: the command line, kept with the session; empty if there was none.

    Raises:
        ValueError: another process works in the directory; the message names it.
    """
    with (run / LOG).open("ab") as lock:  # the log itself is the lock, so no lock file is left behind
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run} is in use by {_holder(run)}") from None
        log = Log(run)
        log.append("session", pid=os.getpid(), host=socket.gethostname(), command=command)
        try:
            yield log
        finally:
            log.close()


def check_free(run: Path) -> None:
    """Refuse a directory that another process works in, before anything slow is done.

    Raises:
        ValueError: names that process.
    """
    try:
        with (run / LOG).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return  # `read_plan` says what is wrong with it
    except BlockingIOError:
        raise ValueError(f"{run} is in use by {_holder(run)}") from None


def _holder(run: Path) -> str:
    sessions = [fields for fields in read_lines(run / LOG) if fields.get("event") == "session"]
    if not sessions:
        return "another process"
    last = sessions[-1]
    since = datetime.datetime.fromtimestamp(last["time"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {last['pid']} on {last['host']} since {since}"


def seconds_used(sessions: list[float], times: list[float]) -> float:
    """Seconds that earlier sessions worked: each from its start to the last thing it recorded.

    Args:
        sessions: starts of all sessions but this one, rising, seconds since 1970.
        times: times of everything recorded, seconds since 1970.
    """
    used = 0.0
    for start, stop in itertools.pairwise([*sessions, float("inf")]):
        used += max((time for time in times if start <= time < stop), default=start) - start
    return used


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

    @property
    def key(self) -> tuple[int, int]:
        """Number and seed."""
        return self.number, self.seed

    @property
    def folder(self) -> str:
        """Where its files are, below the run directory."""
        return run_folder.folder(self.number, self.seed if self.confirms else None)


def started_jobs(run: Path) -> list[Job]:
    """Every training that was ever given to a slot, in that order. Events with impossible numbers are left out."""
    jobs = []
    for fields in read_lines(run / LOG):
        number, seed, params = (fields.get(name) for name in ("number", "seed", "params"))
        if fields.get("event") != "start" or type(number) is not int or type(seed) is not int or number < 0:
            continue
        if isinstance(params, dict):
            jobs.append(
                Job(
                    number=number,
                    seed=seed,
                    params=params,
                    label=str(fields.get("label", "")),
                    confirms=bool(fields.get("confirms")),
                )
            )
    return jobs


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
