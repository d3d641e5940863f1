"""A search on a disk that fills up: real Ray, a real full disk."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.searches import ROOT


class SmallDisk:
    """A mounted file system of a few megabytes, in a mount namespace of its own so that no rights are needed."""

    def __init__(self, at: Path, size: str) -> None:
        self.at = at
        script = f"mount -t tmpfs -o size={size} tmpfs {at} && echo ready && exec sleep 1000"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"

    @property
    def seen(self) -> Path:
        """The folder as processes outside see it."""
        return Path(f"/proc/{self._holder.pid}/root{self.at}")

    def run(self, *command: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        """Run a command that sees the disk."""
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        environment = {**os.environ, "FROSTLINE_CACHE": os.environ["FROSTLINE_CACHE"]}
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment
        )

    def close(self) -> None:
        """Unmount it."""
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    made = []

    def make(size: str) -> SmallDisk:
        at = tmp_path / "disk"
        at.mkdir()
        made.append(SmallDisk(at, size))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def test_a_full_disk_is_one_message_and_nothing_is_lost(
    small_disk: Callable[[str], SmallDisk], tiny_model: Path, tiny_csv: Path
) -> None:
    disk = small_disk("12m")
    command = [sys.executable, str(ROOT / "search" / "run.py")]
    given = ("--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv))
    ballast = disk.seen / "ballast"
    ballast.write_bytes(b"x" * 12_190_000)
    done = disk.run(
        *command,
        *given,
        *("--storage", str(disk.at), "--name", "full", "--trials", "4", "--checkpoint-every", "0", "--confirm", "0"),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("frostline: ")
    assert "No space left on device" in last
    assert f"Free some space, then run: frostline --resume {disk.at / 'full'}" in last
    before = (disk.seen / "full" / "trials.jsonl").read_bytes()
    assert before.endswith(b"\n") or not before, "no half line"

    ballast.unlink()
    done = disk.run(*command, "--resume", str(disk.at / "full"), "--concurrent", "1", "--json")
    assert done.returncode == 0, done.stderr
    after = (disk.seen / "full" / "trials.jsonl").read_bytes()
    assert after.startswith(before)
    found = json.loads(done.stdout)
    assert sum(found["counts"].values()) == 4
    assert found["counts"]["running"] == found["counts"]["failed"] == 0
