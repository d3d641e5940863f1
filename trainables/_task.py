"""What a slot is told: plain values, without torch, so that the driver can write them down at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.spaces import Metric


class NodeError(Exception):
    """A machine cannot train, whatever the recipe; another one may."""


class NodeGoneError(Exception):
    """A machine that a trial's workers ran on is gone, or does not answer."""


class PeerLostError(Exception):
    """Another process that trains the same trial has gone, or does not answer."""


class GroupLostError(Exception):
    """The workers that trained a trial are gone, not by a machine's fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A place between two blocks where what the ones before put out can be kept, as a look at the model showed it."""

    depth: int
    """Blocks before it."""
    flops: float
    """Floating-point operations that these blocks need for one example of mean length."""
    values: float
    """Numbers that are kept of such an example."""
    first_only: bool
    """What comes after reads the first token's output alone (a classifier on `[CLS]`), so only that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSetup:
    """What of a `Setup` depends on the model."""

    entry: str
    """Folder of the prepared data."""
    weights: str
    """SHA-256 of the pretrained files."""
    boundaries: tuple[int, ...] = ()
    """Depths whose outputs are kept in the prefix cache, rising; one pass over the data fills all of them."""
    first_only: tuple[int, ...] = ()
    """Those of which only the first token's output is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all trials of a search share, resolved once by the driver. Plain values: it is JSON on the way."""

    models: dict[str, ModelSetup]
    """By name, every model that a trial may have."""
    classes: tuple[str, ...]
    """Class names."""
    run: str
    """Run directory."""
    report_at: tuple[float, ...]
    """Epochs at which a trial reports."""
    validate_on: tuple[int, ...]
    """How many of the validation examples each of these reports looks at: the first so many."""
    metric: Metric
    """Validation metric that decides."""
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads of a trial."""
    gpu_share: float
    """Part of a GPU that a trial has: 1 is all of it, 0 none."""
    checkpoint_every: float
    """Seconds between two snapshots of a trial, at least."""
    url: str = ""
    """Where the run directory is kept, if in no folder; `run` is then the driver's working copy."""
    nodes_may_go: bool = False
    """Whether it runs on a cluster, whose nodes can be taken away."""
    cache_limit: float = math.inf
    """Bytes that the prefix cache of a node may hold."""
    workers: int = 1
    """Processes that train a trial together; what stands above of a trial is what each of them has."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Setup:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        metric = Metric(**fields["metric"])
        return cls(
            **{
                **fields,
                "metric": metric,
                "models": {name: ModelSetup(**model) for name, model in fields["models"].items()},
            }
        )


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
    alone: bool = False
    """Only its head trains: of several workers the first one does it, which is faster than all of them together."""


def best_path(run: Path | str, folder: str) -> Path:
    """What training changed, as it was at the best report."""
    return Path(run) / folder / "best.safetensors"


def last_path(run: Path | str, folder: str) -> Path:
    """The snapshot that an interrupted training goes on from."""
    return Path(run) / folder / "last.safetensors"
