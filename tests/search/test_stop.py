"""Ctrl-C, SIGTERM, SIGHUP: each ends a process in time, wherever it is, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from frostline.search import stop

_BEGIN = """
import hashlib, subprocess, sys, time
from pathlib import Path
from frostline.search import stop
from frostline.trainables import _locks

def wait():
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid, flush=True)
    {busy}

with stop.in_time(patience={patience}) as ending, _locks.scratch(Path(sys.argv[1]), "frostline-"):
    ending.advice = "This is what to do."
    try:
        wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""

_SLEEPS = "time.sleep(600)"
_COMPUTES = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # in a library, where Python calls no handler


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("busy", [_SLEEPS, _COMPUTES])
def test_a_signal_from_outside_ends_a_process_wherever_it_is(tmp_path: Path, number: int, busy: str) -> None:
    command = [sys.executable, "-c", _BEGIN.format(busy=busy, patience=600 if busy == _SLEEPS else 0.2), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        child = psutil.Process(int(process.stdout.readline()))
        times = psutil.Process(process.pid).cpu_times
        before = times().user
        while busy == _COMPUTES and times().user < before + 0.2:  # until it is inside the library
            time.sleep(0.01)
        process.send_signal(number)
        if busy == _SLEEPS:
            assert process.stdout.readline() == "interrupted\n"
            child.kill()
            assert process.wait() == 0
        else:
            said = process.stderr.read()
            assert said == "frostline: ended 0 s after the signal, in the middle of its work. This is what to do.\n"
            assert process.wait() == 130
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.iterdir()) == []


def test_the_first_signal_is_noted_and_the_second_ends_at_once() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with stop.requests() as asked:
            assert not asked
            os.kill(os.getpid(), number)
            assert asked == [number]
            with pytest.raises(SystemExit):
                os.kill(os.getpid(), number)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_search_that_may_outlive_its_terminal_does() -> None:
    """`nohup` has the signal ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop.in_time(), stop.requests() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked == []
    finally:
        signal.signal(signal.SIGHUP, before)
