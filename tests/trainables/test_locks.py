"""Folders in use: they stay while their owner lives, in whatever process id space it runs, and go when it is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from frostline.trainables import _locks

_FORKS = multiprocessing.get_context("fork")


def _use_again_and_again(folder: Path, until: float) -> None:
    wrong = 0
    while time.monotonic() < until:
        with _locks.use(folder) as mark:
            held = os.fstat(mark.fileno())
            for _ in range(5):
                try:
                    wrong += not os.path.samestat(held, (folder / "in-use").stat())
                except FileNotFoundError:
                    wrong += 1
    os._exit(min(wrong, 255))


def _remove_again_and_again(folder: Path, until: float) -> None:
    while time.monotonic() < until:
        _locks.remove(folder)
    os._exit(0)


def test_a_folder_is_never_removed_under_its_users(tmp_path: Path) -> None:
    """A user might have locked the mark of a folder that is gone already."""
    until = time.monotonic() + 2.0
    tasks = [*[_use_again_and_again] * 6, *[_remove_again_and_again] * 2]
    processes = [_FORKS.Process(target=task, args=(tmp_path / "entry", until)) for task in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    _locks.remove(tmp_path / "entry")
    assert list(tmp_path.iterdir()) == [], "nothing is left of what was removed"


_OWNER = """
import sys, time
from pathlib import Path
from frostline.trainables import _locks
with _locks.scratch(Path(sys.argv[1]), "scratch-") as folder:
    (folder / "file").write_text("")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_live_folder_is_told_by_its_lock_and_not_by_a_process_id(tmp_path: Path) -> None:
    """The owner is in a process id space of its own, as in a container: its id means nothing here."""
    command = [*("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")]
    command += [sys.executable, "-c", _OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().strip())
        with _locks.scratch(tmp_path, "scratch-") as other:
            assert sorted(tmp_path.iterdir()) == sorted([folder, other])
        owner.send_signal(signal.SIGKILL)
    while not _locks.remove(folder):  # the kernel ends the process with its space, a moment later
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_owners_go_and_others_stay(tmp_path: Path) -> None:
    dead, new, foreign = (tmp_path / f"scratch-{name}" for name in ("dead", "new", "foreign"))
    _locks.use(dead).close()
    (dead / "deep").mkdir()
    (dead / "deep" / "file").write_text("")
    new.mkdir()  # its owner is about to mark it
    foreign.write_text("a file of somebody else")
    with _locks.scratch(tmp_path, "scratch-") as own:
        assert sorted(tmp_path.iterdir()) == sorted([new, foreign, own])
    assert sorted(tmp_path.iterdir()) == sorted([new, foreign])
