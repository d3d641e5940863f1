"""Every process of a private Ray may be killed, and the search goes on. The terminal goes, and nothing is left."""

import json
import signal
import time
from pathlib import Path

import psutil

from tests.integration.drivers import Driver

_NOT_NEEDED = (
    "autoscaler/_private/monitor.py",
    "_private/log_monitor.py",
    "dashboard/dashboard.py",
    "ray::ImplicitFunc",
)
"""Parts of command lines: Ray's helpers on a machine alone, and the process of a trial."""
_STARTED_AGAIN = {"ray::RuntimeEnvAgent": "raylet", "gcs/gcs_server": "gcs_server"}
"""Processes with which Ray ends, and the process that is missed then: a node ends with its agents."""


def _kill(driver: Driver, part: str) -> None:
    """Kill the processes below the driver whose command line has this part."""
    killed = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if part in " ".join(process.cmdline()):
                process.kill()
                killed.append(process)
        except psutil.NoSuchProcess:
            continue
    assert killed, part


def _pids(run: Path) -> list[int]:
    """The processes that have reported, one for each line on record."""
    try:
        lines = (run / "trials.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line)["pid"] for line in lines if '"pid"' in line]


def test_every_process_of_ray_may_die_and_the_terminal_too(tmp_path: Path, tiny_model: Path, tiny_csv: Path) -> None:
    run, printed = tmp_path / "runs" / "killed", tmp_path / "output"
    options = ["--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv)]
    options += ["--storage", str(tmp_path / "runs"), "--name", "killed", "--trials", "500", "--epochs", "200"]
    options += ["--concurrent", "1", "--checkpoint-every", "0.2", "--wandb", "off"]
    driver = Driver(*options, out=printed, err=printed)

    def goes_on(reported: list[int]) -> None:
        """Wait for a report of a process that had not reported before."""
        while set(_pids(run)) <= set(reported):
            assert driver.poll() is None, printed.read_text()
            time.sleep(0.02)

    goes_on([])
    for parts in (_NOT_NEEDED, *([part] for part in _STARTED_AGAIN)):
        before = _pids(run)
        for part in parts:
            _kill(driver, part)
        goes_on(before)
    children = psutil.Process(driver.pid).children(recursive=True)
    folders = _temporary_folders(children)
    assert folders
    driver.send_signal(signal.SIGHUP)
    assert driver.wait() == 130
    psutil.wait_procs(children)
    text = printed.read_text()
    for name in _STARTED_AGAIN.values():
        assert f"Ray has died (its process {name} has died); it is started again, and the trials go on.\n" in text
    assert text.count("its process died; it goes on from its last snapshot") == 1, "no trial loses a try with Ray"
    assert "(raylet)" not in text, "nothing of Ray's own words"
    assert not any(folder.exists() for folder in folders), "nothing is left behind"
    assert "Interrupted: these are the results so far. No test set was read." in text
    assert f"Best model so far: {run}/best" in text
    assert (run / "best" / "recipe.json").is_file()
    assert not list(run.glob("*.part"))
    numbers = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    reports = [(line["number"], line["samples"]) for line in numbers if line["outcome"] == "running"]
    assert len(reports) == len(set(reports)), "no report is there twice"


def _temporary_folders(processes: list[psutil.Process]) -> list[Path]:
    """The temporary folder of Ray, from the path of its node's socket."""
    flags = [flag for process in processes for flag in process.cmdline() if flag.startswith("--raylet_socket_name=")]
    return [Path(flag.split("=", 1)[1]).parents[2] for flag in flags]
