"""Machines that Ray's autoscaler may still start. Ray 2.60 does not list them: we read its file at the head."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.search.cluster import ray_private
from frostline.search.cluster.capacity import Node

_ANSWER = 120.0
"""Seconds that the head may take to start one of our processes."""


def machine(resources: Mapping[str, float]) -> Node:
    """A machine from Ray's dictionary of its resources; memory in bytes."""
    return Node(cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0), memory=resources.get("memory", 0))


def may_come(alive: Sequence[Node], configuration: Mapping[str, Any]) -> tuple[Node, ...]:
    """Machines that may still be started.

    Ray does not say which of today's machines belong to which node type, so machines with the same CPUs and GPUs count.

    Args:
        alive: the machines of today, with the head.
        configuration: the file that `ray up` writes for the head; empty without an autoscaler.
    """
    more: list[Node] = []
    for name, node_type in configuration.get("available_node_types", {}).items():
        new = machine(node_type.get("resources", {}))
        if name == configuration.get("head_node_type") or not new.cpus:
            continue
        here = sum((other.cpus, other.gpus) == (new.cpus, new.gpus) for other in alive)
        more += [new] * max(0, node_type.get("max_workers", configuration.get("max_workers", 0)) - here)
    return tuple(more[: max(0, configuration.get("max_workers", len(more)) - (len(alive) - 1))])


def configuration() -> dict[str, Any]:
    """The configuration of the connected cluster's autoscaler; empty without one."""
    import ray

    return _configuration(ray.get_runtime_context().gcs_address, ray.get_runtime_context().get_job_id())


@functools.lru_cache(maxsize=1)
def _configuration(address: str, _connection: str) -> dict[str, Any]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    heads = [node for node in ray.nodes() if node["Alive"] and ray_private.HEAD_RESOURCE in node["Resources"]]
    if not heads:
        return {}
    if heads[0]["NodeManagerAddress"] == ray.util.get_node_ip_address():
        return read(address)
    on_head = NodeAffinitySchedulingStrategy(heads[0]["NodeID"], soft=False)
    reading = ray.remote(num_cpus=0)(read).options(scheduling_strategy=on_head).remote(address)
    return dict(ray.get(reading, timeout=_ANSWER))


def read(address: str) -> dict[str, Any]:
    """The configuration with which the autoscaler on this machine was started; empty where none runs.

    Args:
        address: of the cluster; this machine may hold others.
    """
    import yaml

    path = ray_private.autoscaler_file(address)
    return dict(yaml.safe_load(path.read_text())) if path else {}
