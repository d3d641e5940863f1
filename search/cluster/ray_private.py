"""Everything that `search` uses of Ray beyond its public API, written for Ray 2.60. `test_ray_private.py` tries each.

To upgrade Ray, run that test and mend this file. What a slot uses is in `trainables/slot/ray_private.py`. Ray is
imported inside the functions, since decision modules are imported without it.
"""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# --- nodes and actors ----------------------------------------------------------------------------

NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives every node; its value is the node's id. Ray has it as `ray._raylet.RAY_NODE_ID_KEY`."""

HEAD_RESOURCE = "node:__internal_head__"
"""A resource that only the head node has."""


def cpu_count() -> float:
    """CPUs of this machine. `ray._private.utils.get_num_cpus` knows a container's quota, `os.cpu_count` does not."""
    from ray._private.utils import get_num_cpus

    return float(get_num_cpus())


def draining_nodes() -> set[str]:
    """Ids of the nodes that Ray was told will be taken away (`ray drain-node`)."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def node_of(actor: Any) -> str:
    """Id of the node on which an actor runs, from Ray's own table of actors. `actor`: its handle."""
    from ray._private.state import actors

    return str(actors(actor._actor_id.hex())["Address"]["NodeID"])


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeGroup:
    """A placement group that exists, made by an actor of this job."""

    group: Any
    """A handle of type `ray.util.placement_group.PlacementGroup`."""
    maker_died: bool
    """Whether the actor that made it is dead."""


def groups_made_by_actors() -> list[MadeGroup]:
    """Placement groups that actors of this job have made and that Ray has not removed yet.

    `ray.util.placement_group_table` does not name the maker, so this reads the protobuf message behind it:
    `state`, `creator_job_id`, `creator_actor_id` (bytes 0xff where no actor made it) and `creator_actor_dead`.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.util.placement_group import PlacementGroup

    job = ray.get_runtime_context().get_job_id()
    groups = []
    for row in state._connect_and_get_accessor().get_placement_group_table():
        data = PlacementGroupTableData.FromString(row)
        by_an_actor = bool(data.creator_actor_id.strip(b"\xff"))
        if data.state != PlacementGroupTableData.REMOVED and data.creator_job_id.hex() == job and by_an_actor:
            group = PlacementGroup(ray.PlacementGroupID(data.placement_group_id))
            groups.append(MadeGroup(group=group, maker_died=data.creator_actor_dead))
    return groups


# --- Ray's processes -----------------------------------------------------------------------------


def processes_it_needs() -> list[tuple[str, int]]:
    """Names and ids of the processes without which a private Ray instance is lost: children of its driver.

    They are the node (`raylet`) and the server of the cluster's state. The node ends with its agents. The others (the
    autoscaler's monitor, the log monitor, the dashboard) are not needed here.
    """
    import psutil

    return [
        (child.name(), child.pid)
        for child in psutil.Process().children()
        if child.name() in {"raylet", "gcs_server"} and child.status() != psutil.STATUS_ZOMBIE  # of an earlier instance
    ]


def dead(processes: Iterable[tuple[str, int]]) -> str:
    """The name of one of these children that has died; empty if all live. It takes a microsecond."""
    for name, id_ in processes:
        try:
            if os.waitid(os.P_PID, id_, os.WEXITED | os.WNOHANG | os.WNOWAIT):  # it stays for Ray to be reaped
                return name
        except ChildProcessError:  # Ray has reaped it
            return name
    return ""


@contextmanager
def without_its_errors() -> Iterator[None]:
    """Keep Ray from printing during a `with` block the errors that its processes publish.

    They are pages of its manual and of its logs on stdout, about things that we say in one line. Tune lists at its end
    the trials that lost their process, as an error.
    """
    from ray._private import worker

    printing, tune = worker.print_to_stdstream, logging.getLogger("ray.tune.tune")
    worker.print_to_stdstream, disabled = (lambda *_, **__: None), tune.disabled
    tune.disabled = True
    try:
        yield
    finally:
        worker.print_to_stdstream, tune.disabled = printing, disabled


@contextmanager
def without_its_handler() -> Iterator[None]:
    """Keep `ray.init` during a `with` block from handling SIGTERM: it would end this process without a word."""
    from ray._private import utils

    setting = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = setting


def shut_down() -> None:
    """`ray.shutdown`, after which SIGTERM is handled as before: Ray's C++ core sets it back to ending the process."""
    import ray

    ray.shutdown()
    handler = signal.getsignal(signal.SIGTERM)  # as Python knows it; None if Python did not set it
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def node_ids_here() -> list[str]:
    """Ids of all Ray nodes on this machine, from the flag `--node_id` of their processes."""
    import psutil

    raylets = (process for process in psutil.process_iter() if process.name() == "raylet")
    return [id_ for process in raylets if (id_ := _flags(process.cmdline()).get("--node_id"))]


def autoscaler_file(address: str) -> Path | None:
    """The file with which the autoscaler on this machine was started; None where no autoscaler runs.

    Ray's monitor process has it in a flag. `ray._private.state.state.get_cluster_config()` is always empty in 2.60.

    Args:
        address: of the cluster (its GCS); this machine may hold others.
    """
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        flags = _flags(process.info["cmdline"] or [])
        if flags.get("--gcs-address") == address and "--autoscaling-config" in flags:
            return Path(flags["--autoscaling-config"]).expanduser()
    return None


def _flags(command: list[str]) -> dict[str, str]:
    return dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)


# --- error texts: Ray gives a lost trial's cause only as English sentences -------------------------


def says_actor_died(text: str) -> bool:
    """Whether an error text is that of an actor whose process or node died (`ActorDiedError`)."""
    return "The actor died unexpectedly" in text


def says_node_died(text: str) -> bool:
    """Whether an error text says that the actor's node died or was preempted; the sentences are those of Ray's GCS."""
    return "its node has died" in text or "the actor's node was" in text


def says_actor_unavailable(text: str) -> bool:
    """Whether an error text is that of an actor that does not answer just now (`ActorUnavailableError`)."""
    return re.search(r"The actor \w+ is unavailable: ", text) is not None


def memory_in(text: str) -> tuple[float, float] | None:
    """Bytes in use and bytes of the machine, from an error text about a process that Ray's memory monitor has killed.

    They are NaN where the text does not tell them. None for any other error text.
    """
    if "killed due to the node running low on memory" not in text:
        return None
    match = re.search(r"Memory usage (\d+)B exceeded threshold of \d+B \([\d.]+% of (\d+)B limit\)", text)
    return (float(match[1]), float(match[2])) if match else (math.nan, math.nan)


# --- Tune ----------------------------------------------------------------------------------------


def actor_of(trial: Any) -> Any:
    """The handle of the actor that runs a Tune trial (`Trial.temporary_state.ray_actor`)."""
    return trial.temporary_state.ray_actor


def error_of(trial: Any) -> str:
    """The error of a Tune trial, from the file that Tune wrote. `trial.get_error` reads a copy made late or never."""
    text = Path(trial.error_file).read_text(encoding="utf-8")
    return text.partition("\n")[2].strip()  # without "Failure # 1 (occurred at ...)"


# --- Train ---------------------------------------------------------------------------------------


def trainer_without_cleaner() -> type:
    """`TorchTrainer` without Ray Train's cleaner of placement groups.

    The cleaner is one more process per worker group and never ends where Ray has no dashboard. `tune/reaper.py` does
    its work. `_create_default_callbacks` is the only place where Train V2 adds the callback.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if not isinstance(callback, PlacementGroupCleanerCallback)]

    return Trainer
