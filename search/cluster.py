"""Ray: start or join it, what its nodes have, how many trials fit."""

from __future__ import annotations

import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What one machine offers."""

    cpus: float
    gpus: float
    memory: float
    """Bytes that trials may use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one trial takes."""

    cpus: float
    gpus: float
    memory: float
    """Bytes of main memory; an estimate that limits how many trials run at once, not a reservation."""

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.cpus:g} CPU{gpus}, {self.memory / GB:.1f} GB"


def fitting(node: Node, need: Need) -> int:
    """How many trials fit on one node at once."""
    limits = [node.cpus / need.cpus, node.memory / need.memory]
    if need.gpus:
        limits.append(node.gpus / need.gpus)
    return math.floor(min(limits) + 1e-9)


def slots(nodes: Sequence[Node], need: Need) -> int:
    """How many trials run at once on all nodes.

    Raises:
        ValueError: no node has what one trial needs.
    """
    total = sum(fitting(node, need) for node in nodes)
    if total < 1:
        there = "; ".join(f"{n.cpus:g} CPU, {n.gpus:g} GPU, {n.memory / GB:.1f} GB" for n in nodes)
        raise ValueError(f"no node can hold one trial: it needs {need}; there is {there}")
    return total


def arithmetic(nodes: Sequence[Node], need: Need) -> str:
    """The sum behind `slots`, for people."""
    parts = []
    for node in nodes:
        shares = [f"{node.cpus:g} CPU / {need.cpus:g}"]
        if need.gpus:
            shares.append(f"{node.gpus:g} GPU / {need.gpus:g}")
        shares.append(f"{node.memory / GB:.1f} GB / {need.memory / GB:.1f} GB")
        parts.append(f"min({', '.join(shares)}) = {fitting(node, need)}")
    return " + ".join(parts)


def local_node() -> Node:
    """This machine, as a private Ray instance would be given it."""
    prepare_environment()
    import psutil
    import torch
    from ray._private.utils import get_num_cpus  # knows a container's quota, which os.cpu_count does not

    return Node(
        cpus=get_num_cpus(), gpus=torch.cuda.device_count(), memory=0.8 * float(psutil.virtual_memory().available)
    )


def nodes(address: str | None) -> list[Node]:
    """The nodes a search would run on: of the cluster at `address`, else this machine.

    Raises:
        ValueError: no cluster answers at `address`.
    """
    if address is None:
        return [local_node()]
    with connect(address):
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(cpus=n.get("CPU", 0), gpus=n.get("GPU", 0), memory=n.get("memory", 0)) for n in alive]


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


class Watch:
    """Sees whether Ray is still there: without a node Tune waits for ever."""

    _EVERY = 2.0  # seconds between two looks

    def __init__(self) -> None:
        import psutil

        self._looked = time.monotonic()
        # A private instance is made of our children; Ray itself notices their death only after 15 s.
        self._raylets = [child for child in psutil.Process().children() if child.name() == "raylet"]

    def look(self) -> None:
        """Look, if it is time to.

        Raises:
            ClusterLostError: no node is left, or Ray does not answer.
        """
        import psutil
        import ray

        now = time.monotonic()
        if now - self._looked < self._EVERY:
            return
        self._looked = now
        if any(not raylet.is_running() or raylet.status() == psutil.STATUS_ZOMBIE for raylet in self._raylets):
            raise ClusterLostError("its node has died")
        try:
            alive = any(node["Alive"] for node in ray.nodes())
        except Exception as error:  # whatever a broken connection raises
            raise ClusterLostError(str(error).splitlines()[0]) from error
        if not alive:
            raise ClusterLostError("its last node has died")


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
        # A trial that fails reports why, without an objective.
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
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
