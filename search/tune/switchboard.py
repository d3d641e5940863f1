"""What the three hooks of Ray Tune share: the ledger, the rungs, the followers, and reasons to end the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from frostline.search.cluster import capacity
from frostline.search.cluster.connection import ClusterLostError
from frostline.search.cluster.watch import TrialNode, Watch
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rules import FAST_FAILURES
from frostline.search.ledger.rungs import Rungs
from frostline.search.records.events import Job
from frostline.search.records.trials import Line
from frostline.search.tune.health import PATIENCE, PATIENCE_OF_WORKERS, Health, Waiting
from frostline.search.tune.reaper import Reaper


class SearchFailedError(Exception):
    """The search has stopped by itself, because something is wrong with more than the recipes."""


class RayGone(BaseException):
    """Ray has gone. An `Exception` would make Tune clean up, with questions to Ray that nobody answers for 60 s."""


class Follower(Protocol):
    """Is told about the events on the slots, and decides nothing."""

    def begin(self, job: Job) -> None:
        """A training has been given a slot."""

    def report(self, line: Line) -> None:
        """A running training has reported."""

    def lose(self, job: Job, reason: str) -> None:
        """A training has lost its process and will go on."""

    def note(self, text: str) -> None:
        """Something went wrong that concerns no single training."""

    def end(self, line: Line) -> None:
        """A training has ended."""


class Switchboard:
    """The state that the three hooks share: the ledger, the rungs, and a reason to end the search."""

    def __init__(self, ledger: Ledger, rungs: Rungs, followers: Sequence[Follower], stop: list[int]) -> None:
        self.ledger, self.rungs, self.followers, self.stop = ledger, rungs, followers, stop
        self.error: BaseException | None = None
        self.watch = Watch(ledger.plan.place.address is not None)
        self.jobs: dict[str, dict[int, Job]] = {}
        """Jobs that Tune's trials have still to train, by trial id and by place in the group that a slot was given."""
        self.nodes: dict[str, TrialNode] = {}
        """On a cluster, the nodes of the trials that have started, by Tune's trial id."""
        several = ledger.plan.resources.need.workers > 1
        self.health, self.waiting = Health(), Waiting(patience=PATIENCE_OF_WORKERS if several else PATIENCE)
        self.reaper = Reaper() if several else None
        """Frees the resources of ended worker groups; None without any."""
        self.freed = -1
        """Tune's step in which a slot last became free."""

    def note(self, text: str) -> None:
        """Tell the followers that something went wrong that concerns no single training."""
        for follower in self.followers:
            follower.note(text)

    def look(self) -> None:
        """Look at Ray and its machines; end the search here if there is a reason, since no record is half written now.

        Raises:
            KeyboardInterrupt: a user asked for the end.
            SearchFailedError: all trials fail.
            RayGone: with the `ClusterLostError` as its cause.
            TakenOverError: another process works in the run directory.
            Exception: the error that a hook raised.
        """
        try:
            self.watch.poll()
            if isinstance(self.error, ClusterLostError):
                raise self.error
        except ClusterLostError as error:
            raise RayGone from error
        for text in self.ledger.news():
            self.note(text)
        if self.reaper:
            self.reaper.poll()
        if self.error is not None:
            raise self.error
        if self.stop:
            raise KeyboardInterrupt
        if self.ledger.failure:
            raise SearchFailedError(
                f"{FAST_FAILURES} trials in a row failed before their first report. The last one: {self.ledger.failure}"
            )
        if self.watch.offer and (since := self.waiting.poll(bool(self.nodes) or self.ledger.finished)):
            why = capacity.lacking(self.watch.offer, self.ledger.plan.resources.need)
            self.note(f"No trial has run since {since}. {why}")

    @property
    def places(self) -> int:
        """Limit of the trials that were asked for and have not ended: see `capacity.asked_for`."""
        resources, offer = self.ledger.plan.resources, self.watch.offer
        fit = capacity.asked_for(*capacity.fit(offer, resources.need), resources.most) if offer else resources.slots
        return self.health.at_once(fit)

    @property
    def room(self) -> int:
        """Trials that fit on the machines that are there now."""
        plan, offer = self.ledger.plan, self.watch.offer
        return capacity.fit(offer, plan.resources.need)[0] if offer else plan.resources.slots

    @property
    def usable(self) -> int:
        """Machines that can hold a trial; a cluster's head often cannot."""
        offer, need = self.watch.offer, self.ledger.plan.resources.need
        return sum(capacity.fitting(node, need) > 0 for node in offer.nodes) if offer else 1
