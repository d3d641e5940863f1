"""`log.jsonl`: what has happened in a run directory besides training. The process that holds it works there alone."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frostline.search.records import audit
from frostline.search.records import folder as run_folder
from frostline.search.records.events import LOG, read_events
from frostline.search.records.journal import Journal, is_file

_EVERY = 30.0
"""Seconds after which a session that works says so in the log."""


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
        """Seconds that this session has worked."""
        return self._stopwatch() - self._began

    def count_from(self, began: float) -> None:
        """Count the time of this session from an earlier moment, by `time.monotonic`: planning takes time, too."""
        self._began = min(self._began, began)

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


@contextmanager
def hold(run: Path, command: str = "", clock: Callable[[], float] | None = None) -> Iterator[Log]:
    """The log of a run directory, for one process at a time. The system releases it when the process dies.

    A start that the log has lost is written again, from the records of the training.

    Args:
        run: the run directory.
        command: the command line, kept with the session; empty if there was none.
        clock: as `Log` has it.

    Raises:
        ValueError: another process works in the directory, which the message names; or its records are damaged.
    """
    is_file(run / LOG)
    with (run / LOG).open("ab") as lock:  # the log itself is the lock, so no lock file is left behind
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run} is in use by {_holder(run)}") from None
        books = audit.read(run)
        audit.check_numbers(books)
        log = Log(run, clock)
        try:
            log.append("session", pid=os.getpid(), host=socket.gethostname(), command=command)
            for job in books.unlogged:
                log.append("start", **dataclasses.asdict(job))
            yield log
        finally:
            log.close()


def check_free(run: Path) -> None:
    """Refuse a directory that another process works in, before anything slow is done.

    Raises:
        ValueError: names that process.
    """
    if not is_file(run / LOG):
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
