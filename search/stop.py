"""Signals that end a search: Ctrl-C, SIGTERM (`docker stop`, a scheduler), SIGHUP (the terminal has gone).

All three do the same: everything that runs is given an end, and the results so far are written and shown. The sender of
SIGTERM or SIGHUP does not wait for long: `docker stop` kills after 10 s. So after `PATIENCE` the process ends wherever
it is. Records are whole at any moment, and `--resume` goes on from them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from frostline.trainables import _locks

PATIENCE = 8.0
"""Seconds from SIGTERM or SIGHUP to the end of the process."""

_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def requests() -> Iterator[list[int]]:
    """A list of the signals that came during the `with` block; a second one ends the process at once.

    The recorder reads the list and raises between two of Tune's steps, where no record is half written.
    """
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        if asked:
            raise SystemExit(128 + number)
        asked.append(number)
        if number == signal.SIGHUP:
            _leave_terminal()

    with _handling(note, signal.SIGINT, *_FROM_OUTSIDE):
        yield asked


@dataclass(kw_only=True, slots=True)
class Ending:
    """What a user is told where the search is ended in the middle of its work."""

    advice: str = "No trial had begun."


@contextmanager
def in_time(patience: float = PATIENCE) -> Iterator[Ending]:
    """During the `with` block SIGTERM and SIGHUP raise KeyboardInterrupt; `patience` seconds later the process ends."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield ending
        return

    def interrupt(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        raise KeyboardInterrupt

    # Python calls a handler between two of its own instructions, which can take minutes inside a library. The number of
    # the signal is written to this socket at once.
    here, there = socket.socketpair()
    there.setblocking(False)
    before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_end_late, args=(here, ending, patience), daemon=True)
    watch.start()
    try:
        with _handling(interrupt, *_FROM_OUTSIDE):
            yield ending
    finally:
        signal.set_wakeup_fd(before)
        there.close()
        watch.join()
        here.close()


@contextmanager
def _handling(handler: Callable[[int, object], None], *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals during the `with` block, but for SIGHUP where the user has it ignored (`nohup`).

    Only the main thread may: in another one nothing changes.
    """
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if threading.current_thread() is threading.main_thread()
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _leave_terminal() -> None:
    """Write to nobody what goes to a terminal: there is none, and each line would be an error."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _end_late(signals: socket.socket, ending: Ending, patience: float) -> None:
    """End this process `patience` seconds after the first signal from outside, unless the other end is closed."""
    while (numbers := signals.recv(64)) and not set(numbers) & set(_FROM_OUTSIDE):
        pass
    signals.settimeout(patience)
    try:
        while numbers:
            numbers = signals.recv(64)
    except TimeoutError:
        _end(f"ended {patience:.0f} s after the signal, in the middle of its work. {ending.advice}")


def _end(line: str) -> None:
    import psutil

    with contextlib.suppress(OSError):
        print(f"frostline: {line}", file=sys.stderr, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # threads of Ray would complain
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    for folder in _locks.used_here("frostline-"):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(130)
