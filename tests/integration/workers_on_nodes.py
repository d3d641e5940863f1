"""Trials with two workers on two nodes; one node dies. The cluster lives longer than the search.

    python -m pytest tests/integration/workers_on_nodes.py

Run it by hand; about two minutes on two idle cores.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import test_nodes
from tests.integration.test_nodes import Nodes, head, nodes, results_of, run, search, wait_for

__all__ = ["head", "nodes", "run", "search"]


@pytest.fixture(autouse=True)
def longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_nodes, "LIMIT", 150.0)  # a group on new nodes takes half a minute to start


def leftovers(address: str) -> list[str]:
    """Placement groups, actors and CPUs that ended searches still hold, seen from a new connection."""
    import ray
    from ray._private.state import actors

    ray.init(address, logging_level="ERROR", log_to_driver=False)
    try:
        until = time.monotonic() + 10
        while True:
            groups = [g for g in ray.util.placement_group_table().values() if g["state"] != "REMOVED"]
            left = [f"placement group {group['placement_group_id']}" for group in groups]
            left += [
                f"actor {actor['ActorClassName']}"
                for actor in actors().values()
                if actor["State"] != "DEAD" and "AutoscalingCoordinator" not in actor["ActorClassName"]
            ]
            whole, free = ray.cluster_resources(), ray.available_resources()
            left += [f"{free.get('CPU')} of {whole['CPU']} CPU"] if free.get("CPU") != whole["CPU"] else []
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.1)
    finally:
        ray.shutdown()


def test_a_node_of_the_workers_dies_and_the_trial_goes_on(
    nodes: Nodes, search: Callable[..., dict[str, Any]], run: Path
) -> None:
    first, _ = nodes.join(), nodes.join()

    def meanwhile(_: object) -> None:
        nodes.join()
        wait_for(lambda: list(run.glob("trials/00000/last.safetensors")))
        nodes.kill(first)

    found = search(meanwhile, trials=2, epochs=40, checkpoint_every=0.0, workers_per_trial=2)
    print(found["printed"])
    assert found["slots"] == 1
    assert (found["counts"]["failed"], found["counts"]["running"]) == (0, 0)
    assert sum(found["counts"].values()) == 2
    assert "trial 0: its node " in found["printed"]
    assert "trial 0 goes on after epoch " in found["printed"]
    assert leftovers(nodes.address) == []


def test_ctrl_c_leaves_nothing_on_the_cluster(nodes: Nodes, search: Callable[..., dict[str, Any]], run: Path) -> None:
    nodes.join(), nodes.join()
    found = search(
        lambda _: os.kill(os.getpid(), signal.SIGINT), trials=1000, epochs=40, workers_per_trial=2, retries=0
    )
    assert found["interrupted"]
    assert results_of(run)
    assert leftovers(nodes.address) == []
