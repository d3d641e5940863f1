"""Machines that may still be started."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frostline.search.cluster import autoscaler
from frostline.search.cluster.capacity import Node
from tests.cluster_file import read

HEAD = Node(cpus=0, gpus=0, memory=12e9)
GPU = Node(cpus=4, gpus=1, memory=11e9)


@pytest.mark.parametrize(
    ("alive", "left"),
    [
        ([HEAD], 8),  # of 8 spot and 2 on-demand ones: no more than 8 together
        ([HEAD, GPU], 7),
        ([HEAD, *[GPU] * 8], 0),
        ([HEAD, Node(cpus=16, gpus=0, memory=9e9)], 7),  # one that somebody has added
    ],
)
def test_the_file_limits_how_many_machines_may_come(alive: list[Node], left: int) -> None:
    configuration = read()
    for name in ("spot", "on-demand"):  # `ray up` asks EC2 what the instance type has
        configuration["available_node_types"][name]["resources"] = {"CPU": 4, "GPU": 1, "memory": 11e9}
    assert autoscaler.may_come(alive, configuration) == (GPU,) * left


def test_no_machine_may_come_without_an_autoscaler_or_without_known_resources() -> None:
    assert autoscaler.may_come([HEAD], {}) == ()
    assert autoscaler.may_come([HEAD], {"max_workers": 2, "available_node_types": {"own": {"max_workers": 2}}}) == ()


def test_the_configuration_of_the_cluster_at_an_address_is_read(tmp_path: Path) -> None:
    path = tmp_path / "autoscaling.yaml"
    path.write_text(yaml.safe_dump({"max_workers": 3}))
    command = [sys.executable, "-c", "input()", "--gcs-address=192.0.2.1:1", f"--autoscaling-config={path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as monitor:
        assert autoscaler.read("192.0.2.1:1") == {"max_workers": 3}
        assert autoscaler.read("192.0.2.1:2") == {}
        monitor.kill()
