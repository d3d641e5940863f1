"""Runs of `frostline` in processes forked from one that has imported everything: some 0.1 s each instead of 7 s.

    python -m tests.bench.promises.warm < runs.jsonl

reads one JSON object a line from stdin (the fields of `Run`) and writes one for each to stdout (those of `Answer`).

A search that is not refused would start Ray. Here it ends at that point, as `ACCEPTED`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import resource
import signal
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent.parent

ACCEPTED = 99
"""Exit code of a run that was about to start Ray or a server."""

MOST_SECONDS = 5.0
"""CPU time that a run may take."""
MOST_MEMORY = 2e9
"""Bytes that a run may take, with the imports."""
_HANGS = 20.0
"""Seconds of wall-clock time after which a run hangs: it waits for something, since its CPU time has another limit."""

_IMPORTED = (
    *("frostline.search.tuner", "frostline.search.cli", "frostline.search.report.page"),
    *("frostline.search.records.working_copy", "frostline.search.dashboard.server"),
    *("frostline.trainables.text_classification", "frostline.trainables.image_classification"),
    *("transformers.models.auto", "transformers.models.bert.modeling_bert", "transformers.pipelines"),
    *("datasets", "pyarrow.csv", "pyarrow.json", "pyarrow.parquet", "s3fs", "fsspec"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One command line."""

    arguments: Sequence[str]
    folder: str
    """A folder of the run's own. It holds `cwd`, the working directory, and gets what the run writes."""
    powerless: bool = False
    """Whether the process lacks the rights of root, which may read and write everything."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Variables that differ from those of this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a run did."""

    code: int
    """Its exit code; minus the signal that ended it."""
    out: str
    err: str
    seconds: float
    """CPU time."""
    memory: float
    """Bytes, the most at once, with the imports."""
    stopped: str = ""
    """Why it was killed from here; empty if it was not."""


class Accepted(BaseException):
    """The search is about to start Ray."""


def answers(runs: Iterable[Run]) -> list[Answer]:
    """What these runs do, in a warm process of their own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_", "FROSTLINE_"))},
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",  # as the program sets it before its import
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    text = "".join(json.dumps(dataclasses.asdict(run)) + "\n" for run in runs)
    command = [sys.executable, "-m", "tests.bench.promises.warm"]
    with tempfile.TemporaryDirectory() as home:
        environment |= {"HOME": home, "HF_HOME": f"{home}/huggingface", "XDG_CACHE_HOME": f"{home}/cache"}
        done = subprocess.run(
            command, input=text, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=True
        )
    return [Answer(**json.loads(line)) for line in done.stdout.splitlines()]


def main() -> None:
    """Import everything, then answer."""
    for module in _IMPORTED:
        importlib.import_module(module)
    _end_before_ray()
    gc.collect()
    gc.freeze()
    runs = [Run(**json.loads(line)) for line in sys.stdin]
    for answer in _carry_out(runs, len(os.sched_getaffinity(0))):
        print(json.dumps(dataclasses.asdict(answer)), flush=True)
    os._exit(0)  # without the end of Triton, which prints what it has not freed


def _end_before_ray() -> None:
    from frostline.search.cluster import connection

    def accepted(*_: Any, **__: Any) -> NoReturn:
        raise Accepted

    connect = connection.connect
    connection.connect = lambda address, *rest, **words: (
        accepted() if address is None else connect(address, *rest, **words)
    )  # type: ignore[assignment]
    socketserver.BaseServer.serve_forever = accepted  # type: ignore[assignment]


def _carry_out(runs: Sequence[Run], at_once: int) -> list[Answer]:
    waiting, running = list(enumerate(runs)), dict[int, tuple[int, float, str]]()
    done: dict[int, Answer] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            number, run = waiting.pop(0)
            running[_forked(run)] = number, time.monotonic(), ""
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended:
            pid, status, usage = os.wait4(ended.si_pid, 0)
            number, _, stopped = running.pop(pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            done[number] = _answer(runs[number], os.waitstatus_to_exitcode(status), usage, stopped)
            continue
        for pid, (number, began, stopped) in running.items():
            reason = stopped or _reason_to_stop(pid, began)
            if reason:
                running[pid] = number, began, reason
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [done[number] for number in range(len(runs))]


def _reason_to_stop(pid: int, began: float) -> str:
    if time.monotonic() - began > _HANGS:
        return f"no answer within {_HANGS:.0f} s"
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return ""
    return f"more than {MOST_MEMORY / 1e9:.0f} GB" if pages * resource.getpagesize() > MOST_MEMORY else ""


def _answer(run: Run, code: int, usage: resource.struct_rusage, stopped: str) -> Answer:
    if code == -signal.SIGXCPU:
        stopped = f"more than {MOST_SECONDS:.0f} s of CPU time"
    out, err = ((Path(run.folder) / name).read_text(errors="backslashreplace") for name in ("out", "err"))
    return Answer(
        code=code,
        out=out,
        err=err,
        seconds=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * 1024,
        stopped=stopped,
    )


def _forked(run: Run) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _become(run)
        finally:
            os._exit(1)
    return pid


def _become(run: Run) -> NoReturn:
    """Do what `search/run.py` does, and what Python does before and after it."""
    os.setsid()
    folder = Path(run.folder)
    for name, number, flags in (
        ("/dev/null", 0, os.O_RDONLY),
        (folder / "out", 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (folder / "err", 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(name, flags, 0o666), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.update({"TMPDIR": str(folder / "tmp"), "FROSTLINE_CACHE": str(folder / "cache"), **run.environment})
    os.chdir(folder / "cwd")
    now = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(now + MOST_SECONDS) + 1, int(now + MOST_SECONDS) + 2))
    # Before the machine itself is out of memory. Far above what is allowed, so that it is not what refuses.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + int(3 * MOST_MEMORY),) * 2)
    if run.powerless:
        _give_up_power()
    from frostline.search import cli

    code: Any = 1
    try:
        code = cli.main(list(run.arguments))
    except Accepted:
        code = ACCEPTED
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _give_up_power() -> None:
    """Drop the capabilities of root, so that the permissions of files hold for it as well."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    main()
