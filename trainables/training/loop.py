"""The one training loop: plain torch, one process, one device; reports go to a callable."""

import math
from collections.abc import Callable, Mapping, Sequence
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
) -> None:
    """Fine-tune `model` in place by `recipe`.

    Args:
        model: pretrained, its new head drawn, on the machine's device.
        family: of the model and the data.
        recipe: how to train.
        splits: `train` to learn from, `validation` to measure on.
        reports: when to measure, and whom to tell.
        machine: where training runs.
        snapshots: where to go on from, and whom to offer snapshots.

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
    training.micro_batch = machine.micro_batch or _micro_batch(model, recipe.batch_size, machine.device, train)
    if snapshots.resume is not None:
        training.restore(snapshots.resume)
    peers.begin(model, training.step, machine.device)
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
                if training.seen >= due[0][0]:
                    # If two reports fall on one step, the later one decides how many examples are measured.
                    count = [count for seen, count in due if seen <= training.seen][-1]
                    due = [(seen, count) for seen, count in due if seen > training.seen]
                    examples = First(validation, count)
                    reports.before(examples.partial)
                    reports.to(training.measure(examples, size, final=not due))
                    if not due:
                        return
                    training.watch.start()  # the report's seconds are not the training's
                    _freezing.training_mode(model, blocks, recipe.frozen_layers)
                snapshots.after_step(training.take)
    finally:
        training.ahead.close()


def _micro_batch(model: nn.Module, batch_size: int, device: torch.device, train: Examples) -> int:
    """Examples per forward pass to begin with; on a CPU many texts or pictures are no faster and cost memory."""
    if device.type != "cpu" or train.are_vectors or _trains_batch_norm(model):
        return batch_size
    return min(batch_size, 8, devices.per_pass(device, int(train.lengths.max())))


def _trains_batch_norm(model: nn.Module) -> bool:
    """Whether the output for an example depends on the others in its forward pass."""
    norms = filter(is_batch_norm, model.modules())
    return any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
