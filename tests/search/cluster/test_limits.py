"""Limits of the system in which a private Ray cannot start are told before anything starts."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.search.cluster import limits

_NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("files", "threads", "used", "slots", "line"),
    [
        (_NO_LIMIT, _NO_LIMIT, 0, 2, ""),
        (256, _NO_LIMIT, 0, 2, ""),
        (1024, 4096, 900, 16, ""),
        (
            64,
            150,
            20,
            2,
            "a process may have 64 open files here, and a search of 2 trials at once needs 200: ulimit -n 200",
        ),
        (
            1024,
            150,
            20,
            1,
            "you may have 150 processes and threads here and have 20; a search of one trial at a time needs 260 "
            "more: ulimit -u 280",
        ),
        (1024, 400, 0, 8, None),
        (1024, 400, 300, 1, None),
    ],
)
def test_which_limit_is_too_low(files: int, threads: int, used: int, slots: int, line: str | None) -> None:
    said = limits.lacking(files, threads, used, slots)
    assert said if line is None else said == line


def test_a_limit_that_may_be_raised_is_raised() -> None:
    check = "import resource; from frostline.search.cluster import limits; limits.check(2)"
    code = f"{check}; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    for hard, expected in (("4096", "(200, 4096)\n"), ("64", "")):
        command = f"ulimit -Sn 64 && ulimit -Hn {hard} && exec {sys.executable} -c '{code}'"
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert run.stdout == expected
        assert ("ValueError: a process may have 64 open files here" in run.stderr) == (not expected)


def test_threads_of_a_user_are_counted() -> None:
    assert limits.threads_of(os.getuid()) >= len(list(Path("/proc/self/task").iterdir()))
    assert limits.threads_of(2**31) == 0
