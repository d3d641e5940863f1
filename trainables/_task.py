"""What a slot is told: plain values, without torch, so that the driver can write them down at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all trials of a search share, resolved once by the driver. Plain values: it is JSON on the way."""

    entry: str
    """Folder of the prepared data."""
    classes: tuple[str, ...]
    """Class names."""
    run: str
    """Run directory."""
    report_at: tuple[float, ...]
    """Epochs at which a trial reports."""
    metric: str
    """Validation metric that decides; larger is better."""
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads of a trial."""
    checkpoint_every: float
    """Seconds between two snapshots of a trial, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One training that a slot is given. Plain values: it is JSON on the way."""

    folder: str
    """Where its checkpoints go, below the run directory."""
    recipe: str
    """The recipe, as JSON."""
    samples: int = 0
    """Training examples at its last recorded report; an interrupted trial says nothing twice."""
    best: float | None = None
    """Its best recorded objective so far."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """By device name, examples per forward pass that earlier trials frozen at this depth found to fit."""


def best_path(run: Path | str, folder: str) -> Path:
    """What training changed, as it was at the best report."""
    return Path(run) / folder / "best.safetensors"


def last_path(run: Path | str, folder: str) -> Path:
    """The snapshot that an interrupted training goes on from."""
    return Path(run) / folder / "last.safetensors"
