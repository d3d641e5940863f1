"""How far a search is and how long it will take: pure functions of what its trainings have reported."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from frostline.search.records.trials import Outcome, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """How many trials came to a rung, and what became of them."""

    epoch: float
    reached: int
    stopped: int
    """By ASHA, there or on the way to the next one: it goes on comparing a trial with what the rung has seen."""
    passed: int
    """Still train, or came to the next one; those that failed on the way are none of them."""


def rungs(trials: Iterable[Trial], epochs: Sequence[float]) -> list[Rung]:
    """What became of the trials of a search at each rung.

    Args:
        trials: all so far, running ones too.
        epochs: of the rungs, rising.
    """
    reached, stopped, ended = ([0] * len(epochs) for _ in range(3))
    for trial in trials:
        last = trial.reports[-1].epoch if trial.reports else 0.0
        came_to = bisect.bisect_right(epochs, last)
        for rung in range(came_to):
            reached[rung] += 1
        if came_to and not trial.open and trial.outcome != Outcome.COMPLETE:
            ended[came_to - 1] += 1
            stopped[came_to - 1] += trial.outcome == Outcome.PRUNED
    return [
        Rung(epoch=epochs[i], reached=reached[i], stopped=stopped[i], passed=reached[i] - ended[i])
        for i in range(len(epochs))
    ]


def passing(found: Iterable[Rung], reduction_factor: float) -> dict[float, float]:
    """By rung, the share of trials that will go on past it: as ASHA aims at, until there is more to go by.

    Its aim counts like one full bracket: `reduction_factor` arrivals, one of which passes.
    """
    return {rung.epoch: (rung.passed + 1) / (rung.reached + reduction_factor) for rung in found}


def epochs_ahead(at: float, epochs: float, shares: Mapping[float, float]) -> float:
    """Epochs that a trial has ahead of it, on average, since a rung may stop it.

    Args:
        at: epochs behind it.
        epochs: of a trial that is never stopped.
        shares: of the trials, by rung, that go on past it.
    """
    total, alive, since = 0.0, 1.0, at
    for rung in sorted(rung for rung in shares if at < rung < epochs):
        total += alive * (rung - since)
        alive, since = alive * shares[rung], rung
    return total + alive * max(0.0, epochs - since)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How long a training has taken so far."""

    model: str
    depth: int
    """Frozen blocks."""
    epochs: float
    seconds: float


class Rates:
    """Seconds per epoch by model and frozen depth, as measured."""

    def __init__(self, measured: Iterable[Measured]) -> None:
        sums: dict[str, dict[int, tuple[float, float]]] = {}
        for one in measured:
            if one.epochs > 0:
                of_model = sums.setdefault(one.model, {})
                epochs, seconds = of_model.get(one.depth, (0.0, 0.0))
                of_model[one.depth] = epochs + one.epochs, seconds + one.seconds
        self._rates = {
            model: {depth: seconds / epochs for depth, (epochs, seconds) in sorted(depths.items())}
            for model, depths in sums.items()
        }

    def at(self, model: str, depth: int) -> float | None:
        """Between two measured depths on the line through them, beyond them that of the nearest.

        A model that nobody has trained yet takes as long as the others do on average; None where nothing is measured.
        """
        if not self._rates:
            return None
        if model not in self._rates:
            return statistics.fmean(rate for depths in self._rates.values() for rate in depths.values())
        depths = list(self._rates[model])
        after = bisect.bisect_left(depths, depth)
        low, high = depths[max(0, after - 1)], depths[min(after, len(depths) - 1)]
        share = min(1.0, max(0.0, (depth - low) / (high - low))) if high > low else 0.0
        return (1 - share) * self._rates[model][low] + share * self._rates[model][high]

    def mean(self, points: Iterable[tuple[str, int]]) -> float | None:
        """Of the rates at these models and depths; None where nothing is measured."""
        found = [rate for model, depth in points if (rate := self.at(model, depth)) is not None]
        return statistics.fmean(found) if found else None


def seconds_left(
    *,
    running: Sequence[float],
    upcoming: Sequence[float],
    confirming: Sequence[float],
    slots: int,
    limit: float | None = None,
) -> float:
    """About how long a search goes on.

    Args:
        running: expected seconds of each trial that runs.
        upcoming: and of each to come.
        confirming: seconds of each training that confirms a recipe, running or to come.
        slots: trainings at once.
        limit: seconds left of the time budget.
    """
    confirm = _packed(confirming, slots)
    search = _packed([*running, *upcoming], slots)
    if limit is not None:
        search = min(search, max(0.0, limit - confirm))
    return search + confirm


def _packed(seconds: Sequence[float], slots: int) -> float:
    return max([sum(seconds) / slots, *seconds], default=0.0)


def shares(spent: Mapping[str, float], slot_seconds: float) -> dict[str, float]:
    """What the slots' time went into, as parts of 1; nothing before there is something to share out.

    Args:
        spent: seconds of `training`, `evaluation` and `data`.
        slot_seconds: of all slots together. What is left is `idle`: no training on the slot, its process still
            starts, or files are written and reports told.
    """
    used = {name: spent.get(name, 0.0) for name in ("training", "evaluation", "data")}
    total = max(slot_seconds, sum(used.values()))
    if not sum(used.values()):
        return {}
    return {name: seconds / total for name, seconds in {**used, "idle": total - sum(used.values())}.items()}


def percents(parts: Mapping[str, float]) -> dict[str, int]:
    """Whole percents that add up to 100: the largest remainders are rounded up."""
    whole = {name: math.floor(100 * part) for name, part in parts.items()}
    by_rest = sorted(parts, key=lambda name: whole[name] - 100 * parts[name])
    for name in by_rest[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole
