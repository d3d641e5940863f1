"""What goes into a slot (`Setup`, `Task`) and what comes out of it (`Told`): plain values, without torch.

driver -> Setup, Task -> slot -> Told(Measured | Failed | DiskFull | TimeOver) -> driver
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frostline.spaces import Metric


class NodeError(Exception):
    """A machine cannot train any recipe; another machine may."""


class NodeGoneError(Exception):
    """A machine of a trial's workers has gone, or does not answer."""


class PeerLostError(Exception):
    """Another process that trains the same trial has gone, or does not answer."""


class WeightsLostError(Exception):
    """The weights of a training that has ended are missing or damaged."""


class GroupLostError(Exception):
    """The workers of a trial have died, and their machines are not the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A place between two blocks where the outputs of the blocks before can be stored, with its cost."""

    depth: int
    """Blocks before it."""
    flops: float
    """Floating-point operations of these blocks for one example of mean length."""
    values: float
    """Numbers stored for such an example."""
    first_only: bool
    """Whether only the first token's output is stored, since the rest of the model reads nothing else (`[CLS]`)."""
    pooled: tuple[str, ...] = ()
    """Poolings with which one vector an example is stored, since the head reads nothing else."""


class TimeOverError(Exception):
    """The time of the search is over before a training has begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Seconds that an example takes on the device of a trial, without the prefix cache."""

    depths: tuple[int, ...]
    """Frozen depths that were measured, rising: 0, about half of the blocks, all of them."""
    trained: tuple[float, ...]
    """Seconds of training with each of these depths."""
    evaluated: float
    """Seconds of an evaluation."""


class NotSurveyedError(Exception):
    """A model cannot be tried at its boundaries: it trains from its input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSetup:
    """The part of a `Setup` that depends on the model."""

    entry: str
    """Folder of the prepared data."""
    weights: str
    """SHA-256 of the pretrained files."""
    boundaries: tuple[int, ...] = ()
    """Depths whose outputs the prefix cache stores, rising. One pass over the data fills all of them."""
    first_only: tuple[int, ...] = ()
    """Depths at which only the first token's output is stored, with the model's own pooling."""
    pooled: tuple[str, ...] = ()
    """Poolings with which one vector an example is stored at the deepest of these depths."""
    evaluated: float = 0.0
    """Seconds of an evaluation for each example, without the prefix cache; 0 where it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """Settings that all trials of a search share, resolved once by the driver. It travels as JSON."""

    models: dict[str, ModelSetup]
    """Model name -> its part, for every model that a trial may have."""
    classes: tuple[str, ...]
    """Class names."""
    run: str
    """Run directory."""
    report_at: tuple[float, ...]
    """Epochs at which a trial reports."""
    validate_on: tuple[int, ...]
    """For each of these reports, how many validation examples are measured, counted from the first."""
    metric: Metric
    """Validation metric that decides."""
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads of a trial."""
    gpu_share: float
    """Share of a GPU that a trial has: 1 is all of it, 0 none."""
    checkpoint_every: float
    """Fewest seconds between two snapshots of a trial."""
    metric_code: str = ""
    """The Python file in which that metric is a function; empty if the family has it."""
    url: str = ""
    """URL of the run directory, if it is in no folder; `run` is then the driver's working copy."""
    nodes_may_go: bool = False
    """Whether the search runs on a cluster, whose nodes can be taken away."""
    cache_limit: float = math.inf
    """Most bytes that the prefix cache of a node may hold."""
    workers: int = 1
    """Processes that train a trial together. `threads` and `gpu_share` are those of each process."""

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
    """One training for a slot. It travels as JSON."""

    folder: str
    """Folder of its checkpoints, relative to the run directory."""
    recipe: str
    """The recipe, as JSON."""
    samples: int = 0
    """Training examples at its last recorded report; an interrupted trial reports nothing twice."""
    best: float | None = None
    """Its best recorded objective so far."""
    micro_batches: dict[str, int] = field(default_factory=dict)
    """Device name -> examples per forward pass that fitted its memory in earlier trials frozen at this depth."""
    until: float = math.inf
    """Seconds since 1970 at which the training ends, wherever it stands; it is measured once more before."""
    alone: bool = False
    """Whether only its head trains. The first of several workers then does it, faster than all of them together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a slot says of a training; all kinds say where the training stands."""

    epoch: float
    """Passes over the training examples at the last report; 0 before the first one."""
    samples: int
    """Training examples seen by then."""
    step: int
    """Optimizer steps by then."""
    seconds: float
    """Seconds of training until now, earlier stays on a slot included."""
    time: float
    """Now, in seconds since 1970 by the slot's clock."""
    pid: int
    """Process id of the slot, or of its first worker."""
    node: str
    """Host name of that process's machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured(Message):
    """A report: the model was measured on the validation examples."""

    objective: float
    """The metric that decides; larger is better."""
    metrics: dict[str, float]
    """Validation metrics, `train_loss`, and `peak_memory_mb` in megabytes."""
    partial: bool
    """Whether only the first of the validation examples were looked at, as at an early rung."""
    final: bool
    """Whether the training has used its whole budget."""
    micro_batch: int
    """Examples per forward pass."""
    device: str
    """`cpu`, or the GPU's name."""
    cached_layers: int
    """Blocks that were not run because the prefix cache holds their outputs."""
    spent: dict[str, float]
    """Seconds since the last report by activity: `training`, `evaluation`, `data`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed(Message):
    """The end of a training whose recipe failed. The slot's process lives on."""

    reason: str
    """One line."""
    infeasible: bool = False
    """Whether the device's memory does not hold even one example."""
    traceback: str = ""
    """Of an error that the slot does not know; empty for a known one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskFull(Message):
    """The end of a training on a slot whose disk takes no more data."""

    number: int
    """The system's error number."""
    text: str
    """The system's description of it."""
    path: str
    """The file that was being written; empty where the system names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeOver(Message):
    """The end of a training because the time of the search is over. What it had reported counts."""


_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Measured, Failed, DiskFull, TimeOver)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One report of a slot to the driver, about one of its tasks."""

    messages: tuple[Message, ...]
    """At least one, in order."""
    task: int = 0
    """Place of the training in the list of tasks that the slot was given."""
    whole: bool = False
    """Whether these are all messages of the training: of several tasks, each is reported once, when it has ended."""
    node_id: str = ""
    """Ray's id of the machine, where the trial has several workers."""

    @property
    def last(self) -> Message:
        """The newest message."""
        return self.messages[-1]

    def to_tune(self) -> dict[str, Any]:
        """The dict for Tune's `report`: JSON values below one key, apart from what Tune adds.

        The value is a list, since Tune gives its scheduler a copy of the result in which nested dicts are flattened.
        """
        messages = [{"kind": type(message).__name__, **asdict(message)} for message in self.messages]
        return {"told": [{"messages": messages, "task": self.task, "whole": self.whole, "node_id": self.node_id}]}

    @classmethod
    def of_tune(cls, result: Mapping[str, Any]) -> Told | None:
        """Inverse of `to_tune`; None for a result of Tune's own, which reports nothing.

        Raises:
            TypeError: the slot runs another version of this program, whose messages have other fields.
            KeyError: or other kinds.
        """
        if "told" not in result:
            return None
        told = dict(result["told"][0])
        messages = [dict(fields) for fields in told.pop("messages")]
        return cls(messages=tuple(_KINDS[fields.pop("kind")](**fields) for fields in messages), **told)


def best_path(run: Path | str, folder: str) -> Path:
    """The file of the trained weights at the best report."""
    return Path(run) / folder / "best.safetensors"


def last_path(run: Path | str, folder: str) -> Path:
    """The file of the snapshot that an interrupted training goes on from."""
    return Path(run) / folder / "last.safetensors"
