"""What the system lets a user have (`ulimit`), beside what a private Ray and its slots need."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_FILES, _FILES_PER_SLOT = 192, 4
"""Open files of one process: of Ray's server, which has the most (measured with two slots: 58), thrice over."""
_THREADS, _THREADS_PER_SLOT = 220, 40
"""Threads of a private Ray (measured: 132) and the driver (60); of each slot (measured: 25, and those of torch)."""


def check(slots: int) -> None:
    """Refuse limits in which a private Ray cannot start: it would hang for 90 s and then print its stack.

    The limit of open files is raised, where the user may.

    Args:
        slots: trials at once.

    Raises:
        ValueError: one line with the limit and what is needed.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES + _FILES_PER_SLOT * slots
    if _is_below(files, wanted) and not _is_below(most, wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        files = wanted
    threads, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() == 0:  # the system does not limit root
        threads = resource.RLIM_INFINITY
    if line := lacking(files, threads, 0 if threads == resource.RLIM_INFINITY else threads_of(os.getuid()), slots):
        raise ValueError(line)


def lacking(files: int, threads: int, used: int, slots: int) -> str:
    """Which limit is too low, in one line; empty if none is.

    Args:
        files: open files that a process may have; `resource.RLIM_INFINITY` where there is no limit.
        threads: threads that the user may have, likewise.
        used: threads that the user has.
        slots: trials at once.
    """
    of = f"{slots} trials at once" if slots > 1 else "one trial at a time"
    wanted = _FILES + _FILES_PER_SLOT * slots
    if _is_below(files, wanted):
        return f"a process may have {files} open files here, and a search of {of} needs {wanted}: ulimit -n {wanted}"
    wanted = used + _THREADS + _THREADS_PER_SLOT * slots
    if _is_below(threads, wanted):
        return (
            f"you may have {threads} processes and threads here and have {used}; a search of {of} needs "
            f"{wanted - used} more: ulimit -u {wanted}"
        )
    return ""


def _is_below(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted


def threads_of(user: int) -> int:
    """Threads that a user has on this machine."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                total += len(list((process / "task").iterdir()))
        except OSError:  # it has ended
            continue
    return total
