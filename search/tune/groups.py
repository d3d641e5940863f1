"""Several workers for a trial: a `TorchTrainer` worker group per slot, kept from trial to trial, and what clears it up.

A group takes 22 s and more to start, so a slot starts one at its first trial and gives it all that follow; a trial
that ASHA stops ends at its report on every worker, and no process with it. The slot's own process (a Tune trial
without a CPU) hands reports on to Tune. It owns the mailbox and Ray Train's controller, which owns the workers: Ray
ends all of them with the slot. Only the placement group stays where its maker is killed (ray#65443); see `reaper.py`.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from frostline.search.cluster import ray_private
from frostline.trainables._task import (
    DiskFull,
    Failed,
    GroupLostError,
    NodeError,
    NodeGoneError,
    PeerLostError,
    Setup,
    Task,
    Told,
)
from frostline.trainables.slot.mailbox import Mailbox

_SETTINGS = {
    # Seconds between two looks of the controller at its workers: what an idle group's dead worker waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A group may wait for a node as long as any trial does.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1e6",
    # That a node will be taken is asked by the worker that writes the snapshots; this would be one process more.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def run(config: Mapping[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Train the tasks of a Tune trial with this slot's workers, which are started if there are none.

    Args:
        config: `tasks`, `setup`, and of the group `bundle` (what Ray reserves for a worker) and `storage`.
        report: to Tune; raises to end the trial.

    Raises:
        NodeError: a worker's machine lacks what training needs; the text ends with the node's id.
        NodeGoneError: a worker's machine has gone.
        GroupLostError: workers have died.
    """
    tasks = [Task(**task) for task in config["tasks"]]
    group = _given(config, tasks)
    while (told := group.hear()) is not None:
        try:
            report(told.to_tune())
        except BaseException:
            group.answer(goes_on=False)
            raise
        group.answer(goes_on=True)
        if isinstance(told.last, (Failed, DiskFull)) and told.task == len(tasks) - 1:
            return  # whether the workers all come to that end is seen at the next trial


def _given(config: Mapping[str, Any], tasks: list[Task]) -> _Group:
    """The slot's group, which has taken the tasks; a new one where the last has ended."""
    global _kept
    if _kept is not None:
        try:
            _kept.give(tasks)
            return _kept
        except (GroupLostError, NodeError, NodeGoneError):
            _kept = None
    _kept = _Group(Setup.of(config["setup"]), config["bundle"], config["storage"])
    _kept.give(tasks)
    return _kept


class _Group:
    """A worker group and its mailbox."""

    def __init__(self, setup: Setup, bundle: Mapping[str, float], storage: str) -> None:
        here = {ray_private.NODE_ID_LABEL: ray.get_runtime_context().get_node_id()}
        self._mailbox = ray.remote(num_cpus=0, label_selector=here)(Mailbox).remote(setup.workers)
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        resources = {name: amount for name, amount in bundle.items() if amount}
        trainer = ray_private.trainer_without_cleaner()(
            _work,
            train_loop_config={"setup": setup, "mailbox": self._mailbox},
            torch_config=_Config(),
            scaling_config=ScalingConfig(
                num_workers=setup.workers,
                use_gpu=setup.device == "cuda",
                resources_per_worker=resources,
                placement_strategy="PACK",
            ),
            run_config=RunConfig(name=f"group-{uuid.uuid4().hex[:12]}", storage_path=storage),
        )
        self._error = ""
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self._error = str(error)

    def give(self, tasks: list[Task]) -> None:
        """Tasks for the workers, when they have done with those before."""
        self._ask("give", tasks)

    def hear(self) -> Told | None:
        """The next report; None when all have been trained."""
        told: Told | None = self._ask("hear")
        if told is None and ray.get(self._mailbox.lost.remote()):
            raise self._why()
        return told

    def answer(self, goes_on: bool) -> None:
        """To the report that was heard last."""
        self._mailbox.answer.remote(goes_on)

    def _ask(self, method: str, *values: Any) -> Any:
        answer = getattr(self._mailbox, method).remote(*values)
        while not ray.wait([answer], timeout=0.5)[0]:
            if not self._thread.is_alive() or (method == "give" and ray.get(self._mailbox.lost.remote())):
                raise self._why()
        return ray.get(answer)

    def _why(self) -> Exception:
        """What the workers were lost by."""
        lost, nodes = ray.get([self._mailbox.lost.remote(), self._mailbox.nodes.remote()])
        for kind, text, node in lost:
            if kind == NodeError.__name__:
                return NodeError(f"{text} (node {node})")
        if ray_private.says_node_died(self._error) or not all(map(_answers, {*nodes})):
            return NodeGoneError("a node of its workers")
        causes = [f"{kind}: {text}" for kind, text, _ in lost if kind != PeerLostError.__name__]
        return GroupLostError((causes or ["one of its workers died"])[0])


_kept: _Group | None = None
"""That of this process, which is a slot."""


def _answers(node: str) -> bool:
    """Whether a node's Ray still listens. Ray itself notices a dead one after 15 s only."""
    for found in ray.nodes():
        if found["NodeID"] == node and found["Alive"]:
            try:
                socket.create_connection((found["NodeManagerAddress"], found["NodeManagerPort"]), timeout=5).close()
            except OSError:
                return False
            return True
    return False


def _work(config: dict[str, Any]) -> None:
    """What each worker runs."""
    from frostline.trainables.slot import (
        group as slot_group,  # what trains is loaded where it is trained, not in the slot
    )

    mailbox = config["mailbox"]

    def ask(method: str, *values: Any) -> Any:
        return ray.get(getattr(mailbox, method).remote(*values))

    rank = ray.train.get_context().get_world_rank()
    slot_group.serve(config["setup"], rank, ray.get_runtime_context().get_node_id(), ask)


_TorchBackend: Any = TorchConfig().backend_cls


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


class _Config(TorchConfig):
    """gloo on CPUs, NCCL on GPUs, over the network interface that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def _choose_interface() -> None:
    """Left alone, gloo takes the address that the host's name has, which on some hosts is 127.0.0.1."""
    import psutil

    address = ray.util.get_node_ip_address()
    name = interface(address, {name: [a.address for a in found] for name, found in psutil.net_if_addrs().items()})
    if name:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface(address: str, interfaces: Mapping[str, Iterable[str]]) -> str | None:
    """The network interface that has an address; None where none has (a node behind a translated address)."""
    return next((name for name, addresses in interfaces.items() if address in addresses), None)
