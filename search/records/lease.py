"""Who writes a run directory at a URL: a lock file that only one process can create, and renews while it works."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.search.records.checks import check_seconds
from frostline.spaces._typed import typed
from frostline.trainables._storage import Store

NAME = "lock.json"
EVERY = 30.0
"""Seconds after which the holder renews the lock."""
LIMIT = 120.0
"""Seconds without a renewal after which another process may take the lock."""


class TakenOverError(Exception):
    """Another process works in the run directory now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The content of the lock file: the process that holds it."""

    id: str
    """Unique to this lease."""
    pid: int
    host: str
    boot: str
    """Id of the host's last start and of the container's process numbers. Elsewhere `pid` means another process."""
    time: float
    """When the lock was first taken, seconds since 1970."""

    def __post_init__(self) -> None:
        check_seconds(self.time)

    def __str__(self) -> str:
        """For a message, in the same form as for a folder's holder."""
        since = datetime.datetime.fromtimestamp(self.time).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.pid} on {self.host} since {since}"


def this_process() -> Holder:
    """This process as the holder of a lock from now on."""
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return Holder(
        id=uuid.uuid4().hex,
        pid=os.getpid(),
        host=socket.gethostname(),
        boot=f"{boot.read_text().strip()} {numbers.readlink()}" if boot.exists() else "",
        time=time.time(),
    )


def is_alive(pid: int) -> bool:
    """True if this machine has a process of that number."""
    if pid <= 0:  # several processes, to the system
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a damaged record may hold any number
        return False
    except PermissionError:
        return True
    return True


def is_free(holder: Holder, age: float, here: Holder, alive: Callable[[int], bool] = is_alive) -> bool:
    """Whether a lock may be taken from its holder.

    Args:
        holder: of the lock.
        age: seconds since it was renewed, by the storage's clock.
        here: the process that wants it.
        alive: whether this machine has a process of that number.
    """
    if age >= LIMIT:
        return True
    same_machine = bool(holder.boot) and (holder.host, holder.boot) == (here.host, here.boot)
    return same_machine and not alive(holder.pid)


class Lease:
    """The lock of one run directory, for a process that wants it or has it."""

    def __init__(self, store: Store) -> None:
        self._store, self._me = store, this_process()

    def check_free(self) -> Holder | None:
        """The holder from whom this process may take the lock; None if there is none, or it is this process.

        Raises:
            ValueError: another process works there; the message names it.
            StorageError: the storage does not answer.
        """
        holder = self._holder()
        if holder is None or holder.id == self._me.id:
            return None
        age = self._age()
        if age is None or is_free(holder, age, self._me):
            return holder
        raise ValueError(
            f"{self._store.url} is in use by {holder}, last heard of {age:.0f} s ago; after {LIMIT:.0f} s without a "
            "sign of life it is free"
        )

    def take(self) -> None:
        """Take the lock.

        Raises:
            ValueError: another process works there.
            StorageError: the storage does not answer.
        """
        before = self.check_free()
        if before is not None:
            self._store.remove(NAME)
        try:
            self._store.write(NAME, self._text(), new=True)
        except FileExistsError:
            raise ValueError(f"{self._store.url} was taken by {self._holder() or 'another process'} just now") from None
        if before is not None:
            time.sleep(1)  # a second process that found it free too may have removed ours
            self._confirm()

    def _confirm(self) -> None:
        holder = self._holder()
        if holder is None or holder.id != self._me.id:
            raise ValueError(f"{self._store.url} was taken by {holder or 'another process'} just now")

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            TakenOverError: another process holds the lock now.
            StorageError: the storage does not answer.
        """
        holder = self._holder()
        if holder is None:
            try:
                self._store.write(NAME, self._text(), new=True)
                return
            except FileExistsError:
                holder = self._holder()
        if holder is None or holder.id != self._me.id:
            raise TakenOverError(f"{self._store.url} was taken over by {holder or 'another process'}")
        self._store.write(NAME, self._text())

    def release(self) -> None:
        """Remove the lock, if this process still holds it.

        Raises:
            StorageError: the storage does not answer.
        """
        holder = self._holder()
        if holder is not None and holder.id == self._me.id:
            self._store.remove(NAME)

    def _text(self) -> bytes:
        return json.dumps(dataclasses.asdict(self._me)).encode()

    def _holder(self) -> Holder | None:
        text = self._store.read(NAME)
        if text is None:
            return None
        try:
            return typed(Holder, json.loads(text), more=True)
        except (ValueError, RecursionError):
            return Holder(id="", pid=0, host="an unknown host", boot="", time=0.0)

    def _age(self) -> float | None:
        """Seconds since the lock was renewed, by the storage's own clock; None if it is gone."""
        mark = f".clock-{self._me.id}"
        self._store.write(mark, b"")
        try:
            now, then = self._store.modified(mark), self._store.modified(NAME)
        finally:
            self._store.remove(mark)
        return (now - then).total_seconds() if now and then else None
