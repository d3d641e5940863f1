import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from frostline.search.records import log as run_log
from frostline.search.records.elapsed import seconds_used
from frostline.search.records.events import LOG, Job, started_jobs
from frostline.search.records.log import Log, check_free, hold
from tests.search.made import PARAMS

ROOT = Path(run_log.__file__).resolve().parents[2]


# --- one process at a time -----------------------------------------------------------------------

_HOLDER = """
import sys, time
from pathlib import Path
from frostline.search.records.log import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in the run directory."""
    command = [sys.executable, "-c", _HOLDER, str(run)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        who = f"{tmp_path} is in use by process {other.pid} on {socket.gethostname()} since 20"
        with pytest.raises(ValueError) as caught, hold(tmp_path):
            pass
        assert str(caught.value).startswith(who)
        with pytest.raises(ValueError) as caught:
            check_free(tmp_path)
        assert str(caught.value).startswith(who)
        assert len(Log(tmp_path).events("session")) == 1, "the refused one has left nothing"


def test_a_killed_process_releases_the_directory(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        check_free(tmp_path)
        with hold(tmp_path) as log:
            sessions = log.events("session")
    assert [session["pid"] for session in sessions] == [other.pid, os.getpid()]
    assert sessions[-1]["time"] == pytest.approx(time.time(), abs=60)


def test_a_directory_nobody_has_worked_in_is_free(tmp_path: Path) -> None:
    check_free(tmp_path)
    check_free(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing"


def test_the_lock_is_released_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path):
        raise KeyError
    check_free(tmp_path)


# --- what has happened ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sessions", "times", "used"),
    [
        ([], [], 0),
        ([], [5, 6], 0),  # of this session
        ([100], [], 0),
        ([100], [100, 130, 160], 60),
        ([100], [160, 130], 60),  # in any order
        ([100, 1000], [160, 1010, 1040], 60 + 40),
        ([100, 1000], [1040], 40),  # the first one recorded nothing
        ([100, 1000], [160], 60),
        ([100, 1000], [1000], 0),  # the moment of a start is of that session
        ([100], [50], 0),  # a clock that was set back
    ],
)
def test_a_session_lasted_until_the_last_thing_it_recorded(
    sessions: list[float], times: list[float], used: float
) -> None:
    assert seconds_used(sessions, times) == used


JOB = Job(number=3, seed=0, params=PARAMS, label="default", confirms=False)


def test_started_jobs_are_read_back(tmp_path: Path) -> None:
    again = dataclasses.replace(JOB, seed=1, confirms=True)
    log = Log(tmp_path)
    log.append("session", pid=1, host="here")
    for job in (JOB, again):
        log.append("start", **dataclasses.asdict(job))
    log.append("lost", number=3, seed=0, reason="its process died")
    assert started_jobs(tmp_path) == [JOB, again]
    assert [event["event"] for event in log.events("session", "lost")] == ["session", "lost"]
    assert started_jobs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"number": "0"},
        {"number": "../../x"},
        {"number": 0.0},
        {"number": True},
        {"number": None},
        {"seed": "/etc"},
        {"seed": None},
        {"event": "started"},
        {"event": ["start"]},
        {"params": "abc"},
        {"params": [1, 2]},
        {"params": 7},
    ],
    ids=str,
)
def test_an_impossible_event_is_no_started_job(tmp_path: Path, change: dict[str, Any]) -> None:
    log, fields = Log(tmp_path), {"event": "start", **dataclasses.asdict(JOB)}
    with (tmp_path / LOG).open("a") as file:
        file.write(f"{json.dumps({**fields, **change})}\n{json.dumps([fields])}\n{json.dumps(fields)[:30]}\n")
    log.append("start", **dataclasses.asdict(JOB))
    assert started_jobs(tmp_path) == [JOB]


@pytest.mark.parametrize(
    ("job", "folder"),
    [
        (JOB, "trials/00003"),
        (dataclasses.replace(JOB, seed=8, confirms=True), "confirm/00003-8"),
        (dataclasses.replace(JOB, number=123456), "trials/123456"),
    ],
)
def test_each_training_has_its_own_folder(job: Job, folder: str) -> None:
    assert job.folder == folder
    assert job.key == (job.number, job.seed)
