"""Connects to Ray: joins the cluster at an address, or starts a private instance on this machine."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from frostline.search import stop
from frostline.search.cluster import ray_private
from frostline.search.cluster.capacity import Node
from frostline.search.cluster.environment import WORKER, environment, prepare_environment
from frostline.trainables import _locks
from frostline.trainables._errors import first_line


class ClusterLostError(Exception):
    """Ray itself has gone, with every process that trained."""


def local_node() -> Node:
    """This machine, with the resources that a private Ray instance gets."""
    prepare_environment()
    import psutil
    import torch

    return Node(
        cpus=ray_private.cpu_count(),
        gpus=torch.cuda.device_count(),
        memory=0.8 * float(psutil.virtual_memory().available),
    )


@contextmanager
def connect(address: str | None, node: Node | None = None, advice: str = "") -> Iterator[None]:
    """Keep a Ray connection during a `with` block: to the cluster at `address`, else to a private instance.

    The private instance belongs to this process: its files are in a temporary folder, no other process can reach it,
    and it ends with the block.

    Args:
        address: `auto` or `HOST:PORT`; None for a private instance.
        node: resources of the private instance; by default those of this machine.
        advice: what a user is told to do should the private instance die while this process waits for it.

    Raises:
        ValueError: no cluster answers at `address`.
    """
    prepare_environment()
    if address is not None:
        _check_port(address)
    import ray

    if ray.is_initialized():  # the caller (a notebook, a test) has connected and will disconnect
        yield
        return
    if address is None:
        with ray_private.without_its_errors(), _private_instance(node or local_node(), advice):
            yield
        return
    with ray_private.without_its_errors():
        _join(address)
        try:
            yield
        finally:
            ray_private.shut_down()


_QUIET = {"logging_level": "ERROR", "log_to_driver": False}


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address, runtime_env={"env_vars": dict(WORKER)}, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"no Ray cluster answers at {_named(address)}: {first_line(error)}") from error


@contextmanager
def _private_instance(node: Node, advice: str) -> Iterator[None]:
    import ray

    # The instance listens on loopback. A token would only lock out a second driver, and none is to come.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with scratch(for_ray=True) as folder:
        try:
            # Workers inherit the variables. With a runtime environment Ray would not use for trials the processes that
            # it starts at once.
            with environment(WORKER), stop.requests() as signals, ray_private.without_its_handler():
                ray.init(
                    address="local",
                    num_cpus=int(node.cpus),
                    num_gpus=int(node.gpus),
                    _memory=int(node.memory),
                    object_store_memory=100_000_000,  # bytes; trials read their data from memory-mapped files
                    include_dashboard=False,
                    _temp_dir=str(folder),
                    **_QUIET,
                )
            if signals:
                raise KeyboardInterrupt
            with _ending_without(ray_private.processes_it_needs(), folder, advice):
                try:
                    yield
                finally:
                    ray_private.shut_down()
        finally:
            ray_private.shut_down()  # also what has begun to start


_GRACE = 15.0
"""Seconds that this process may take to notice that Ray has died. It would hang for 60 s, and then Ray would end it."""


@contextmanager
def _ending_without(processes: Sequence[tuple[str, int]], folder: Path, advice: str) -> Iterator[None]:
    """End this process with one line if one of Ray's dies during the `with` block, and the block does not end then.

    It ends where `Watch` notices. But a call of Ray that is under way would not return.
    """
    left = threading.Event()

    def watch() -> None:
        while not left.wait(1.0):
            if (name := ray_private.dead(processes)) and not left.wait(_GRACE):
                line = f"Ray has stopped (its process {name} has died). {advice}"
                print(f"frostline: {line}", file=sys.stderr, flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


_LONGEST = 107 - len("/frostline-12345678/session_2026-11-28_21-27-03_800047_1234567/sockets/plasma_store")
"""Characters of the folder below which Ray's sockets go: the path of a socket has 107 at most."""


def scratch(for_ray: bool = False) -> AbstractContextManager[Path]:
    """A new folder for temporary files during a `with` block. Those of killed searches are removed before.

    Args:
        for_ray: it holds Ray's sockets, so its path must be short.

    Raises:
        ValueError: no folder for temporary files can be written.
    """
    return _locks.scratch(temporary_folder(for_ray), "frostline-")


def temporary_folder(for_ray: bool = False) -> Path:
    """The folder for temporary files: that of `TMPDIR`, if it can be used.

    Args:
        for_ray: Ray's sockets go below it, so its path must be short.

    Raises:
        ValueError: there is none.
    """
    places = [place for place in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp") if place]
    for place in places:
        short = not for_ray or len(os.fsencode(place)) <= _LONGEST
        if short and Path(place).is_dir() and os.access(place, os.W_OK | os.X_OK):
            return Path(place).absolute()
    limit = f" whose path has at most {_LONGEST} characters" if for_ray else ""
    raise ValueError(f"no temporary files in {', '.join(places)}: TMPDIR names a folder to write them in{limit}")


def _check_port(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would wait many minutes for it.

    Raises:
        ValueError: the address is neither `auto` nor `HOST:PORT`, or nothing answers within 5 s.
    """
    if address == "auto":
        return
    option = "RAY_ADDRESS" if _is_of_environment(address) else "--address"
    kinds = {"ray": "Ray Client's", "http": "the one for jobs", "https": "the one for jobs"}
    protocol = address.partition("://")[0]
    if protocol in kinds:
        raise ValueError(
            f"{option} is 'auto' or HOST:PORT of the head node (6379, unless it was started with another port), or "
            f"'local' for a Ray of its own; {address} is {kinds[protocol]}"
        )
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535 or "/" in host:
        raise ValueError(f"{option} is 'auto' or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"no Ray cluster answers at {_named(address)}: {reason}") from error


def _is_of_environment(address: str) -> bool:
    return address == os.environ.get("RAY_ADDRESS")


def _named(address: str) -> str:
    """An address for a message, with the variable that has it if there is one."""
    return f"{address} (of the variable RAY_ADDRESS)" if _is_of_environment(address) else address
