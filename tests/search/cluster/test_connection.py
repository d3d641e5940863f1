import os
import shutil
from pathlib import Path

import pytest

from frostline.search.cluster import connection, machines


def test_an_address_without_a_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        machines.offer("127.0.0.1:9", Path("runs"))
    for address in ("ray://somewhere:10001", "somewhere", "somewhere:port"):
        with pytest.raises(ValueError, match="'auto' or HOST:PORT"):
            machines.offer(address, Path("runs"))


def test_folders_of_killed_searches_are_deleted() -> None:
    dead, alive = (Path(f"/tmp/frostline-{number}-test") for number in (2**30, os.getpid()))  # no number is that high
    try:
        for folder in (dead, alive):
            folder.mkdir()
        connection.delete_dead_folders()
        assert (dead.exists(), alive.exists()) == (False, True)
        assert alive.name.startswith(connection.scratch_prefix())
    finally:
        for folder in (dead, alive):
            shutil.rmtree(folder, ignore_errors=True)
