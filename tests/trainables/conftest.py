"""One thread, as a slot on a CPU has it, and a file system that is soon full."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on models this small only wait for each other, ten times longer where the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a given size (`64k`, `1m`); returns its folder.

    It is mounted in a mount namespace of its own, which needs no rights, and reached through the process
    that holds it.
    """
    holders: list[subprocess.Popen[str]] = []

    def make(size: str) -> Path:
        at = tmp_path / f"disk{len(holders)}"
        at.mkdir()
        script = f"mount -t tmpfs -o size={size} tmpfs '{at}' && echo ready && exec sleep 600"
        holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        seen = Path(f"/proc/{holder.pid}/root{at}")
        assert os.statvfs(seen).f_blocks * os.statvfs(seen).f_frsize < 10**8, "not the small one"
        return seen

    yield make
    for holder in holders:
        holder.kill()
        holder.communicate()
