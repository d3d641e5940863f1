"""Watches Ray during a search: whether it is still there, which nodes it has, and which of them get no more trials."""

from __future__ import annotations

import contextlib
import time
from typing import Any, NamedTuple

from frostline.search.cluster import autoscaler, machines, ray_private
from frostline.search.cluster.capacity import Need, fitting
from frostline.search.cluster.connection import ClusterLostError
from frostline.trainables._errors import first_line


class TrialNode(NamedTuple):
    """The node that a trial runs on."""

    id: str
    name: str


class Watch:
    """Notices that Ray has gone (without a node Tune waits for ever), and follows what the nodes offer."""

    _EVERY = 2.0  # seconds between two polls
    _ENDING = 1.0  # seconds from the end of a node's processes to its own

    def __init__(self, changes: bool = False) -> None:
        """`changes`: nodes may come and go, so that each poll reads what they offer."""
        self._polled = time.monotonic()
        self._aside: dict[str, list[Any]] = {}
        self.announced: set[str] = set()
        """Ids of the nodes that the cloud has announced to take away."""
        self.offer = machines.connected() if changes else None
        """The machines at the last poll; None where they stay as planned."""
        self._needed = [] if changes else ray_private.processes_it_needs()

    def poll(self) -> None:
        """Look for Ray's processes, and ask it again; this at most every 2 s.

        Raises:
            ClusterLostError: no node is left, or Ray does not answer.
        """
        import ray

        # Ray itself notices the death of its node after 15 s. Without its server it answers no question, and ends this
        # process after 60 s. So this comes before anything is asked.
        self._check_processes()
        now = time.monotonic()
        if now - self._polled < self._EVERY:
            return
        self._polled = now
        try:
            alive = any(node["Alive"] for node in ray.nodes())
            if self.offer is not None:
                self.offer = machines.connected(self._aside)
                self.announced |= ray_private.draining_nodes()
        except Exception as error:  # a broken connection raises many types
            raise ClusterLostError(first_line(error)) from error
        if not alive:
            raise ClusterLostError("its last node has died")

    def after_loss(self) -> None:
        """Look a moment longer, since a trial has lost its process: a node that ends takes its processes along first.

        Raises:
            ClusterLostError: that was the reason, not the trial.
        """
        until = time.monotonic() + self._ENDING
        while self._needed and time.monotonic() < until:
            self._check_processes()
            time.sleep(0.05)

    def _check_processes(self) -> None:
        if dead := ray_private.dead(self._needed):
            raise ClusterLostError(f"its process {dead} has died")

    def node_of(self, actor: Any) -> TrialNode | None:
        """The node of an actor; None on one machine, where all are on the same."""
        import ray

        if self.offer is None:
            return None
        id_ = ray_private.node_of(actor)
        names = [node["NodeManagerHostname"] for node in ray.nodes() if node["NodeID"] == id_]
        return TrialNode(id_, *(names or [id_[:8]]))

    def set_aside(self, node: str, need: Need) -> None:
        """Reserve all places of a node, so that Ray gives them to no trial, until `release`."""
        import ray
        from ray.util.placement_group import placement_group

        bundle = {name: amount for name, amount in need.bundle.items() if amount}
        only_there = [{ray_private.NODE_ID_LABEL: node}]
        for listed in ray.nodes():
            if listed["NodeID"] == node and listed["Alive"]:
                self._aside[node] = [
                    placement_group([bundle], strategy="STRICT_PACK", bundle_label_selector=only_there)
                    for _ in range(fitting(autoscaler.machine(listed["Resources"]), need))
                ]
        self.offer = machines.connected(self._aside)

    def release(self) -> None:
        """Give back the places that `set_aside` has reserved."""
        from ray.util.placement_group import remove_placement_group

        for groups in self._aside.values():
            for group in groups:
                with contextlib.suppress(Exception):  # without Ray there are no reservations either
                    remove_placement_group(group)
        self._aside = {}
