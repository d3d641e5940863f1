"""The slots of a search, reconstructed from its records: which training ran where, and when. Pure functions."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from frostline.search.records.trials import Trial

_OVERLAP = 0.05
"""Seconds that two trainings of one slot may overlap, since a report is written a little after it was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A training in one process, without a break."""

    trial: Trial
    pid: int
    """0 if the process never answered."""
    start: float
    """Seconds since 1970."""
    stop: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotUse:
    """How the slots spent their time."""

    slots: int
    busy: float
    """Seconds of training, over all slots."""
    idle: float
    """Seconds without a training, over all slots, between the first training and the last one of a session."""
    around: float
    """Wall-clock seconds before the first and after the last training of each session: start, export, test set."""

    @property
    def idle_share(self) -> float:
        """Idle time as a share of the slots' time between the first training and the last one."""
        return self.idle / (self.busy + self.idle) if self.busy + self.idle else 0.0


def stretches(trial: Trial, begun: float | None, breaks: Sequence[float], running: bool, now: float) -> list[Stretch]:
    """When a training ran, by its reports. A change of its process or of the session begins a new stretch.

    Args:
        trial: a training.
        begun: the time at which it got its first slot; None if that is not known.
        breaks: the times at which sessions began and at which this training lost its process, in rising order.
        running: True if it still runs.
        now: seconds since 1970.
    """
    ran: list[Stretch] = []
    for (_, pid), lines in itertools.groupby(trial.reports, lambda line: (bisect.bisect(breaks, line.time), line.pid)):
        first, *more = lines
        before = ran[-1] if ran else None
        spent = trial.reports[trial.reports.index(first) - 1].seconds if before else 0.0
        earliest = max(before.stop if before else 0.0, begun or 0.0, *(t for t in breaks if t <= first.time), 0.0)
        start = max(min(first.time, first.time - (first.seconds - spent)), earliest)
        ran.append(Stretch(trial=trial, pid=pid, start=start, stop=[first, *more][-1].time))
    end = now if running else trial.time
    if ran and not any(ran[-1].stop < time <= end for time in breaks):
        last = ran.pop()
        ran.append(Stretch(trial=trial, pid=last.pid, start=last.start, stop=max(last.stop, end)))
    elif not ran and begun is not None and not trial.open:
        ran.append(Stretch(trial=trial, pid=0, start=max(begun, end - trial.seconds), stop=end))
    elif not ran and begun is not None and running:
        ran.append(Stretch(trial=trial, pid=0, start=begun, stop=end))
    return ran


def by_slot(ran: Iterable[Stretch]) -> list[list[Stretch]]:
    """The stretches of each slot. A stretch gets a free slot, the slot of its own process if that one is free."""
    slots: list[list[Stretch]] = []
    for stretch in sorted(ran, key=lambda stretch: (stretch.start, stretch.stop)):
        free = [slot for slot in slots if slot[-1].stop <= stretch.start + _OVERLAP]
        own = [slot for slot in free if stretch.pid and slot[-1].pid == stretch.pid]
        if not free:
            slots.append([stretch])
        else:
            (own or sorted(free, key=lambda slot: slot[-1].stop))[0].append(stretch)
    return slots


def slot_use(slots: Sequence[Sequence[Stretch]], sessions: Sequence[float], planned: int, end: float) -> SlotUse:
    """How the slots spent their time.

    Args:
        slots: result of `by_slot`.
        sessions: the times at which sessions began, in rising order.
        planned: number of slots in the plan.
        end: the last recorded time of the last session.
    """
    ran = [stretch for slot in slots for stretch in slot]
    count, busy, idle, around = max(planned, len(slots)), 0.0, 0.0, 0.0
    for start, stop in itertools.pairwise([*sessions, float("inf")]):
        inside = [stretch for stretch in ran if start <= stretch.start < stop]
        if inside:
            first, last = min(stretch.start for stretch in inside), max(stretch.stop for stretch in inside)
            trained = sum(stretch.stop - stretch.start for stretch in inside)
            busy, idle = busy + trained, idle + max(0.0, count * (last - first) - trained)
            around += first - start + (max(0.0, end - last) if stop == float("inf") else 0.0)
    return SlotUse(slots=count, busy=busy, idle=idle, around=around)


def start_times(events: Iterable[Mapping[str, object]]) -> dict[tuple[bool, int, int], float]:
    """When each training got a slot, seconds since 1970. The key: True for a confirmation, number, seed."""
    times: dict[tuple[bool, int, int], float] = {}
    for event in events:
        number, seed, time = event.get("number"), event.get("seed"), event.get("time")
        if event.get("event") == "start" and isinstance(number, int) and isinstance(seed, int):
            times[bool(event.get("confirms")), number, seed] = float(time) if isinstance(time, int | float) else 0.0
    return times


def search_clock(sessions: Sequence[float], times: Sequence[float]) -> Callable[[float], float]:
    """A clock that stands still between sessions: seconds since 1970 -> seconds that the search has worked.

    Args:
        sessions: the times at which sessions began, in rising order.
        times: all recorded times.
    """
    begins = list(sessions) or [min(times, default=0.0)]
    spans = itertools.pairwise([*begins, float("inf")])
    ends = [max((time for time in times if start <= time < stop), default=start) for start, stop in spans]

    def worked(time: float) -> float:
        before = 0.0
        for begin, end in zip(begins, ends, strict=True):
            if time <= end or begin == begins[-1]:
                return before + max(0.0, time - begin)
            before += end - begin
        return before

    return worked
