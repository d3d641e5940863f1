"""What a run on a user's own data came to: its models over time, and what each of them answers to the held-out rows.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A model that a system had from some moment on."""

    seconds: float
    """From the command until the system had it."""
    validation: float | None
    """The accuracy that it was chosen by; None where nothing was chosen."""
    right: str
    """A digit for each held-out row: 1 where the model is right, else 0."""

    @property
    def accuracy(self) -> float:
        """Share of the held-out rows that it is right about."""
        return self.right.count("1") / len(self.right)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One run of one system."""

    system: str
    """Its letter."""
    seed: int
    budget: float | None
    """Minutes that it was told to take; None for a system that was not told, and was broken off after `allowed`."""
    allowed: float
    """Seconds that it could have."""
    finished: bool
    """Whether it ended by itself."""
    wall: float
    """Seconds until its end."""
    cpu: float
    """Seconds of user and system time of all its processes."""
    memory: float
    """Peak, bytes."""
    points: tuple[Point, ...]
    """Its models, each better than the one before by validation."""
    told: float | None
    """The test accuracy that the system itself tells, on the rows that it keeps; None where it tells none."""
    fingerprint: str
    """Of the data."""
    where: tuple[str, ...]
    """Machine and commit."""

    def save(self, folder: Path) -> None:
        """Write it into the run's folder, whole or not at all."""
        aside = folder / "result.json.part"
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        aside.rename(target=folder / "result.json")

    def covers(self, budgets: Sequence[float]) -> bool:
        """Whether it says what the system has after each of these minutes."""
        return self.budget is not None or self.finished or self.allowed >= 60 * max(budgets)

    def at(self, budget: float) -> Point | None:
        """The model after some minutes, None if there is none yet.

        A system that was told its minutes is asked about these alone; it has its model when it ends, be it late.
        """
        if self.budget is not None:
            return self.points[-1] if self.points and self.budget == budget else None
        return next((point for point in reversed(self.points) if point.seconds <= 60 * budget), None)

    @property
    def late(self) -> float:
        """Seconds after the minutes that it was told to take; negative where it ended before."""
        return 0.0 if self.budget is None else self.wall - 60 * self.budget

    @property
    def kept_its_time(self) -> bool:
        """Whether it ended at most a twentieth of its time late, or 20 s."""
        return self.budget is None or self.late <= max(20.0, 0.05 * 60 * self.budget)


def load(folder: Path) -> Result | None:
    """The result in a run's folder, None where the run is not there or was interrupted."""
    path = folder / "result.json"
    if not path.exists():
        return None
    fields = json.loads(path.read_text())
    fields["points"] = tuple(Point(**point) for point in fields["points"])
    return Result(**{**fields, "where": tuple(fields["where"])})
