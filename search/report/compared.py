"""The trained baseline beside the winner: whether the winner is better by more than chance, in words too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from frostline.search.records.baseline import BaselineRecord
from frostline.search.report.references import Reference
from frostline.spaces import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A baseline that was trained, and how the winner compares with it on the test slice."""

    name: str
    metric: str
    """The metric that decides."""
    better: Literal["higher", "lower"]
    """Its direction."""
    validation: Mapping[str, float]
    """Metrics; empty if there is a problem."""
    test: Mapping[str, float] | None
    """None before the test set is read."""
    examples: Mapping[str, int]
    """Split -> examples that it was trained on, or answered."""
    seconds: float
    problem: str
    """Why there are no scores, as the end of a sentence; empty if there are."""
    difference: list[float] | None
    """95 % interval of the winner's test score minus its own; None if it is not known."""
    beaten: bool | None
    """Whether the winner is better by more than chance; None if it is not known."""
    outlook: str = ""
    """What a longer time budget would do, for a winner that is not better; empty if nothing can be said."""

    @property
    def row(self) -> Reference:
        """Its scores in the metric that decides."""
        test = (self.test or {}).get(self.metric)
        return Reference(name=self.name, validation=self.validation.get(self.metric), test=test)


def compared(
    record: BaselineRecord | None, reading: Mapping[str, Any] | None, metric: Metric, outlook: str = ""
) -> Compared | None:
    """A baseline beside the winner; None if there is none.

    Args:
        record: what came of the baseline.
        reading: the event of reading the test set with the winner; None before it.
        metric: the metric that decides.
        outlook: what a longer time budget would do.
    """
    if record is None:
        return None
    difference = _difference(record, reading, metric) if reading and not record.problem else None
    sign = metric.objective(1.0)
    beaten = min(sign * end for end in difference) > 0 if difference else None
    return Compared(
        name=record.name,
        metric=metric.name,
        better=metric.better,
        validation=record.validation,
        test=record.test,
        examples=record.examples,
        seconds=record.seconds,
        problem=record.problem,
        difference=difference,
        beaten=beaten,
        outlook=outlook if beaten is False else "",
    )


def _difference(record: BaselineRecord, reading: Mapping[str, Any], metric: Metric) -> list[float] | None:
    """The interval of the paired comparison; where the reading has none, that of the winner's score alone."""
    ends = reading.get("difference")
    own = (record.test or {}).get(metric.name)
    if ends is None and own is not None and reading.get("interval"):
        ends = [end - own for end in reading["interval"]]
    if not ends or not all(map(math.isfinite, ends)):
        return None
    return list(ends)


def sentence(found: Compared | None) -> str:
    """What is to be said of the winner beside the baseline; empty if nothing is known."""
    if found is None:
        return ""
    if found.problem:
        return f"The baseline {found.name} {found.problem}."
    if found.difference is None:
        return ""
    low, high = sorted(found.difference)
    on = f"on {found.examples['test']:,} test examples its {found.metric}"
    side = "higher" if low > 0 else "lower"
    apart = f"{min(abs(low), abs(high)):.3f} to {max(abs(low), abs(high)):.3f}"
    if found.beaten:
        return f"The winner is better than {found.name} by more than chance: {on} is {apart} {side} (95 % interval)."
    if low > 0 or high < 0:
        return f"The winner is worse than {found.name}: {on} is {apart} {side} (95 % interval)."
    return (
        f"The winner is not better than {found.name} by more than chance: {on} differs by {low:+.3f} to {high:+.3f} "
        "(95 % interval)."
    )


def caution(found: Compared | None) -> str:
    """The sentences that every result begins with if the winner is not better than the baseline; else empty."""
    if found is None or found.beaten is not False:
        return ""
    return " ".join(filter(None, [sentence(found), found.outlook]))


def of_summary(summary: Mapping[str, Any]) -> Compared | None:
    """The comparison in a `summary.json`; None if it has none, as those of earlier versions."""
    return Compared(**summary["baseline"]) if summary.get("baseline") else None
