"""Runs a command and accounts for all of it: wall time, CPU time and memory of every process it leaves behind.

    python -m tests.bench.process OUT.json COMMAND...

The measuring process is a child subreaper (prctl(2)): daemons that a system starts (Ray's, say) become its
children when their parents end, and it waits for all of them. Their CPU time is then in what wait4(2) returns, but
for children of a process that ignores SIGCHLD (Ray's raylet does): the kernel forgets those. So every process is
also looked at 4 times a second, and of both sums the larger one counts; each is a lower bound.
Linux and the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_INTERVAL = 0.25  # seconds between two looks at the processes
_LINGER = 30.0  # seconds that daemons may take to end after the command has
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Time and memory of a command."""

    code: int
    """Its exit status; negative where a signal ended it."""
    began: float
    """Seconds since 1970."""
    wall: float
    """Seconds until it had ended; daemons that it left are waited for, but a user would not have."""
    waited_cpu: float
    """Seconds of user and system time of the processes that were waited for."""
    seen_cpu: float
    """The same of all processes as last seen."""
    memory: int
    """Peak of the proportional set sizes of all processes together, bytes."""

    @property
    def cpu(self) -> float:
        """Seconds of user and system time of all processes."""
        return max(self.waited_cpu, self.seen_cpu)


def measure(
    command: Sequence[str],
    *,
    log: Path,
    limit: float,
    environment: Mapping[str, str],
    until: Callable[[], bool] = lambda: False,
) -> Usage:
    """Run `command` from the repository's root, its output in the file `log`.

    Args:
        command: the program and its arguments.
        log: takes stdout and stderr.
        limit: seconds after which it is killed.
        environment: added to this process's own.
        until: asked 5 times a second; when it says so, the command and all its processes are killed.
    """
    out = log.with_suffix(".usage.json")
    out.unlink(missing_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # 6 s for each process
    with log.open("wb") as file:
        reaper = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.process", str(out), *command],
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        ends = time.monotonic() + limit
        try:
            while reaper.poll() is None:
                if until() or time.monotonic() > ends:
                    reaper.terminate()
                    reaper.wait()
                time.sleep(0.2)
        except BaseException:
            reaper.terminate()
            reaper.wait()
            raise
    return Usage(**json.loads(out.read_text()))


def main() -> None:
    """Run the command line's command and write its usage."""
    out, command = Path(sys.argv[1]), sys.argv[2:]
    out.write_text(json.dumps(dataclasses.asdict(_Reaper().run(command))))


class _Reaper:
    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._note)
        # A harness that is killed takes its systems with it.
        for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_PDEATHSIG, signal.SIGTERM)):
            if ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), f"prctl({option})")
        self._waited, self._memory, self._looks = 0.0, 0, 0
        self._seen: dict[tuple[int, int], float] = {}
        """CPU seconds by process: its id and the moment it began."""

    def _note(self, *_: object) -> None:
        self._asked = True

    def run(self, command: Sequence[str]) -> Usage:
        began, clock = time.time(), time.monotonic()
        first = os.posix_spawnp(command[0], command, os.environ)
        code, ended = 0, 0.0
        while True:
            tree = self._look()
            if self._asked or (ended and time.monotonic() - ended > _LINGER):
                for pid in tree:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            done = self._reap()
            if done is None:
                break
            if first in done:
                code, ended = os.waitstatus_to_exitcode(done[first]), time.monotonic()
            time.sleep(0.05 if ended else _INTERVAL)
        return Usage(
            code=code,
            began=began,
            wall=(ended or time.monotonic()) - clock,
            waited_cpu=self._waited,
            seen_cpu=sum(self._seen.values()),
            memory=self._memory,
        )

    def _reap(self) -> dict[int, int] | None:
        """Exit states of the children that have ended since; None when no child is left."""
        done: dict[int, int] = {}
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return done or None
            if pid == 0:
                return done
            done[pid] = status
            self._waited += usage.ru_utime + usage.ru_stime

    def _look(self) -> list[int]:
        """All descendants; their CPU time is noted, and once a second their memory."""
        stats = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and (stat := _stat(int(entry.name))):
                stats[int(entry.name)] = stat
        tree, frontier = [], {os.getpid()}
        while frontier:
            frontier = {pid for pid, (parent, *_) in stats.items() if parent in frontier}
            tree += frontier
        for pid in tree:
            _, born, cpu = stats[pid]
            self._seen[pid, born] = cpu
        if self._looks % round(1 / _INTERVAL) == 0:
            self._memory = max(self._memory, sum(map(_proportional_memory, tree)))
        self._looks += 1
        return tree


def _stat(pid: int) -> tuple[int, int, float] | None:
    """Parent, moment it began, CPU seconds (proc(5)); None where it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / _TICK


def _proportional_memory(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
