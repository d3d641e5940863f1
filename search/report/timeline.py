"""What ran where and when: the slots of a search, made again from its records. Pure functions."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from frostline.search.records.trials import Trial

_AT_ONCE = 0.05
"""Seconds by which two trainings of one slot may overlap, since a report is written a little after it was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A training in one process, without a break."""

    trial: Trial
    pid: int
    """0 where the process never answered."""
    start: float
    """Seconds since 1970."""
    stop: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """How the slots were used."""

    slots: int
    busy: float
    """Seconds of training, over all slots."""
    idle: float
    """Seconds, over all slots, between the first training and the last in which a slot had none."""
    around: float
    """Wall-clock seconds before the first and after the last training of each session: start, export, test set."""

    @property
    def idle_share(self) -> float:
        """Of the time that the slots were there while trainings ran."""
        return self.idle / (self.busy + self.idle) if self.busy + self.idle else 0.0


def stretches(trial: Trial, begun: float | None, breaks: Sequence[float], running: bool, now: float) -> list[Stretch]:
    """When a training ran, by its reports: a new stretch wherever its process or the session changes.

    Args:
        trial: a training.
        begun: when it was given to a slot first, None where that is not known.
        breaks: when sessions began, and when this training lost its process; rising.
        running: whether it still runs.
        now: seconds since 1970.
    """
    found: list[Stretch] = []
    for (_, pid), lines in itertools.groupby(trial.reports, lambda line: (bisect.bisect(breaks, line.time), line.pid)):
        first, *more = lines
        before = found[-1] if found else None
        spent = trial.reports[trial.reports.index(first) - 1].seconds if before else 0.0
        earliest = max(before.stop if before else 0.0, begun or 0.0, *(at for at in breaks if at <= first.time), 0.0)
        start = max(min(first.time, first.time - (first.seconds - spent)), earliest)
        found.append(Stretch(trial=trial, pid=pid, start=start, stop=[first, *more][-1].time))
    end = now if running else trial.time
    if found and not any(found[-1].stop < at <= end for at in breaks):
        last = found.pop()
        found.append(Stretch(trial=trial, pid=last.pid, start=last.start, stop=max(last.stop, end)))
    elif not found and begun is not None and not trial.open:
        found.append(Stretch(trial=trial, pid=0, start=max(begun, end - trial.seconds), stop=end))
    elif not found and begun is not None and running:
        found.append(Stretch(trial=trial, pid=0, start=begun, stop=end))
    return found


def placed(ran: Iterable[Stretch]) -> list[list[Stretch]]:
    """The stretches by slot: each in one that is free, in that of its process where there is one."""
    slots: list[list[Stretch]] = []
    for stretch in sorted(ran, key=lambda stretch: (stretch.start, stretch.stop)):
        free = [slot for slot in slots if slot[-1].stop <= stretch.start + _AT_ONCE]
        own = [slot for slot in free if stretch.pid and slot[-1].pid == stretch.pid]
        if not free:
            slots.append([stretch])
        else:
            (own or sorted(free, key=lambda slot: slot[-1].stop))[0].append(stretch)
    return slots


def used(slots: Sequence[Sequence[Stretch]], sessions: Sequence[float], planned: int, end: float) -> Use:
    """How the slots were used.

    Args:
        slots: of `placed`.
        sessions: when they began, rising.
        planned: slots that the plan has.
        end: of the last session, as far as it is recorded.
    """
    ran = [stretch for slot in slots for stretch in slot]
    count, busy, idle, around = max(planned, len(slots)), 0.0, 0.0, 0.0
    for start, stop in itertools.pairwise([*sessions, float("inf")]):
        inside = [stretch for stretch in ran if start <= stretch.start < stop]
        if inside:
            first, last = min(s.start for s in inside), max(s.stop for s in inside)
            taken = sum(s.stop - s.start for s in inside)
            busy, idle = busy + taken, idle + max(0.0, count * (last - first) - taken)
            around += first - start + (max(0.0, end - last) if stop == float("inf") else 0.0)
    return Use(slots=count, busy=busy, idle=idle, around=around)


def starts(events: Iterable[Mapping[str, object]]) -> dict[tuple[bool, int, int], float]:
    """When each training was given to a slot, by whether it confirms, its number and its seed."""
    found: dict[tuple[bool, int, int], float] = {}
    for event in events:
        number, seed, at = event.get("number"), event.get("seed"), event.get("time")
        if event.get("event") == "start" and isinstance(number, int) and isinstance(seed, int):
            found[bool(event.get("confirms")), number, seed] = float(at) if isinstance(at, int | float) else 0.0
    return found


def worked(sessions: Sequence[float], times: Sequence[float]) -> Callable[[float], float]:
    """A time in seconds since 1970 -> seconds that the search had worked by then, without what lay between sessions.

    Args:
        sessions: when they began, rising.
        times: of everything recorded.
    """
    begins = list(sessions) or [min(times, default=0.0)]
    spans = itertools.pairwise([*begins, float("inf")])
    ends = [max((at for at in times if start <= at < stop), default=start) for start, stop in spans]

    def since(at: float) -> float:
        before = 0.0
        for begin, end in zip(begins, ends, strict=True):
            if at <= end or begin == begins[-1]:
                return before + max(0.0, at - begin)
            before += end - begin
        return before

    return since
