"""Who writes a run directory at a URL: an object that only one process can make, and keeps fresh while it works."""

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

from frostline.trainables._storage import Store

NAME = "lock.json"
EVERY, LIMIT = 30.0, 120.0
"""Seconds after which its holder makes it new, and without a sign of life for which another may take it."""


class TakenOverError(Exception):
    """Another process works in the run directory now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """What stands in the lock."""

    id: str
    pid: int
    host: str
    boot: str
    """Of the host, since it was last started: by it a process number means something."""
    time: float
    """When it was first held, seconds since 1970."""

    def __str__(self) -> str:
        """For a message, as that of a folder's holder."""
        since = datetime.datetime.fromtimestamp(self.time).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.pid} on {self.host} since {since}"


def this_process() -> Holder:
    """As it would hold a lock from now on."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return Holder(
        id=uuid.uuid4().hex,
        pid=os.getpid(),
        host=socket.gethostname(),
        boot=boot.read_text().strip() if boot.exists() else "",
        time=time.time(),
    )


def is_alive(pid: int) -> bool:
    """Whether this machine has such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_free(holder: Holder, age: float, here: Holder, alive: Callable[[int], bool] = is_alive) -> bool:
    """Whether a lock may be taken from its holder.

    Args:
        holder: of the lock.
        age: seconds since it was made new, by the storage's clock.
        here: who wants it.
        alive: tells of a process of this machine whether it is there.
    """
    if age >= LIMIT:
        return True
    same_machine = bool(holder.boot) and (holder.host, holder.boot) == (here.host, here.boot)
    return same_machine and not alive(holder.pid)


class Lease:
    """The lock of one run directory, as this process has it or wants it."""

    def __init__(self, store: Store) -> None:
        self._store, self._me = store, this_process()

    def check_free(self) -> Holder | None:
        """Who held it, and may be relieved of it; None where nobody does.

        Raises:
            ValueError: somebody works there; the message says who.
            StorageError: the storage does not answer.
        """
        found = self._holder()
        if found is None or found.id == self._me.id:
            return None
        age = self._age()
        if age is None or is_free(found, age, self._me):
            return found
        raise ValueError(
            f"{self._store.url} is in use by {found}, last heard of {age:.0f} s ago; after {LIMIT:.0f} s without a "
            "sign of life it is free"
        )

    def take(self) -> None:
        """Hold it from now on.

        Raises:
            ValueError: somebody else works there.
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
            time.sleep(1)  # another that found it free as well may have removed ours
            self._confirm()

    def _confirm(self) -> None:
        found = self._holder()
        if found is None or found.id != self._me.id:
            raise ValueError(f"{self._store.url} was taken by {found or 'another process'} just now")

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            TakenOverError: somebody else holds it now.
            StorageError: the storage does not answer.
        """
        found = self._holder()
        if found is None:
            try:
                self._store.write(NAME, self._text(), new=True)
                return
            except FileExistsError:
                found = self._holder()
        if found is None or found.id != self._me.id:
            raise TakenOverError(f"{self._store.url} was taken over by {found or 'another process'}")
        self._store.write(NAME, self._text())

    def release(self) -> None:
        """Let go of it, if it is still held.

        Raises:
            StorageError: the storage does not answer.
        """
        found = self._holder()
        if found is not None and found.id == self._me.id:
            self._store.remove(NAME)

    def _text(self) -> bytes:
        return json.dumps(dataclasses.asdict(self._me)).encode()

    def _holder(self) -> Holder | None:
        text = self._store.read(NAME)
        if text is None:
            return None
        try:
            return Holder(**json.loads(text))
        except (ValueError, TypeError):
            return Holder(id="", pid=0, host="an unknown host", boot="", time=0.0)

    def _age(self) -> float | None:
        """Seconds since the lock was made new, by the storage's own clock; None where it is gone."""
        mark = f".clock-{self._me.id}"
        self._store.write(mark, b"")
        try:
            now, then = self._store.modified(mark), self._store.modified(NAME)
        finally:
            self._store.remove(mark)
        return (now - then).total_seconds() if now and then else None
