"""Which machines Ray's autoscaler may start. Ray 2.60 does not tell: its configuration is read at the head."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.search.cluster.capacity import Node


def node(resources: Mapping[str, float]) -> Node:
    """What Ray says that a machine has."""
    return Node(cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0), memory=resources.get("memory", 0))


def may_come(alive: Sequence[Node], configuration: Mapping[str, Any]) -> tuple[Node, ...]:
    """Machines that may still be started.

    Ray does not say which of today's machines are of which kind; those that look alike count for it.

    Args:
        alive: machines that are there, the head among them.
        configuration: as `ray up` writes it for the head; empty without an autoscaler.
    """
    more: list[Node] = []
    for name, kind in configuration.get("available_node_types", {}).items():
        machine = node(kind.get("resources", {}))
        if name == configuration.get("head_node_type") or not machine.cpus:
            continue
        here = sum((other.cpus, other.gpus) == (machine.cpus, machine.gpus) for other in alive)
        more += [machine] * max(0, kind.get("max_workers", configuration.get("max_workers", 0)) - here)
    return tuple(more[: max(0, configuration.get("max_workers", len(more)) - (len(alive) - 1))])


def configuration() -> dict[str, Any]:
    """What the autoscaler works by of the cluster that this process is connected to; empty without one."""
    import ray

    return _configuration(ray.get_runtime_context().gcs_address, ray.get_runtime_context().get_job_id())


@functools.lru_cache(maxsize=1)
def _configuration(address: str, _connection: str) -> dict[str, Any]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    heads = [found for found in ray.nodes() if found["Alive"] and "node:__internal_head__" in found["Resources"]]
    if not heads:
        return {}
    if heads[0]["NodeManagerAddress"] == ray.util.get_node_ip_address():
        return read(address)
    at_the_head = NodeAffinitySchedulingStrategy(heads[0]["NodeID"], soft=False)
    asked = ray.remote(num_cpus=0)(read).options(scheduling_strategy=at_the_head).remote(address)
    return dict(ray.get(asked, timeout=_ANSWER))


_ANSWER = 120.0
"""Seconds that the head may take to start a process of ours."""


def read(address: str) -> dict[str, Any]:
    """The configuration that the autoscaler on this machine was started with; empty where there is none.

    Args:
        address: of the cluster: there may be others here.
    """
    import psutil
    import yaml

    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        flags = dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)
        if flags.get("--gcs-address") == address and "--autoscaling-config" in flags:
            return dict(yaml.safe_load(Path(flags["--autoscaling-config"]).expanduser().read_text()))
    return {}
