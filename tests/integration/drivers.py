"""Processes that run `frostline` with arguments, forked instead of started.

A driver that starts from nothing spends 7 s of CPU on importing torch, transformers and Ray. These are forked from a
process that has imported them and has used none of them yet. `test_full_disk.py` starts the real entry,
`python search/run.py`.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.integration.searches import ROOT

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ("frostline.search.tuner", "frostline.trainables.text_classification", "transformers.models.auto")


class Driver:
    """A process that runs `frostline`, in a session of its own. It appends to two files what it says."""

    def __init__(self, *arguments: str, out: Path, err: Path, cwd: Path = ROOT, **variables: str) -> None:
        _FORKS.set_forkserver_preload([*_IMPORTED])
        files = [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for path in (out, err)]
        for file in files:
            os.close(file)
        given = (arguments, {**os.environ, **variables}, out, err, cwd)
        self._process = _FORKS.Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended.

        Raises:
            TimeoutExpired: it has not ended after `timeout` seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("frostline", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and nothing that it has started."""
        self._process.kill()


def _run(arguments: tuple[str, ...], variables: Mapping[str, str], out: Path, err: Path, cwd: Path) -> None:
    """What `search/run.py` does, and what Python does before and after it."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from frostline.search import cli

    code: Any = 1
    try:
        code = cli.main(list(arguments))
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
