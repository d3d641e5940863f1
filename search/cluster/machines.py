"""The machines that a search may use: this one, or the nodes of a cluster, and whether they see the storage."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from frostline.search.cluster import autoscaler
from frostline.search.cluster.capacity import Offer
from frostline.search.cluster.connection import connect, local_node, temporary_folder
from frostline.trainables import _storage

_ANSWER = 120.0
"""Seconds that nodes may take to start one of our processes."""


def offer(address: str | None, storage: Path, url: str = "") -> Offer:
    """The machines for a search: those of the cluster at `address`, else this one.

    Args:
        address: `auto` or `HOST:PORT` of the cluster.
        storage: folder for the run directory.
        url: storage for the run directory where it is not a folder.

    Raises:
        ValueError: no cluster answers at `address`, some of its nodes cannot use the storage, or this machine has no
            folder for temporary files.
    """
    if address is None:
        temporary_folder(for_ray=True)
        return Offer(nodes=(local_node(),))
    with connect(address):
        cluster = connected()
        if len(cluster.nodes) + len(cluster.more) > 1:
            _check_storage(storage, url)
    return cluster


def connected(without: Collection[str] = ()) -> Offer:
    """The machines of the cluster that this process is connected to, and those that its autoscaler may add.

    Args:
        without: ids of nodes to leave out.
    """
    import ray

    alive = tuple(
        autoscaler.machine(node["Resources"]) for node in ray.nodes() if node["Alive"] and node["NodeID"] not in without
    )
    return Offer(nodes=alive, more=autoscaler.may_come(alive, autoscaler.configuration()), changes=True)


def _check_storage(storage: Path, url: str) -> None:
    if url:
        if blind := without_use_of(url):
            raise ValueError(f"--storage {url} cannot be used by all nodes: {'; '.join(blind)}")
        return
    if not storage.is_absolute():
        raise ValueError(
            f"--storage {storage} is a folder of this machine; a cluster of several nodes needs one that all "
            "of them share: give its whole path"
        )
    if blind := without_sight_of(storage):
        raise ValueError(
            f"--storage {storage} is not on storage that all nodes share: {', '.join(blind)} cannot see what is "
            "written there"
        )


def without_sight_of(folder: Path) -> list[str]:
    """Names of the nodes that do not see what this machine writes in a folder, or in its nearest existing parent."""
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    with tempfile.NamedTemporaryFile(prefix=".frostline-", dir=place) as mark:
        return sorted(name for name, sees in _on_each_node(os.path.exists, mark.name) if not sees)


def without_use_of(url: str) -> list[str]:
    """Nodes that cannot read this process's files at a URL, or cannot write there: one `NAME: REASON` each.

    Raises:
        ValueError: this process itself cannot use the URL.
    """
    store, mark = _storage.Store(url), f".frostline-{uuid.uuid4().hex}"
    try:
        store.write(mark, b"frostline")
        try:
            return sorted(f"{name}: {why}" for name, why in _on_each_node(_storage.blind, url, mark) if why)
        finally:
            store.remove(mark)
    except _storage.StorageError as error:
        raise ValueError(f"--storage {url}: {error}") from error


def _on_each_node(function: Callable[..., Any], *arguments: Any) -> list[tuple[str, Any]]:
    """Call a function on each node: pairs of the node's name and the result.

    A node that has gone meanwhile is left out. Ray notices a dead node only after 15 s.

    Raises:
        GetTimeoutError: a node has not answered.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    alive = [node for node in ray.nodes() if node["Alive"]]
    calls = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            *arguments
        )
        for node in alive
    ]
    ray.wait(calls, num_returns=len(calls), timeout=_ANSWER)
    results = []
    for node, call in zip(alive, calls, strict=True):
        gone = (ray.exceptions.TaskUnschedulableError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
        with contextlib.suppress(*gone):
            results.append((node["NodeManagerHostname"], ray.get(call, timeout=0.1)))
    return results
