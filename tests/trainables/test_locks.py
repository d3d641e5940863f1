"""Folders in use: they stay while their owner lives, in whatever process id space it runs, and go when it is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from frostline.trainables import _locks

_USES = """
import os, sys, time
from pathlib import Path
from frostline.trainables import _locks
folder, over, wrong = Path(sys.argv[1]), Path(sys.argv[2]), 0
while not over.exists():
    with _locks.use(folder) as mark:
        held = os.fstat(mark.fileno())
        for _ in range(5):
            try:
                wrong += not os.path.samestat(held, (folder / "in-use").stat())
            except FileNotFoundError:
                wrong += 1
    time.sleep(0.001)  # nobody uses it now and then
print(wrong)
"""

_REMOVES = """
import sys
from pathlib import Path
from frostline.trainables import _locks
removed = 0
while removed < 100:
    removed += _locks.remove(Path(sys.argv[1]))
"""


def test_a_folder_is_never_removed_under_its_users(tmp_path: Path) -> None:
    """A user might have locked the mark of a folder that is gone already."""
    folder, over = tmp_path / "folders" / "entry", tmp_path / "over"
    users, removers = (
        [
            subprocess.Popen(
                [sys.executable, "-c", code, str(folder), str(over)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for code, count in ((_USES, 4), (_REMOVES, 2))
    )
    for process in removers:
        assert process.communicate() == ("", "")
        assert process.returncode == 0
    over.touch()
    assert [process.communicate() for process in users] == [("0\n", "")] * len(users), "uses of a folder that was gone"
    _locks.remove(folder)
    assert list(folder.parent.iterdir()) == [], "nothing is left of what was removed"


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
