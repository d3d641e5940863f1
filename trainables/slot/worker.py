"""What runs in a trial's process: the training function of a `TorchTrainer`."""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray.exceptions
import ray.tune
from torch import nn

from frostline.spaces import OWN_POOLING, Recipe
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._errors import first_line
from frostline.trainables._family import Examples, Family, load
from frostline.trainables._task import Message, NodeError, PeerLostError, Setup, Task, TimeOverError, Told
from frostline.trainables.prefix import features
from frostline.trainables.prefix.boundary import Body, starting_at
from frostline.trainables.slot.attempt import Attempt
from frostline.trainables.slot.node import entry_of
from frostline.trainables.slot.process import THIS
from frostline.trainables.training import device as devices
from frostline.trainables.training.loop import Reports, Snapshots, fit
from frostline.trainables.training.machine import Machine
from frostline.trainables.training.peers import ALONE, Peers
from frostline.trainables.training.training import NonFiniteLossError


def train(config: dict[str, Any]) -> None:
    """Run one trial, or several that train a head only, each from its last snapshot if it has one.

    Heads read the outputs of the frozen body from the prefix cache. They take milliseconds an epoch, less than Tune
    needs between two trials. So all that wait are trained in one go, one after another, each as it would be alone, and
    the messages of one training are told together.

    A recipe that fails ends with a `Failed` message, a full disk with a `DiskFull`; the process lives on. What is not
    the recipe's fault is raised.

    Args:
        config: the fields of a `Setup` as `setup`, and of each `Task` in `tasks`.

    Raises:
        OSError: files that this machine should have cannot be read.
        NodeError: this machine does not have what training needs.
        RayError: Ray has lost something.
    """
    run(Setup.of(config["setup"]), [Task(**task) for task in config["tasks"]], _report)


def run(setup: Setup, tasks: Sequence[Task], report: Callable[[Told], None], peers: Peers = ALONE) -> None:
    """Do the work of `train`. Each of several workers is given the same tasks.

    Args:
        setup: of the search.
        tasks: what to train.
        report: tells Tune. All workers call it at the same points, and it ends the training by an exception.
        peers: the workers. A task for one of them alone is done by the first.

    Raises:
        PeerLostError: another worker has gone; and the errors of `train`.
    """
    for place, task in enumerate(tasks):
        if task.alone and not peers.leads:
            continue
        group = ALONE if task.alone else peers
        if len(tasks) == 1:
            _train(setup, task, lambda message: report(Told(messages=(message,))), group)
            continue
        messages: list[Message] = []
        _train(setup, task, messages.append, group)
        if messages:
            report(Told(messages=tuple(messages), task=place, whole=True))


def _report(told: Told) -> None:
    """Report to Tune; returns when the driver has recorded it, or not at all if it stops the trial."""
    ray.tune.report(told.to_tune())


def _train(setup: Setup, task: Task, tell: Callable[[Message], None], peers: Peers) -> None:
    recipe = Recipe.from_json(task.recipe)
    entry = entry_of(setup, recipe, load(recipe.family))
    with (
        THIS.trial(setup, recipe) as (family, model, device),
        Attempt(setup, task, model, recipe, tell, peers, THIS.notice.given) as attempt,
    ):
        machine = Machine(
            device=device,
            peers=peers,
            compiler=THIS.compiler,
            micro_batch=task.micro_batches.get(devices.name(setup.device)),
        )
        reports = Reports(
            at=setup.report_at,
            to=attempt.on_report,
            validate_on=setup.validate_on,
            left=attempt.left,
            evaluated=setup.models[recipe.model].evaluated,
            before=attempt.before_report,
        )
        snapshots = Snapshots(resume=attempt.snapshot, after_step=attempt.after_step)
        try:
            try:
                began = time.monotonic()
                # Several workers would have to agree that the time is over.
                left = attempt.left if peers is ALONE else lambda: math.inf
                with _examples(setup, recipe, family, model, entry, left) as (started, splits, attempt.cached_layers):
                    attempt.spends({"data": time.monotonic() - began})
                    attempt.tell_again()
                    if not fit(model, started, recipe, splits, reports=reports, machine=machine, snapshots=snapshots):
                        attempt.time_over()
            except TimeOverError:
                attempt.time_over()
            except (OSError, ray.exceptions.RayError, NodeError, PeerLostError):
                raise
            except Exception as error:  # the recipe's fault or a bug of ours: told once, and not tried again
                _tell_failure(attempt, error)
        except OSError as error:  # also for a file that was still being written when the recipe failed
            if error.errno not in DISK_FULL:
                raise
            attempt.disk_full(error)


def _tell_failure(attempt: Attempt, error: Exception) -> None:
    """Tell why a training failed; with the traceback, if the error is not a known one."""
    if isinstance(error, devices.DoesNotFitError):
        attempt.fail(str(error), infeasible=True)
    elif isinstance(error, NonFiniteLossError):
        attempt.fail(str(error))
    else:
        attempt.fail(first_line(error), traceback="".join(traceback.format_exception(error)))


@contextmanager
def _examples(
    setup: Setup,
    recipe: Recipe,
    family: Family,
    model: nn.Module,
    entry: Path,
    left: Callable[[], float] = lambda: math.inf,
) -> Iterator[tuple[Family, Mapping[str, Examples], int]]:
    """The family, the splits to train and measure on, and the number of blocks that the prefix cache replaces.

    With a cache the family starts after these blocks, and the splits have their outputs. Without one, or if the disk
    has no room for it, they are the recipe's own.

    Raises:
        TimeOverError: no time is `left` before the cache is filled.
    """
    own = setup.models[recipe.model]
    splits = {split: family.open(entry, split) for split in features.SPLITS}
    cached, body = None, Body.of(model, family)
    own_head, pooled = recipe.pooling == OWN_POOLING, recipe.pooling in own.pooled
    if recipe.cached_layers:
        wanted = features.Wanted(
            entry=entry,
            weights=own.weights,
            boundaries=tuple(sorted({*own.boundaries, recipe.cached_layers})),
            first_only=own.first_only if own_head else (),
            pooled=recipe.pooling if pooled else "",
            dtype=recipe.cache_dtype,
            device=setup.device,
            threads=setup.threads,
            limit=setup.cache_limit,
            left=left,
        )
        cached = features.prepare(body, splits, wanted, recipe.cached_layers)
    if cached is None:
        yield family, {**splits, "train": family.augmented(splits["train"], recipe)}, 0
        return
    if pooled and recipe.cached_layers == len(body.blocks):
        yield family, cached, recipe.cached_layers  # batches hold all that the head reads
        return
    example = devices.to(splits["train"].batch(np.arange(1)), next(model.parameters()).device)
    with starting_at(body, recipe.cached_layers, THIS.results(body, example)) as started:
        yield started, cached, recipe.cached_layers
