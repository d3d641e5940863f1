"""The progress of a search and an estimate of its end: pure functions of the reports of its trainings."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from frostline.search.records.trials import Outcome, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """How many trials reached a rung, and how many went on."""

    epoch: float
    reached: int
    stopped: int
    """Trials that were stopped there."""
    passed: int
    """Trials that still train or reached the next rung. A trial that failed in between does not count."""


def rung_counts(trials: Iterable[Trial], epochs: Sequence[float]) -> list[Rung]:
    """The trials at each rung.

    Args:
        trials: all trials so far, running ones too.
        epochs: epochs of the rungs, in rising order.
    """
    reached, stopped, ended = ([0] * len(epochs) for _ in range(3))
    for trial in trials:
        last = trial.reports[-1].epoch if trial.reports else 0.0
        count = bisect.bisect_right(epochs, last)
        for rung in range(count):
            reached[rung] += 1
        if count and not trial.open and trial.outcome != Outcome.COMPLETE:
            ended[count - 1] += 1
            stopped[count - 1] += trial.outcome == Outcome.PRUNED
    return [
        Rung(epoch=epochs[i], reached=reached[i], stopped=stopped[i], passed=reached[i] - ended[i])
        for i in range(len(epochs))
    ]


def passing(rungs: Iterable[Rung]) -> dict[float, float]:
    """Rung -> expected share of trials that pass it: what was counted, with one more that passes."""
    return {rung.epoch: (rung.passed + 1) / (rung.reached + 1) for rung in rungs}


def epochs_ahead(done: float, epochs: float, shares: Mapping[float, float]) -> float:
    """Expected number of epochs that a trial still trains, since each rung may stop it.

    Args:
        done: epochs that it has trained.
        epochs: epochs of a trial that is never stopped.
        shares: rung -> share of trials that pass it.
    """
    total, alive, since = 0.0, 1.0, done
    for rung in sorted(rung for rung in shares if done < rung < epochs):
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
    """Measured seconds per epoch, by model and frozen depth."""

    def __init__(self, measured: Iterable[Measured]) -> None:
        sums: dict[str, dict[int, tuple[float, float]]] = {}
        for training in measured:
            if training.epochs > 0:
                depths = sums.setdefault(training.model, {})
                epochs, seconds = depths.get(training.depth, (0.0, 0.0))
                depths[training.depth] = epochs + training.epochs, seconds + training.seconds
        self._rates = {
            model: {depth: seconds / epochs for depth, (epochs, seconds) in sorted(depths.items())}
            for model, depths in sums.items()
        }

    def at(self, model: str, depth: int) -> float | None:
        """Seconds per epoch of a model at a depth; None before anything is measured.

        Interpolated between two measured depths; beyond them the rate of the nearest. A model without measurements has
        the mean rate of the others.
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
        """Mean of the rates at these models and depths; None before anything is measured."""
        rates = [rate for model, depth in points if (rate := self.at(model, depth)) is not None]
        return statistics.fmean(rates) if rates else None


def seconds_left(
    *,
    running: Sequence[float],
    upcoming: Sequence[float],
    confirming: Sequence[float],
    slots: int,
    limit: float | None = None,
) -> float:
    """Estimated seconds until the search ends.

    Args:
        running: expected seconds of each trial that runs.
        upcoming: expected seconds of each trial to come.
        confirming: expected seconds of each training that confirms a recipe, running or to come.
        slots: number of trainings at a time.
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
    """Shares of the slots' time by activity; they add up to 1. Empty before any activity.

    Args:
        spent: seconds of `training`, `evaluation` and `data`.
        slot_seconds: seconds of all slots together. The rest is `idle`: the slot has no training, its process is
            starting, or it writes files and sends reports.
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
