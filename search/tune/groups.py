"""Several workers for a trial: one `TorchTrainer` worker group a slot, kept from trial to trial.

A group takes 22 s and more to start, so a slot starts one at its first trial and uses it for all later ones. A trial
that is stopped ends at its report on every worker, but their processes stay.

The slot's own process (a Tune trial without a CPU) passes reports on to Tune. It owns the mailbox and Ray Train's
controller, and the controller owns the workers, so Ray ends all of them with the slot. Only the placement group stays
if its maker is killed (ray#65443); `reaper.py` removes it.
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
    # Seconds between two checks of the workers by the controller, so the delay until a dead idle worker is noticed.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A group may wait for a node as long as a trial does.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1e6",
    # The worker that writes snapshots asks whether its node will be taken away; this would be another process for it.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


class GroupSlot:
    """This process as the slot of trials with several workers: it keeps their group from trial to trial."""

    def __init__(self) -> None:
        self._group: _Group | None = None

    def run(self, config: Mapping[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
        """Train the tasks of a Tune trial with this slot's workers. They are started if there are none.

        Args:
            config: `tasks` and `setup`, and for the group `bundle` (what Ray reserves for a worker) and `storage`.
            report: tells Tune; raises to end the trial.

        Raises:
            NodeError: a worker's machine lacks what training needs; the text ends with the node's id.
            NodeGoneError: a worker's machine has gone.
            GroupLostError: workers have died.
        """
        tasks = [Task(**task) for task in config["tasks"]]
        group = self._give(tasks, config)
        while (told := group.hear()) is not None:
            try:
                report(told.to_tune())
            except BaseException:
                group.answer(goes_on=False)
                raise
            group.answer(goes_on=True)
            if isinstance(told.last, (Failed, DiskFull)) and told.task == len(tasks) - 1:
                return  # the next trial finds out whether all workers have come to this end

    def _give(self, tasks: list[Task], config: Mapping[str, Any]) -> _Group:
        """Give the tasks to the group; to a new one if there is none, or the last one has ended."""
        if self._group is not None:
            try:
                self._group.give(tasks)
                return self._group
            except (GroupLostError, NodeError, NodeGoneError):
                self._group = None
        self._group = _Group(Setup.of(config["setup"]), config["bundle"], config["storage"])
        self._group.give(tasks)
        return self._group


THIS = GroupSlot()
"""The slot that this process is: Tune calls a function, which has no other place to keep anything."""


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
        """Give tasks to the workers, when they have finished those before."""
        self._ask("give", tasks)

    def hear(self) -> Told | None:
        """The next report; None when all tasks are finished."""
        told: Told | None = self._ask("hear")
        if told is None and ray.get(self._mailbox.lost.remote()):
            raise self._why()
        return told

    def answer(self, goes_on: bool) -> None:
        """Answer the report that was heard last: whether training goes on."""
        self._mailbox.answer.remote(goes_on)

    def _ask(self, method: str, *values: Any) -> Any:
        answer = getattr(self._mailbox, method).remote(*values)
        while not ray.wait([answer], timeout=0.5)[0]:
            if not self._thread.is_alive() or (method == "give" and ray.get(self._mailbox.lost.remote())):
                raise self._why()
        return ray.get(answer)

    def _why(self) -> Exception:
        """Why the workers were lost."""
        lost, nodes = ray.get([self._mailbox.lost.remote(), self._mailbox.nodes.remote()])
        for kind, text, node in lost:
            if kind == NodeError.__name__:
                return NodeError(f"{text} (node {node})")
        if ray_private.says_node_died(self._error) or not all(map(_answers, {*nodes})):
            return NodeGoneError("a node of its workers")
        causes = [f"{kind}: {text}" for kind, text, _ in lost if kind != PeerLostError.__name__]
        return GroupLostError((causes or ["one of its workers died"])[0])


def _answers(node: str) -> bool:
    """Whether a node's Ray still listens. Ray itself notices a dead node only after 15 s."""
    for known in ray.nodes():
        if known["NodeID"] == node and known["Alive"]:
            try:
                socket.create_connection((known["NodeManagerAddress"], known["NodeManagerPort"]), timeout=5).close()
            except OSError:
                return False
            return True
    return False


def _work(config: dict[str, Any]) -> None:
    """The function that each worker runs."""
    from frostline.trainables.slot.group import serve  # a slot with workers need not load torch

    mailbox = config["mailbox"]

    def ask(method: str, *values: Any) -> Any:
        return ray.get(getattr(mailbox, method).remote(*values))

    rank = ray.train.get_context().get_world_rank()
    serve(config["setup"], rank, ray.get_runtime_context().get_node_id(), ask)


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
    """Set gloo's interface. By default it takes the address of the host's name, which on some hosts is 127.0.0.1."""
    import psutil

    address = ray.util.get_node_ip_address()
    name = interface(address, {name: [a.address for a in own] for name, own in psutil.net_if_addrs().items()})
    if name:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface(address: str, interfaces: Mapping[str, Iterable[str]]) -> str | None:
    """The network interface that has an address; None if none has it (a node behind a translated address)."""
    return next((name for name, addresses in interfaces.items() if address in addresses), None)
