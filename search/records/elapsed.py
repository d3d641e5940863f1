"""How long a search has worked, over all its sessions. Pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

_TAIL = 60.0
"""Seconds between the last event of a session and its last record, at most: a session marks its time more often."""


def seconds_worked(
    events: Sequence[Mapping[str, Any]], times: Sequence[float], now: float | None = None
) -> list[float]:
    """Seconds that each session of a search has worked, by what it has counted itself.

    A session counts with a stopwatch and writes its seconds with each event. A clock that was set back or forth while
    it worked changes at most the seconds between its last event and its last record. Sessions of earlier versions did
    not count: they lasted from their start to their last record, by the clock.

    Args:
        events: the log, oldest first. Events before the first session belong to none.
        times: times of everything recorded elsewhere, seconds since 1970.
        now: the present, if the last session still works; seconds since 1970.
    """
    places = [place for place, event in enumerate(events) if event["event"] == "session"]
    starts = [events[place]["time"] for place in places]
    seconds = []
    for start, (first, end) in zip(starts, itertools.pairwise([*places, len(events)]), strict=True):
        stop = min((other for other in starts if other > start), default=float("inf"))
        present = now if end == len(events) else None
        marks = [event for event in events[first:end] if event.get("worked") is not None]
        recorded = [*(time for time in times if time < stop), *(event["time"] for event in events[first:end])]
        if marks:
            mark, worked = marks[-1]["time"], marks[-1]["worked"]
            last = max((time for time in recorded if time > mark), default=mark)
            seconds.append(worked + (min(last - mark, _TAIL) if present is None else max(0.0, present - mark)))
        else:
            seconds.append(seconds_used([start], recorded if present is None else [*recorded, present]))
    return seconds


def seconds_used(sessions: list[float], times: list[float]) -> float:
    """Seconds that earlier sessions worked: each from its start to the last thing it recorded.

    Args:
        sessions: starts of all sessions but this one, rising, seconds since 1970.
        times: times of everything recorded, seconds since 1970.
    """
    used = 0.0
    for start, stop in itertools.pairwise([*sessions, float("inf")]):
        used += max((time for time in times if start <= time < stop), default=start) - start
    return used
