"""How many trials fit: on today's machines, and when the cluster has grown. Plain numbers, no Ray."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

GB = 1e9

_PROCESS_MEMORY = 1.2 * GB
"""A trial's process without its model: Python, torch, transformers, Ray (measured: 0.7 GB), activations (0.5 GB)."""

_GROUP_MEMORY = 1.0 * GB
"""What a trial with several workers takes beside them (measured, private pages): the slot 0.41 GB, Ray Train's
controller 0.40 GB, the mailbox and Ray Train's second helper 0.06 GB each."""

_SLOT = 1_000_000
"""Bytes that the slot reserves, taken from each worker's share: Tune starts no process that asks for nothing.
The memory that the slot really uses is part of its workers' need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The resources of one machine."""

    cpus: float
    gpus: float
    memory: float
    """Bytes that trials may use."""

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU, {self.gpus:g} GPU, {self.memory / GB:.1f} GB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """The resources of one trial; with several workers, of each of them."""

    cpus: float
    gpus: float
    memory: float
    """Bytes of main memory: an estimate. Ray reserves it, so that no node gets more trials than it can hold."""
    workers: int = 1
    """Processes that train the trial together."""

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray reserves for each worker."""
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": int(self.memory) - _SLOT * (self.workers > 1)}

    @property
    def slot(self) -> dict[str, float]:
        """What Ray reserves for the process that Tune starts. With one worker, that process trains."""
        return self.bundle if self.workers == 1 else {"memory": _SLOT}

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        one = f"{self.cpus:g} CPU{gpus}, {self.memory / GB:.1f} GB"
        return one if self.workers == 1 else f"{self.workers} × ({one})"


def fitting(node: Node, need: Need) -> int:
    """How many trials fit on one node at once; with several workers, how many workers."""
    limits = [node.cpus / need.cpus, node.memory / need.memory]
    if need.gpus:
        limits.append(node.gpus / need.gpus)
    return math.floor(min(limits) + 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The machines that a search may use."""

    nodes: tuple[Node, ...]
    """Today's machines."""
    more: tuple[Node, ...] = ()
    """Machines that an autoscaler may add."""
    changes: bool = False
    """Whether nodes may come and go: a cluster, not this machine alone."""


def fit(offer: Offer, need: Need) -> tuple[int, int]:
    """How many trials fit now, and how many when the autoscaler has added all machines that it may."""
    now, more = (sum(fitting(node, need) for node in nodes) for nodes in (offer.nodes, offer.more))
    # The workers of a trial may be on several nodes. Ray reserves the places of all workers at once or none (a
    # placement group), so that no two trials wait for each other with half of their workers (ray#47440).
    return now // need.workers, (now + more) // need.workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """How many trials run at once."""

    now: int
    most: int | None
    """Upper limit; None if only the size of the cluster limits them, and that may change."""
    grown: int
    """Trials that fit when the autoscaler has added all machines that it may."""
    reason: str
    """The arithmetic in words."""


def trial_need(offer: Offer, cpus: float | None, gpus: float | None, largest: int, workers: int = 1) -> Need:
    """Resources of a trial: one core on a CPU; a whole GPU, and its share of the cores, on a machine with GPUs.

    Args:
        offer: the machines.
        cpus: CPUs of each worker, if the user has set them.
        gpus: GPUs of each worker, if the user has set them.
        largest: parameters of the largest model.
        workers: processes of a trial.

    Raises:
        ValueError: a share that is not positive, or workers that would share a GPU.
    """
    best = max((*offer.nodes, *offer.more), key=lambda node: (node.gpus, node.cpus))
    gpus = float(best.gpus > 0) if gpus is None else gpus
    if cpus is None:
        cpus = max(1.0, min(4.0, best.cpus // max(1.0, best.gpus))) if gpus else 1.0
    if not cpus > 0:
        raise ValueError(f"--cpus-per-trial must be above 0, got {cpus:g}")
    if not gpus >= 0:
        raise ValueError(f"--gpus-per-trial must not be negative, got {gpus:g}")
    if workers < 1:
        raise ValueError(f"--workers-per-trial must be at least 1, got {workers}")
    if workers > 1 and gpus not in (0, 1):
        raise ValueError(f"with --workers-per-trial {workers} each has a GPU of its own: --gpus-per-trial {gpus:g}")
    # float32: weights, a pristine copy, gradients, and Adam's two moments.
    memory = _PROCESS_MEMORY + 4 * largest * (2 if gpus else 5)
    if workers > 1:
        memory += _GROUP_MEMORY / workers
    return Need(cpus=cpus, gpus=gpus, memory=memory, workers=workers)


def places(offer: Offer, need: Need, concurrent: int | None = None, trials: int | None = None) -> Places:
    """How many trials run at once.

    Args:
        offer: the machines.
        need: of one trial.
        concurrent: the user's limit, if there is one.
        trials: of the whole search, if they are limited.

    Raises:
        ValueError: one trial fits on no machine, nor on one that may come; or `concurrent` is below 1.
    """
    if concurrent is not None and concurrent < 1:
        raise ValueError(f"--concurrent must be at least 1, got {concurrent}")
    now, grown = fit(offer, need)
    if grown < 1:
        machines = "; ".join(str(node) for node in (*offer.nodes, *offer.more))
        who = "no node can" if need.workers == 1 else "the nodes cannot"
        raise ValueError(f"{who} hold one trial: it needs {need}; there is {machines}")
    caps = [cap for cap in (concurrent, trials) if cap is not None] + ([] if offer.changes else [now])
    most = min(caps, default=None)
    reason = arithmetic(offer.nodes, need)
    if grown > now:
        reason += f"; up to {grown} when the cluster has grown: {arithmetic(offer.more, need)} more"
    if most is not None and most < grown:
        reason += f", at most {most}"
    return Places(now=min(now, now if most is None else most), most=most, grown=grown, reason=reason)


def lacking(offer: Offer, need: Need) -> str:
    """Sentences that say why no trial runs."""
    now, grown = fit(offer, need)
    if now:
        return "A node has room for one: its process is still starting there, or others work on the cluster"
    machines = "; ".join(str(node) for node in dict.fromkeys(offer.nodes)) or "nothing: there are none"
    coming = "A node that has room can be started" if grown else "No node that can be started has room either"
    return f"A trial needs {need}; the machines have {machines}. {coming}"


def asked_for(now: int, grown: int, most: int | None) -> int:
    """How many trials the search may have asked for that have not ended.

    As many as fit now. If the cluster can grow, the same number again (at least one) wait for a node: an autoscaler
    sees what waits. It is not the number that fits on the grown cluster, since a later proposal knows more results.

    Args:
        now: trials that fit now.
        grown: trials that fit on the grown cluster.
        most: upper limit, if there is one.
    """
    wanted = max(now, min(grown, now + max(1, now)))
    return wanted if most is None else min(wanted, most)


def arithmetic(nodes: Sequence[Node], need: Need) -> str:
    """How many trials fit on some nodes, as a sum in words; equal nodes make one term."""
    parts = []
    for node, count in Counter(nodes).items():
        shares = [f"{node.cpus:g} CPU / {need.cpus:g}"]
        if need.gpus:
            shares.append(f"{node.gpus:g} GPU / {need.gpus:g}")
        shares.append(f"{node.memory / GB:.1f} GB / {need.memory / GB:.1f} GB")
        times = f"{count} × " if count > 1 else ""
        parts.append(f"{times}min({', '.join(shares)}) = {count * fitting(node, need)}")
    total = " + ".join(parts)
    if need.workers > 1:
        whole = sum(fitting(node, need) for node in nodes)
        total += f" workers, {need.workers} a trial = {whole // need.workers}"
    return total
