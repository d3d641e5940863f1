"""The one training loop: plain torch, one process, one device; reports go to a callable."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from frostline.spaces import Recipe
from frostline.trainables import _freezing
from frostline.trainables._family import Examples, Family, First
from frostline.trainables._modules import is_batch_norm
from frostline.trainables.data.batches import batches
from frostline.trainables.training import device as devices
from frostline.trainables.training import optim
from frostline.trainables.training.checkpoint import Snapshot
from frostline.trainables.training.machine import Machine
from frostline.trainables.training.training import Report, Take, Training


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reports:
    """When a training reports, on how many examples it is measured, and who is called."""

    at: Sequence[float]
    """Epochs, rising; the last one is the end of training."""
    to: Callable[[Report], None]
    """Called with each report. It may raise to end the trial."""
    validate_on: Sequence[int] = ()
    """For each report, how many validation examples are measured, counted from the first; all of them if empty."""
    left: Callable[[], float] = lambda: math.inf
    """Seconds that the training still has. When only a measurement fits into them, it is measured for the last time, on
    all validation examples, and ends."""
    evaluated: float = 0.0
    """Seconds of a measurement for each example before the first one; 0 where it is not known."""
    before: Callable[[bool], None] = _nothing
    """Called before the model is measured, with True if only some validation examples are. The weights do not change
    until `to` returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshots:
    """Where a training goes on from, and where it can be interrupted."""

    resume: Snapshot | None = None
    """Where to go on; None starts from the beginning."""
    after_step: Callable[[Take], None] = _nothing
    """Called after every step but the last (after the report, if one follows), with the function that takes a
    snapshot."""


NO_SNAPSHOTS = Snapshots()
"""Start from the beginning, and offer no snapshots."""


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch: the number of `batches`, with the short last one."""
    alone = examples > batch_size > 1 and examples % batch_size == 1
    return math.ceil(examples / batch_size) - alone


def fit(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    splits: Mapping[str, Examples],
    *,
    reports: Reports,
    machine: Machine,
    snapshots: Snapshots = NO_SNAPSHOTS,
) -> bool:
    """Fine-tune `model` in place by `recipe`.

    Args:
        model: pretrained, its new head drawn, on the machine's device.
        family: of the model and the data.
        recipe: how to train.
        splits: `train` to learn from, `validation` to measure on.
        reports: when to measure, and whom to tell.
        machine: where training runs.
        snapshots: where to go on from, and whom to offer snapshots.

    Returns:
        False if the time was over before the end of the training.

    Raises:
        NonFiniteLossError: names the step (on a GPU it is noticed within 20 steps).
        DoesNotFitError: a single example needs more memory than the device has.
        PeerLostError: another process has gone.
        ValueError: the model has fewer blocks than the recipe freezes, or the snapshot is of another recipe.
    """
    train, validation, peers = splits["train"], splits["validation"], machine.peers
    blocks = family.blocks(model)
    _freezing.freeze(model, blocks, recipe.frozen_layers)
    size = len(train.labels)
    steps = math.ceil(reports.at[-1] * steps_per_epoch(size, recipe.batch_size))
    training = Training(model, family, recipe, devices.Ahead(train, machine.device), steps, machine)
    if (weights := optim.class_weights(recipe, train.labels)) is not None:
        training.class_weights = weights.to(machine.device)
    training.micro_batch = machine.micro_batch or micro_batch_of(model, recipe.batch_size, machine.device, train)
    if snapshots.resume is not None:
        training.restore(snapshots.resume)
    peers.begin(model, training.step, machine.device)
    clock = _Clock(reports, machine, len(validation.labels))
    counts = reports.validate_on or [len(validation.labels)] * len(reports.at)
    due = [(math.ceil(epoch * size), count) for epoch, count in zip(reports.at, counts, strict=True)]
    _freezing.training_mode(model, blocks, recipe.frozen_layers)
    try:
        while due := [(seen, count) for seen, count in due if seen > training.seen]:
            order = np.random.default_rng([recipe.seed, training.seen // size])
            epoch = batches(train.lengths, recipe.batch_size, order)
            shares = [peers.share(indices) for indices in epoch]
            for place, indices in enumerate(epoch[training.place :], start=training.place + 1):
                training.step_on(shares[place - 1], shares[place] if place < len(epoch) else None, len(indices))
                over = clock.is_over()
                if over or training.seen >= due[0][0]:
                    passed = [count for seen, count in due if seen <= training.seen]
                    due = [(seen, count) for seen, count in due if seen > training.seen]
                    # If two reports fall on one step, the later one decides how many examples are measured.
                    examples = First(validation, len(validation.labels) if over else passed[-1])
                    reports.before(examples.partial)
                    with clock.measuring(len(examples.labels)):
                        report = training.measure(examples, size, final=not due)
                    reports.to(report)
                    if over or not due:
                        return not due
                    training.watch.start()  # the report's seconds are not the training's
                    _freezing.training_mode(model, blocks, recipe.frozen_layers)
                snapshots.after_step(training.take)
        return True
    finally:
        training.ahead.close()


class _Clock:
    """Whether a training must be measured now to end in time."""

    def __init__(self, reports: Reports, machine: Machine, examples: int) -> None:
        """The first step begins now.

        Args:
            reports: tells the seconds that are left.
            machine: whose workers agree.
            examples: validation examples.
        """
        self._left, self._machine, self._examples = reports.left, machine, examples
        self._stepped = time.monotonic()
        self._cost = reports.evaluated * examples
        """Seconds that a measurement takes; 0 if it is not known."""

    def is_over(self) -> bool:
        """Whether another step and a measurement would take too long. All workers answer alike."""
        now = time.monotonic()
        step, self._stepped = now - self._stepped, now
        if math.isinf(left := self._left()):
            return False
        return self._machine.peers.largest(step + self._cost - left, self._machine.device) >= 0

    @contextmanager
    def measuring(self, examples: int) -> Iterator[None]:
        """Time the measurement of some examples."""
        began = time.monotonic()
        yield
        self._stepped = time.monotonic()
        self._cost = (self._stepped - began) * self._examples / examples


def micro_batch_of(model: nn.Module, batch_size: int, device: torch.device, train: Examples) -> int:
    """Examples per forward pass to begin with; on a CPU many texts or pictures are no faster and cost memory."""
    if device.type != "cpu" or train.are_vectors or _trains_batch_norm(model):
        return batch_size
    return min(batch_size, 8, devices.per_pass(device, int(train.lengths.max())))


def _trains_batch_norm(model: nn.Module) -> bool:
    """Whether the output for an example depends on the others in its forward pass."""
    norms = filter(is_batch_norm, model.modules())
    return any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
