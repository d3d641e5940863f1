import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from search import cluster
from search.cluster import GB, Need, Node

LAPTOP = Node(cpus=8, gpus=0, memory=10 * GB)
GPU_BOX = Node(cpus=16, gpus=2, memory=100 * GB)


@pytest.mark.parametrize(
    ("nodes", "need", "expected"),
    [
        ([LAPTOP], Need(cpus=1, gpus=0, memory=1 * GB), 8),
        ([LAPTOP], Need(cpus=1, gpus=0, memory=3 * GB), 3),  # memory is the limit
        ([LAPTOP], Need(cpus=3, gpus=0, memory=1 * GB), 2),
        ([GPU_BOX], Need(cpus=4, gpus=1, memory=4 * GB), 2),
        ([GPU_BOX], Need(cpus=1, gpus=0.25, memory=4 * GB), 8),
        ([GPU_BOX, GPU_BOX, LAPTOP], Need(cpus=4, gpus=1, memory=4 * GB), 4),
        ([Node(cpus=1, gpus=0.3, memory=GB)], Need(cpus=0.1, gpus=0.1, memory=1), 3),  # 0.3 / 0.1 < 3 in floats
    ],
)
def test_slots(nodes: list[Node], need: Need, expected: int) -> None:
    assert cluster.slots(nodes, need) == expected
    assert sum(int(part.rsplit("= ")[-1]) for part in cluster.arithmetic(nodes, need).split(" + ")) == expected


def test_what_no_node_has_is_said_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"needs 1 CPU, 1 GPU, 2.0 GB; there is 8 CPU, 0 GPU, 10.0 GB"):
        cluster.slots([LAPTOP], Need(cpus=1, gpus=1, memory=2 * GB))


def test_no_cluster_at_an_address() -> None:
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        cluster.nodes("127.0.0.1:9")
    for address in ("ray://somewhere:10001", "somewhere", "somewhere:port"):
        with pytest.raises(ValueError, match="'auto' or HOST:PORT"):
            cluster.nodes(address)


def test_a_dead_node_of_our_own_is_noticed_at_the_next_look(tmp_path: Path) -> None:
    node = tmp_path / "raylet"  # Ray's own name for it
    shutil.copy(shutil.which("sleep") or "/bin/sleep", node)
    with subprocess.Popen([str(node), "600"]) as process:
        watch = cluster.Watch()
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        watch._looked -= 60  # it was a while ago
        with pytest.raises(cluster.ClusterLostError, match="its node has died"):
            watch.look()


def test_folders_of_searches_that_were_killed_are_removed() -> None:
    dead, alive = (Path(f"/tmp/frostline-{number}-test") for number in (2**30, os.getpid()))  # no number is that high
    try:
        for folder in (dead, alive):
            folder.mkdir()
        cluster._sweep()
        assert (dead.exists(), alive.exists()) == (False, True)
        assert alive.name.startswith(cluster.scratch_prefix())
    finally:
        for folder in (dead, alive):
            shutil.rmtree(folder, ignore_errors=True)


def test_variables_for_rays_processes_are_gone_from_this_one_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_TEST_SET", "before")
    monkeypatch.delenv("FROSTLINE_TEST_UNSET", raising=False)
    values = {"FROSTLINE_TEST_SET": "meanwhile", "FROSTLINE_TEST_UNSET": "meanwhile"}
    with pytest.raises(OSError, match="no Ray"), cluster._environment(values):
        assert {name: os.environ[name] for name in values} == values
        raise OSError("no Ray")
    assert os.environ["FROSTLINE_TEST_SET"] == "before"
    assert "FROSTLINE_TEST_UNSET" not in os.environ
