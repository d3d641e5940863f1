"""Which machine loses every trial, where memory ran out, and since when no trial runs: counts and clocks, no Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

STRIKES = 3
"""A machine that loses this many trials in a row, without a report in between, gets no more."""


class Health:
    """Counts the trials that each machine has lost since its last report."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self.aside: set[str] = set()
        """Ids of the machines that get no more trials."""
        self._without_memory = 0

    def works(self, node: str) -> None:
        """A trial has reported from this machine."""
        self._lost.pop(node, None)

    def lost(self, node: str, others: int) -> bool:
        """A trial was lost there, probably through the machine's fault. Returns whether to set the machine aside now.

        Args:
            node: id of the machine.
            others: number of other machines that can work; the last one is never set aside.
        """
        self._lost[node] += 1
        if self._lost[node] < STRIKES or node in self.aside or not others:
            return False
        self.aside.add(node)
        return True

    def out_of_memory(self) -> None:
        """A trial was lost because memory ran out."""
        self._without_memory += 1

    def at_once(self, places: int) -> int:
        """How many of `places` trials run at once: from the second loss for lack of memory on, one less for each."""
        return max(1, places - max(0, self._without_memory - 1)) if places else 0


PATIENCE = 20.0
"""Seconds without a running trial after which the user is told why."""
PATIENCE_OF_WORKERS = 90.0
"""The same for trials with several workers, which take up to 40 s to start on busy cores."""


class Waiting:
    """Measures how long trials have waited while none runs."""

    def __init__(self, clock: Callable[[], float] = time.time, patience: float = PATIENCE) -> None:
        self._clock, self._patience = clock, patience
        self._since: float | None = None
        self._told = False

    def poll(self, runs: bool) -> str | None:
        """The time of day since which no trial has run, if the user should know it now; it is returned once a pause.

        Args:
            runs: whether a trial runs now, or there is none to run.
        """
        now = self._clock()
        if runs:
            self._since, self._told = None, False
        elif self._since is None:
            self._since = now
        if self._told or self._since is None or now - self._since < self._patience:
            return None
        self._told = True
        return time.strftime("%H:%M:%S", time.localtime(self._since))
