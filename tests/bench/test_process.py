"""Every process that a command leaves behind is waited for and counted."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.bench import process

SPIN = "import time\nwhile time.process_time() < 0.6: pass\n"


def measure(folder: Path, code: str, **more: object) -> process.Usage:
    options = {"log": folder / "log", "limit": 60.0, "environment": {}, **more}
    return process.measure([sys.executable, "-c", code], **options)


def test_a_daemon_that_outlives_the_command_is_counted(tmp_path: Path) -> None:
    daemon = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SPIN!r}], start_new_session=True)"
    usage = measure(tmp_path, daemon)
    assert usage.code == 0
    assert usage.waited_cpu >= 0.6


def test_children_that_the_kernel_forgets_are_seen(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"subprocess.Popen([sys.executable, '-c', {SPIN + 'time.sleep(0.6)'!r}])\n"
        "time.sleep(3)\n"
    )
    usage = measure(tmp_path, code)
    assert usage.waited_cpu < 0.5
    assert usage.cpu >= 0.55


def test_memory_is_the_peak_of_all_processes_together(tmp_path: Path) -> None:
    child = "import time; kept = bytearray(b'x') * 80_000_000; time.sleep(2.5)"
    usage = measure(tmp_path, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])\n{child}")
    assert 80e6 < usage.memory < 130e6, "one after the other"


def test_a_failure_is_told_and_its_output_kept(tmp_path: Path) -> None:
    usage = measure(tmp_path, "print('why'); raise SystemExit(3)")
    assert usage.code == 3
    assert (tmp_path / "log").read_text() == "why\n"


def test_it_ends_with_all_its_processes_when_it_is_enough(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    began = time.monotonic()
    usage = measure(tmp_path, code, until=lambda: time.monotonic() - began > 2)
    assert time.monotonic() - began < 20
    assert usage.code < 0
    assert measure(tmp_path, code, limit=1.0).code < 0


def test_a_harness_that_is_killed_takes_its_systems_with_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.bench import process\n"
        "process.measure(['sleep', '601'], log=Path(sys.argv[1]), limit=600.0, environment={})"
    )
    harness = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], cwd=process.ROOT)
    below: list[psutil.Process] = []
    ends = time.monotonic() + 30
    while len(below) < 2 and time.monotonic() < ends:
        below = psutil.Process(harness.pid).children(recursive=True)
        time.sleep(0.05)
    harness.kill()
    harness.wait()
    assert len(below) == 2, "what measures, and what is measured"
    assert psutil.wait_procs(below, timeout=10)[1] == []
