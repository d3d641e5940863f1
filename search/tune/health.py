"""Which machine fails whatever it is given, and since when nothing runs: plain counts and clocks, no Ray."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

STRIKES = 3
"""Trials in a row that a machine loses, with no report between, until it is given no more."""


class Health:
    """Counts, per machine, what it lost since it last worked."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self.aside: set[str] = set()
        """Machines that are given nothing any more."""

    def works(self, node: str) -> None:
        """A trial has reported from there."""
        self._lost.pop(node, None)

    def lost(self, node: str, others: int) -> bool:
        """A trial was lost there by the machine's fault, as far as one can tell; whether to set it aside now.

        Args:
            node: its id.
            others: machines beside it that are left to work on; the last one is never set aside.
        """
        self._lost[node] += 1
        if self._lost[node] < STRIKES or node in self.aside or not others:
            return False
        self.aside.add(node)
        return True


PATIENCE, PATIENCE_OF_WORKERS = 20.0, 90.0
"""Seconds without a running trial after which a user should know why; of trials with several workers, which take up to
40 s to start on busy cores."""


class Waiting:
    """Since when trials wait and none runs."""

    def __init__(self, clock: Callable[[], float] = time.time, patience: float = PATIENCE) -> None:
        self._clock, self._patience = clock, patience
        self._since: float | None = None
        self._said = False

    def poll(self, runs: bool) -> str | None:
        """The time of day since which nothing has run, once for each such time; None else.

        Args:
            runs: whether a trial runs now, or there is none to run.
        """
        now = self._clock()
        if runs:
            self._since, self._said = None, False
        elif self._since is None:
            self._since = now
        if self._said or self._since is None or now - self._since < self._patience:
            return None
        self._said = True
        return time.strftime("%H:%M:%S", time.localtime(self._since))
