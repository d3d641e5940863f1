"""Clocks that jump by up to 400 days, at the start of a session or amid it: the search ends as if they had not.

Searches with a time budget, whose driver is killed now and then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs
from frostline.search.records.log import Log
from tests.bench.promises import books
from tests.bench.promises.rows import Failure, Row
from tests.search.ledger.test_ledger_crash import Driver
from tests.search.made import Clock, with_budget

_JUMPS = (1.0, 60.0, 3600.0, 86400.0, 400 * 86400.0)
"""Seconds, forth or back."""

_ENOUGH = 3_000.0
"""Seconds of the time budget: the search needs some 500, and much less than one large jump."""


_UNKNOWN = 60.0
"""Seconds of a session that was killed which no stopwatch has recorded: those after its last event."""


class JumpingClock(Clock):
    """A clock of a machine: it moves with the time that passes, `now`, and is set forth and back."""

    offset = 0.0

    def __call__(self) -> float:
        return self.now + self.offset


@dataclass
class JumpingDriver(Driver):
    """A driver whose clock jumps, by a table that follows from a seed."""

    dice: random.Random = field(default_factory=random.Random)
    jumps: bool = True

    def open(self) -> None:
        self._jump(0.7)
        self.sessions += 1
        log = Log(self.plan.place.run, lambda: self.clock.now)  # the time that passes
        log.append("session", pid=1, host="here", command="")
        self.ledger, self.rungs = Ledger(self.plan, log, self.clock), Rungs(self.plan)
        self.ledger.settle(self.rungs.replay(self.ledger.trials))
        self.running = []

    def go_on(self, job: Any) -> None:
        self._jump(0.1)
        super().go_on(job)

    def _jump(self, chance: float) -> None:
        jump = self.dice.choice(_JUMPS) * self.dice.choice((-1, 1))
        if self.dice.random() < chance and self.jumps and isinstance(self.clock, JumpingClock):
            self.clock.offset += jump


def tried(count: int, seed: int) -> Row:
    """Let `count` searches run under a jumping clock."""
    began = time.monotonic()
    failures = [
        Failure(name=f"clock {number}", problem=problem)
        for number in range(count)
        if (problem := _problem(f"{seed} clock {number}"))
    ]
    return Row(kind="clock jumps", tried=count, seconds=time.monotonic() - began, failures=failures)


def _problem(seed: str) -> str:
    try:
        still, seconds, _ = _searched(seed, jumps=False)
        jumped, counted, sessions = _searched(seed, jumps=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " / ")
    if jumped != still:
        return "it ends in another way"
    right = abs(counted - seconds) <= _UNKNOWN * sessions
    return "" if right else f"{counted:.0f} s are counted, {seconds:.0f} s have passed"


def _searched(seed: str, jumps: bool) -> tuple[dict[Any, Any], float, int]:
    """How the trainings end, the seconds that are counted, and the number of sessions."""
    with books.folder() as folder:
        plan = with_budget(books.plan_of(folder / "run"), seconds=_ENOUGH)
        (folder / "run").mkdir()
        clock, dice = JumpingClock(), random.Random(seed)
        every = dice.randint(5, 15)
        driver = JumpingDriver(plan, clock, lambda written: written % every == 0, dice=dice, jumps=jumps)
        with _system_clock(clock):
            ledger = driver.search()
            counted = ledger.seconds
            ledger.close()
        return books.ended(plan), counted, driver.sessions


@contextmanager
def _system_clock(clock: Clock) -> Iterator[None]:
    real = time.time
    time.time = clock  # type: ignore[assignment]
    try:
        yield
    finally:
        time.time = real
