"""What runs in a trial's process: the function a `TorchTrainer` runs, and the last look at the winner.

The process outlives the trial (Tune's `reuse_actors`): its imports, the pretrained weights, the CUDA
context and the memory-mapped data stay for the next trial. Everything else is cleared here.
"""

import atexit
import ctypes
import functools
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray.exceptions
import ray.tune
import torch
from torch import nn

from frostline.spaces import Recipe
from frostline.trainables import _freezing
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._family import Examples, Family, load
from frostline.trainables._task import Message, NodeError, PeerLostError, Setup, Task, Told
from frostline.trainables.prefix import boundary as prefix_boundary
from frostline.trainables.prefix import features
from frostline.trainables.slot import node, ray_private
from frostline.trainables.slot.attempt import Attempt, home_of
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import device as devices
from frostline.trainables.training import evaluation, loop, training
from frostline.trainables.training import peers as peer_group
from frostline.trainables.training.peers import Peers


def train(config: dict[str, Any]) -> None:
    """Run one trial, or several that train a head only, each from its last snapshot where it has one.

    Heads read what the frozen body puts out from the prefix cache and take milliseconds an epoch, less than Tune
    needs between two trials; so those that wait are trained in one go, one after the other, each just as it would be
    alone. The messages of one training are told together.

    A recipe that fails ends with a `Failed` message, a full disk with a `DiskFull`; the process lives on. What is not
    the recipe's fault is raised.

    Args:
        config: the fields of a `Setup` as `setup` and of each `Task` in `tasks`.

    Raises:
        OSError: files that this machine should have cannot be read.
        NodeError: this machine does not have what training needs.
        RayError: Ray has lost something.
    """
    run(Setup.of(config["setup"]), [Task(**task) for task in config["tasks"]], _report)


def run(setup: Setup, tasks: Sequence[Task], report: Callable[[Told], None], peers: Peers = peer_group.ALONE) -> None:
    """As `train`; of several workers each is to be given the same.

    Args:
        setup: of the search.
        tasks: what to train.
        report: what is told to Tune, by each worker at the same points; it ends the training by an exception.
        peers: the workers. What one of them does alone, the others leave out.

    Raises:
        PeerLostError: another worker has gone; and as `train`.
    """
    for number, task in enumerate(tasks):
        if task.alone and not peers.leads:
            continue
        group = peer_group.ALONE if task.alone else peers
        if len(tasks) == 1:
            _train(setup, task, lambda message: report(Told(messages=(message,))), group)
            continue
        messages: list[Message] = []
        _train(setup, task, messages.append, group)
        if messages:
            report(Told(messages=tuple(messages), task=number, whole=True))


def _report(told: Told) -> None:
    """Report to Tune; returns when the driver has recorded it, or not at all when it stops the trial."""
    ray.tune.report(told.to_tune())


def _train(setup: Setup, task: Task, tell: Callable[[Message], None], peers: Peers) -> None:
    recipe = Recipe.from_json(task.recipe)
    entry = node.entry(setup, recipe, load(recipe.family))
    with (
        _slot(setup, recipe) as (family, model, device),
        Attempt(setup, task, model, recipe, tell, peers, _NOTICE.given) as attempt,
    ):
        try:
            try:
                began = time.monotonic()
                with _examples(setup, recipe, family, model, entry) as (started, splits, attempt.cached_layers):
                    attempt.spends({"data": time.monotonic() - began})
                    attempt.say_again()
                    loop.fit(
                        model,
                        started,
                        recipe,
                        splits["train"],
                        splits["validation"],
                        report_at=setup.report_at,
                        validate_on=setup.validate_on,
                        device=device,
                        before_report=attempt.before_report,
                        report=attempt.on_report,
                        after_step=attempt.after_step,
                        resume=attempt.snapshot,
                        micro_batch=task.micro_batches.get(devices.name(setup.device)),
                        peers=peers,
                    )
            except (OSError, ray.exceptions.RayError, NodeError, PeerLostError):
                raise
            except Exception as error:  # the recipe's or ours: said once and not tried again
                _tell_failure(attempt, error)
        except OSError as error:  # also of a file that was still being written when the recipe failed
            if error.errno not in DISK_FULL:
                raise
            attempt.disk_full(error)


def _tell_failure(attempt: Attempt, error: Exception) -> None:
    """Tell why a training failed; with the traceback, where the error is not a known one."""
    if isinstance(error, devices.DoesNotFitError):
        attempt.fail(str(error), infeasible=True)
    elif isinstance(error, training.NonFiniteLossError):
        attempt.fail(str(error))
    else:
        attempt.fail(_last_line(error), traceback="".join(traceback.format_exception(error)))


@contextmanager
def _examples(
    setup: Setup, recipe: Recipe, family: Family, model: nn.Module, entry: Path
) -> Iterator[tuple[Family, Mapping[str, Examples], int]]:
    """What the loop trains on: the examples, or what the cached blocks make of them and a family that starts there.

    The number says how many blocks that are: none where the disk has no room for them.
    """
    own = setup.models[recipe.model]
    splits = {split: family.open(entry, split) for split in features.SPLITS}
    cached = None
    if recipe.cached_layers:
        wanted = features.Wanted(
            entry=entry,
            weights=own.weights,
            boundaries=tuple(sorted({*own.boundaries, recipe.cached_layers})),
            first_only=own.first_only,
            dtype=recipe.cache_dtype,
            device=setup.device,
            threads=setup.threads,
            limit=setup.cache_limit,
        )
        cached = features.prepare(model, family, splits, wanted, recipe.cached_layers)
    if cached is None:
        yield family, {**splits, "train": family.augmented(splits["train"], recipe)}, 0
        return
    example = devices.to(splits["train"].batch(np.arange(1)), torch.device(setup.device))
    with prefix_boundary.starting_at(model, family, recipe.cached_layers, example) as started:
        yield started, cached, recipe.cached_layers


def _draining() -> bool:
    """Whether Ray has been told that this node will be taken away, or another of the same trial."""
    return not {ray.get_runtime_context().get_node_id(), *group_nodes}.isdisjoint(ray_private.draining_nodes())


group_nodes: set[str] = set()
"""Ids of the nodes of the workers that train together with this one."""
_NOTICE = node.Notice(_draining)
"""That of this process's machine."""


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def finish(setup: Setup, recipe: Recipe, checkpoint: str, out: str) -> dict[str, Any]:
    """Load the winner as its checkpoint has it, export it to the folder `out`, and read the test set.

    Both are paths of the run directory.

    Returns:
        `metrics` of the exported weights on the test slice, and `interval`: the bootstrap 95 % interval
        of the metric that decides (1,000 resamples of the examples, percentiles; Efron 1979).
    """
    with _slot(setup, recipe) as (family, model, device), home_of(setup) as home:
        _freezing.freeze(model, family.blocks(model), recipe.frozen_layers)
        checkpoints.load(model, home.get(Path(checkpoint)))
        entry = node.entry(setup, recipe, family)
        logits, labels = evaluation.predict(model, family, family.open(entry, "test"), device)
        family.export(model, family.model_folder(recipe.model), recipe.data, setup.classes, home.path(Path(out)))
        home.put(Path(out))
    return {
        "metrics": family.score(logits, labels),
        "interval": bootstrap_interval(lambda rows, of: family.score(rows, of)[setup.metric.name], logits, labels),
    }


def bootstrap_interval(
    score: Callable[[torch.Tensor, torch.Tensor], float], logits: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """The 95 % interval of `score` over resamples of the examples.

    Args:
        score: of logits [examples, classes] and labels [examples].
        logits: of all examples.
        labels: of all examples.

    Returns:
        Low and high end; the score itself twice where there is one example only.
    """
    from scipy import stats

    if len(labels) < 2:
        return (score(logits, labels),) * 2
    found = stats.bootstrap(
        (np.arange(len(labels)),),
        lambda chosen: score(logits[chosen], labels[chosen]),
        vectorized=False,
        n_resamples=1000,
        batch=10,  # resamples in memory at once
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@contextmanager
def _slot(setup: Setup, recipe: Recipe) -> Iterator[tuple[Family, nn.Module, torch.device]]:
    """A pretrained model with a fresh head on the trial's device; afterwards nothing of the trial is left."""
    torch.set_num_threads(setup.threads)
    device = torch.device(setup.device)
    if device.type == "cuda":
        if setup.gpu_share < 1:  # others are on it: what this one may take is bounded, beyond it memory is out
            torch.cuda.set_per_process_memory_fraction(setup.gpu_share)
        torch.cuda.synchronize()  # raises where an earlier trial has broken the context: this process is of no use
    family = load(recipe.family)
    devices.reset_peak_memory(setup.device)
    model, pretrained = _pretrained(recipe.family, recipe.model, len(setup.classes))
    try:
        model.to(device)  # before the head is drawn: each device has a random state of its own
        # Only what the trial before has trained has changed: the model is still frozen as it was.
        changed = checkpoints.trained_state(model).keys()
        model.load_state_dict({name: pretrained[name] for name in changed}, strict=False)
        family.configure(model, recipe)
        torch.manual_seed(recipe.seed)
        family.reset_head(model)
        yield family, model, device
    except BaseException as error:
        # Tune ends a trial by an exception; until that is gone, its traceback holds the optimizer.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        model.zero_grad(set_to_none=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _return_free_memory()


@functools.lru_cache(maxsize=1)
def _pretrained(family: str, model: str, classes: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model and a copy of its weights as they were loaded; one a process, read again when the model changes."""
    _pretrained.cache_clear()  # the one before goes first: there may be no room for both
    gc.unfreeze()
    gc.collect()
    torch.manual_seed(0)  # weights that no checkpoint holds (a pooler, say) are the same in every process
    of = load(family)
    built = of.build(of.model_folder(model), classes)
    # What is here now stays as long as the process. Of a million objects of torch and transformers the collector
    # need look at none again: 0.3 s less between two trials.
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries that count what they leave behind would else complain
    return built, {name: tensor.clone() for name, tensor in built.state_dict().items()}


def _return_free_memory() -> None:
    """Give freed heap pages back to the system; glibc otherwise keeps them, and a slot grows trial by trial."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library: nothing to do there
        return
