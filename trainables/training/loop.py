"""The one training loop: plain torch, one process, one device; `report` is a callable."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.spaces import Recipe
from frostline.trainables import _freezing
from frostline.trainables._family import Examples, Family, First
from frostline.trainables.data.batches import batches
from frostline.trainables.training import device as devices
from frostline.trainables.training import peers as peer_group
from frostline.trainables.training.checkpoint import Snapshot
from frostline.trainables.training.peers import Peers
from frostline.trainables.training.training import Report, Take, Training


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch: batches as `_data.batches` makes them, the short last one included."""
    alone = examples > batch_size > 1 and examples % batch_size == 1
    return math.ceil(examples / batch_size) - alone


def _nothing(*_: object) -> None:
    return None


def fit(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    train: Examples,
    validation: Examples,
    *,
    report_at: Sequence[float],
    device: torch.device,
    report: Callable[[Report], None],
    validate_on: Sequence[int] = (),
    before_report: Callable[[bool], None] = _nothing,
    after_step: Callable[[Take], None] = _nothing,
    resume: Snapshot | None = None,
    micro_batch: int | None = None,
    peers: Peers = peer_group.ALONE,
) -> None:
    """Fine-tune `model` in place by `recipe`.

    Args:
        model: pretrained, its new head drawn, on `device`.
        family: what the model and the data are.
        recipe: how to train.
        train: examples to learn from.
        validation: examples that every report is measured on.
        report_at: epochs at which to report, rising; the last one is the end of training.
        device: where the model is.
        report: called with each report. It may raise to end the trial.
        validate_on: of each report, the first so many validation examples are looked at; all where it says nothing.
        before_report: called before the examples are looked at, with whether that is only some of them; the
            weights stay as they are until `report` returns.
        after_step: called after every step but the last, and after the report where one follows, with
            what takes a snapshot.
        resume: where to go on; None starts from the beginning.
        micro_batch: examples per forward pass that are known to fit; None tries the whole batch (on a
            CPU, 8 or fewer). Gradients of micro-batches add up to the batch's, so it changes no result but for
            rounding; not so where batch norm trains, which is why there the whole batch is tried on a CPU, too.
        peers: the processes that do this together, each on its share of every batch. All get the same reports; a
            snapshot of any of them serves all.

    Raises:
        NonFiniteLossError: names the step (on a GPU it is seen within 20 steps).
        _device.DoesNotFitError: a single example needs more memory than the device has.
        PeerLostError: another process has gone.
        ValueError: the model has fewer blocks than the recipe freezes, or `resume` is of another recipe.
    """
    blocks = family.blocks(model)
    _freezing.freeze(model, blocks, recipe.frozen_layers)
    size = len(train.labels)
    steps = math.ceil(report_at[-1] * steps_per_epoch(size, recipe.batch_size))
    run = Training(model, family, recipe, devices.Ahead(train, device), device, steps, peers)
    run.micro_batch = micro_batch or _micro_batch(model, recipe.batch_size, device, int(train.lengths.max()))
    if resume is not None:
        run.restore(resume)
    peers.begin(model, run.step, device)
    looks = validate_on or [len(validation.labels)] * len(report_at)
    due = [(math.ceil(point * size), look) for point, look in zip(report_at, looks, strict=True)]
    _freezing.training_mode(model, blocks, recipe.frozen_layers)
    try:
        while due := [(seen, look) for seen, look in due if seen > run.seen]:
            order = np.random.default_rng([recipe.seed, run.seen // size])
            epoch = batches(train.lengths, recipe.batch_size, order)
            shares = [peers.share(indices) for indices in epoch]
            for place, indices in enumerate(epoch[run.place :], start=run.place + 1):
                run.step_on(shares[place - 1], shares[place] if place < len(epoch) else None, len(indices))
                if run.seen >= due[0][0]:
                    # Where two points fall on one step, the later one says what is looked at.
                    look = [look for seen, look in due if seen <= run.seen][-1]
                    due = [(seen, look) for seen, look in due if seen > run.seen]
                    examples = First(validation, look)
                    before_report(examples.partial)
                    report(run.measure(examples, size, final=not due))
                    if not due:
                        return
                    run.watch.start()  # what the report has taken is not the training's time
                    _freezing.training_mode(model, blocks, recipe.frozen_layers)
                after_step(run.take)
    finally:
        run.ahead.close()


def _micro_batch(model: nn.Module, batch_size: int, device: torch.device, longest: int) -> int:
    """Examples per forward pass to begin with; on a CPU many are no faster and cost memory."""
    if device.type != "cpu" or _trains_batch_norm(model):
        return batch_size
    return min(batch_size, 8, devices.per_pass(device, longest))


def _trains_batch_norm(model: nn.Module) -> bool:
    """Whether what an example becomes depends on the others in its forward pass."""
    return any(isinstance(m, _BatchNorm) and any(p.requires_grad for p in m.parameters()) for m in model.modules())
