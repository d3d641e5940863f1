"""Each session counts its own seconds, so that a clock that jumps while a search is resumed takes no time from it."""

from pathlib import Path
from typing import Any

import pytest

from frostline.search.ledger.ledger import Ledger
from frostline.search.records.elapsed import seconds_worked
from frostline.search.records.log import Log
from frostline.search.records.trials import Outcome
from tests.search import made, runs
from tests.search.made import taken, with_budget
from tests.told import said

DAY = 86400.0
T = 1_800_000_000.0


def begins(time: float, **more: Any) -> dict[str, Any]:
    return {"event": "session", "time": time, **more}


def worked(time: float, seconds: float) -> dict[str, Any]:
    return {"event": "worked", "time": time, "worked": seconds}


@pytest.mark.parametrize(
    ("events", "times", "seconds"),
    [
        ([], [T], []),
        ([worked(T, 5)], [T], []),  # its session is lost
        ([begins(T, worked=0)], [], [0]),
        ([begins(T, worked=0)], [T + 20], [20]),  # its first report
        ([begins(T, worked=0), worked(T + 100, 100)], [T + 90, T + 120], [120]),
        ([begins(T, worked=0), worked(T + 100, 100)], [T + 100 + 400 * DAY], [160]),  # no record is so far away
        ([begins(T, worked=0), worked(T - 400 * DAY, 100)], [T + 20, T - 400 * DAY + 20], [160]),
        ([begins(T, worked=0), worked(T + 400 * DAY, 100)], [T + 20, T + 400 * DAY], [100]),
        # A session of an earlier version, one with the clock 400 days back, and one with the right clock again.
        (
            [begins(T), begins(T - 400 * DAY, worked=0), worked(T - 400 * DAY + 50, 50), begins(T + 900, worked=0)],
            [T + 30, T + 60, T - 400 * DAY + 55, T + 910],
            [60, 55, 10],
        ),
        ([begins(T), begins(T + 1000)], [T + 60, T + 1010, T + 1040], [60, 40]),
        ([begins(T), {"event": "start", "time": T + 70}], [T + 60], [70]),
    ],
)
def test_what_each_session_has_worked(events: list[dict[str, Any]], times: list[float], seconds: list[float]) -> None:
    counted = seconds_worked(events, times)
    assert counted == seconds


def test_a_session_that_still_works_has_worked_until_now() -> None:
    events = [begins(T, worked=0), worked(T + 100, 100)]
    assert seconds_worked(events, [T + 110], now=T + 400) == [400]
    assert seconds_worked(events[:1], [T + 110], now=T + 400) == [400]
    assert seconds_worked([begins(T)], [], now=T + 400) == [400]


@pytest.mark.parametrize("jump", [-400 * DAY, 400 * DAY])
def test_a_clock_that_jumps_takes_nothing_from_the_time_budget(tmp_path: Path, jump: float) -> None:
    plan = with_budget(runs.plan_of(tmp_path / "run"), trials=None, seconds=3600.0, confirm_recipes=0)
    plan.place.run.mkdir()
    stopwatch, offset = made.Clock(1000.0), 0.0

    def clock() -> float:
        return T + stopwatch() + offset

    def begun() -> Ledger:
        log = Log(plan.place.run, stopwatch)
        log._clock = clock
        log.append("session", pid=1, host="here")
        return Ledger(plan, log, clock)

    for offset in (0.0, jump, 0.0):
        ledger = begun()
        job = taken(ledger)
        for epoch in (1, 2):
            stopwatch.now += 300
            ledger.report(job, said(epoch, 0.6, clock()))
        offset += jump / 2  # while it works
        stopwatch.now += 7
        assert ledger.end(job, Outcome.PRUNED).seconds == 20 + 7
        stopwatch.now += 10_000  # nobody works
    ledger = begun()
    assert 3 * 607 <= ledger.seconds <= 3 * (607 + 60)
    assert not ledger.late(None)
