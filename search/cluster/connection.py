"""Ray: start or join it, what its nodes have, whether it is still there."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from frostline.search.cluster import autoscaler
from frostline.search.cluster.capacity import Need, Node, Offer, fitting
from frostline.trainables import _storage


def local_node() -> Node:
    """This machine, as a private Ray instance would be given it."""
    prepare_environment()
    import psutil
    import torch
    from ray._private.utils import get_num_cpus  # knows a container's quota, which os.cpu_count does not

    return Node(
        cpus=get_num_cpus(), gpus=torch.cuda.device_count(), memory=0.8 * float(psutil.virtual_memory().available)
    )


def offer(address: str | None, storage: Path, url: str = "") -> Offer:
    """What a search would run on: the cluster at `address`, else this machine.

    Args:
        address: of the cluster.
        storage: where its run directory is to be.
        url: the same, where that is no folder.

    Raises:
        ValueError: no cluster answers at `address`, or not all its nodes share the storage.
    """
    if address is None:
        return Offer(nodes=(local_node(),))
    with connect(address):
        found = offered()
        if len(found.nodes) + len(found.more) > 1:
            if url:
                if blind := without_use_of(url):
                    raise ValueError(f"--storage {url} cannot be used by all nodes: {'; '.join(blind)}")
                return found
            if not storage.is_absolute():
                raise ValueError(
                    f"--storage {storage} is a folder of this machine; a cluster of several nodes needs one that all "
                    "of them share: give its whole path"
                )
            if blind := without_sight_of(storage):
                raise ValueError(
                    f"--storage {storage} is not on storage that all nodes share: {', '.join(blind)} cannot see what "
                    "is written there"
                )
    return found


def without_sight_of(folder: Path) -> list[str]:
    """Names of the nodes that do not see what this machine writes in a folder, or in the one it would be made in."""
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    with tempfile.NamedTemporaryFile(prefix=".frostline-", dir=place) as mark:
        return sorted(name for name, sees in _of_each_node(os.path.exists, mark.name) if not sees)


def without_use_of(url: str) -> list[str]:
    """Names of the nodes that cannot read what this process writes at a URL, or write there, and why; a clause each.

    Raises:
        ValueError: this process cannot.
    """
    store, mark = _storage.Store(url), f".frostline-{uuid.uuid4().hex}"
    try:
        store.write(mark, b"frostline")
        try:
            return sorted(f"{name}: {why}" for name, why in _of_each_node(_storage.blind, url, mark) if why)
        finally:
            store.remove(mark)
    except _storage.StorageError as error:
        raise ValueError(f"--storage {url}: {error}") from error


def _of_each_node(ask: Callable[..., Any], *of: Any) -> list[tuple[str, Any]]:
    """What a function answers on each node, with the node's name; not of one that has gone meanwhile.

    Ray notices a dead one after 15 s only.

    Raises:
        GetTimeoutError: one has not answered.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(ask)
    alive = [node for node in ray.nodes() if node["Alive"]]
    answers = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(*of)
        for node in alive
    ]
    ray.wait(answers, num_returns=len(answers), timeout=_ANSWER)
    told = []
    for node, answer in zip(alive, answers, strict=True):
        gone = (ray.exceptions.TaskUnschedulableError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
        with contextlib.suppress(*gone):
            told.append((node["NodeManagerHostname"], ray.get(answer, timeout=0.1)))
    return told


_ANSWER = 120.0
"""Seconds that nodes may take to start a process of ours."""


def offered(without: Collection[str] = ()) -> Offer:
    """What the cluster has that this process is connected to, and what its autoscaler may add.

    Args:
        without: ids of nodes that do not count.
    """
    import ray

    alive = tuple(
        autoscaler.node(found["Resources"])
        for found in ray.nodes()
        if found["Alive"] and found["NodeID"] not in without
    )
    return Offer(nodes=alive, more=autoscaler.may_come(alive, autoscaler.configuration()), changes=True)


@contextmanager
def connect(address: str | None, node: Node | None = None) -> Iterator[None]:
    """A Ray connection for the length of a `with`: to the cluster at `address`, else to one of our own.

    Our own instance is private to this process: it lives in a temporary folder, is reached by nobody
    else, and ends with the `with`.

    Raises:
        ValueError: no cluster answers at `address`.
    """
    prepare_environment()
    if address is not None:
        _knock(address)
    import ray

    if ray.is_initialized():  # the caller has connected (a notebook, a test) and will disconnect
        yield
        return
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    if address is not None:
        try:
            ray.init(address, runtime_env={"env_vars": _worker_environment()}, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    node = node or local_node()
    # A private instance on loopback: a token would only lock out a second driver that must not come.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    _sweep()
    # Unix sockets live below this folder and their paths end at 107 characters, so it is short.
    folder = tempfile.mkdtemp(prefix=scratch_prefix(), dir="/tmp")
    try:
        # Inherited, not a runtime environment: Ray then takes the processes that it starts at once for the trials.
        with _environment(_worker_environment()):
            ray.init(
                address="local",
                num_cpus=int(node.cpus),
                num_gpus=int(node.gpus),
                _memory=int(node.memory),
                object_store_memory=100_000_000,  # bytes; trials read their data from memory-mapped files
                include_dashboard=False,
                _temp_dir=folder,
                **quiet,
            )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """These variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class ClusterLostError(Exception):
    """Ray itself has gone, with every process that trained."""


class Home(NamedTuple):
    """The node that a trial runs on."""

    id: str
    name: str


class Watch:
    """Sees whether Ray is still there (without a node Tune waits for ever), and what its nodes offer."""

    _EVERY = 2.0  # seconds between two looks

    def __init__(self, changes: bool = False) -> None:
        """`changes`: nodes may come and go, so that what they offer is looked at too."""
        import psutil

        self._looked = time.monotonic()
        self._aside: dict[str, list[Any]] = {}
        self.announced: set[str] = set()
        """Ids of the nodes of which Ray was told that they will be taken."""
        self.offer = offered() if changes else None
        """What there was at the last look; None where it stays as planned."""
        # A private instance is made of our children; Ray itself notices their death only after 15 s.
        own = [] if changes else psutil.Process().children()
        self._raylets = [child for child in own if child.name() == "raylet"]

    def look(self) -> None:
        """Look, if it is time to.

        Raises:
            ClusterLostError: no node is left, or Ray does not answer.
        """
        import psutil
        import ray
        from ray._private.state import state

        now = time.monotonic()
        if now - self._looked < self._EVERY:
            return
        self._looked = now
        if any(not raylet.is_running() or raylet.status() == psutil.STATUS_ZOMBIE for raylet in self._raylets):
            raise ClusterLostError("its node has died")
        try:
            alive = any(node["Alive"] for node in ray.nodes())
            if self.offer is not None:
                self.offer = offered(self._aside)
                self.announced |= state.get_draining_nodes().keys()
        except Exception as error:  # whatever a broken connection raises
            raise ClusterLostError(str(error).splitlines()[0]) from error
        if not alive:
            raise ClusterLostError("its last node has died")

    def home(self, actor: Any) -> Home | None:
        """Where an actor is; None on one machine, where that is no question."""
        import ray
        from ray._private.state import actors

        if self.offer is None:
            return None
        node = actors(actor._actor_id.hex())["Address"]["NodeID"]
        names = [found["NodeManagerHostname"] for found in ray.nodes() if found["NodeID"] == node]
        return Home(node, *(names or [node[:8]]))

    def set_aside(self, node: str, need: Need) -> None:
        """Keep a node's places taken, so that Ray gives them to nobody, until `release`."""
        import ray
        from ray.util.placement_group import placement_group

        bundle = {name: amount for name, amount in need.bundle.items() if amount}
        for found in ray.nodes():
            if found["NodeID"] == node and found["Alive"]:
                self._aside[node] = [
                    placement_group([bundle], strategy="STRICT_PACK", bundle_label_selector=[{_NODE_ID: node}])
                    for _ in range(fitting(autoscaler.node(found["Resources"]), need))
                ]
        self.offer = offered(self._aside)

    def release(self) -> None:
        """Give back what `set_aside` has taken."""
        from ray.util.placement_group import remove_placement_group

        for groups in self._aside.values():
            for group in groups:
                with contextlib.suppress(Exception):  # with Ray gone, so are they
                    remove_placement_group(group)
        self._aside = {}


_NODE_ID = "ray.io/node-id"
"""The label that Ray gives every node."""


def scratch_prefix() -> str:
    """How the names of this process's temporary folders begin."""
    return f"frostline-{os.getpid()}-"


def _sweep() -> None:
    """Remove the temporary folders of searches on this machine that were killed."""
    for folder in Path("/tmp").glob("frostline-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would wait for it for many minutes.

    Raises:
        ValueError: not `auto` or `host:port`, or no answer within 5 s.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ValueError(f"--address is 'auto' or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ValueError(f"no Ray cluster answers at {address}: {error.strerror or error}") from error


def prepare_environment() -> None:
    """Settings that Ray reads when it is imported, so before that, or when Tune starts."""
    for name, value in {
        # Under `uv run` Ray would build a second environment for its workers.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The older of the two progress reporters of Tune is the one that verbose=0 silences.
        "RAY_AIR_NEW_OUTPUT": "0",
        # Ray prints a line about this setting unless it is set.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Our workers are the work; nothing on this machine should go before them.
        "RAY_worker_niceness": "0",
        # The run directory holds our own records; Tune's CSV, JSON and TensorBoard files repeat them.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # So do its snapshots of itself; writing one takes 3 to 30 ms for which a slot may wait.
        "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
        # How many trials wait for a place is ours to say (`capacity.asked_for`).
        "TUNE_MAX_PENDING_TRIALS_PG": "10000",
        # A trial that fails reports why, without an objective.
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        # Tune would start a trial anew, and tell nobody, whose node was taken after that had been announced.
        "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
        # Tune would print the traceback of each lost process; one line of ours says it.
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        # Ctrl-C is handled in tuner.py, at a point where nothing is half written.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
    }.items():
        os.environ.setdefault(name, value)


def _worker_environment() -> dict[str, str]:
    return {
        # Without byte code on disk every process would compile torch and transformers again (6 s).
        "PYTHONDONTWRITEBYTECODE": "",
        # One heap instead of eight per thread: freed memory is found again, and a warm slot does not grow.
        "MALLOC_ARENA_MAX": "1",
        # Large tensors too come from that heap, and it is not given back within a trial: mapping gradients anew in
        # each step was 18,000 page faults, a tenth of its time. Between two trials it is given back (`malloc_trim`).
        "MALLOC_MMAP_THRESHOLD_": "2000000000",
        "MALLOC_TRIM_THRESHOLD_": "4000000000",
        "TOKENIZERS_PARALLELISM": "false",
    }
