import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from frostline.search.cluster import connection


def test_no_cluster_at_an_address() -> None:
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        connection.offer("127.0.0.1:9", Path("runs"))
    for address in ("ray://somewhere:10001", "somewhere", "somewhere:port"):
        with pytest.raises(ValueError, match="'auto' or HOST:PORT"):
            connection.offer(address, Path("runs"))


def test_a_dead_node_of_our_own_is_noticed_at_the_next_look(tmp_path: Path) -> None:
    node = tmp_path / "raylet"  # Ray's own name for it
    shutil.copy(shutil.which("sleep") or "/bin/sleep", node)
    with subprocess.Popen([str(node), "600"]) as process:
        watch = connection.Watch()
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        watch._looked -= 60  # it was a while ago
        with pytest.raises(connection.ClusterLostError, match="its node has died"):
            watch.look()


def test_folders_of_searches_that_were_killed_are_removed() -> None:
    dead, alive = (Path(f"/tmp/frostline-{number}-test") for number in (2**30, os.getpid()))  # no number is that high
    try:
        for folder in (dead, alive):
            folder.mkdir()
        connection._sweep()
        assert (dead.exists(), alive.exists()) == (False, True)
        assert alive.name.startswith(connection.scratch_prefix())
    finally:
        for folder in (dead, alive):
            shutil.rmtree(folder, ignore_errors=True)


def test_variables_for_rays_processes_are_gone_from_this_one_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_TEST_SET", "before")
    monkeypatch.delenv("FROSTLINE_TEST_UNSET", raising=False)
    values = {"FROSTLINE_TEST_SET": "meanwhile", "FROSTLINE_TEST_UNSET": "meanwhile"}
    with pytest.raises(OSError, match="no Ray"), connection._environment(values):
        assert {name: os.environ[name] for name in values} == values
        raise OSError("no Ray")
    assert os.environ["FROSTLINE_TEST_SET"] == "before"
    assert "FROSTLINE_TEST_UNSET" not in os.environ
