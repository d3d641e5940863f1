"""What runs in a trial's process: the function a `TorchTrainer` runs, and the last look at the winner.

The process outlives the trial (Tune's `reuse_actors`): its imports, the pretrained weights, the CUDA
context and the memory-mapped data stay for the next trial. Everything else is cleared here.
"""

import atexit
import ctypes
import functools
import gc
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray.exceptions
import ray.tune
import torch
from ray._private.state import state as ray_state
from torch import nn

from spaces import Recipe
from trainables import (
    _boundary,
    _checkpoint,
    _data,
    _device,
    _evaluation,
    _features,
    _freezing,
    _loop,
    _node,
    _peers,
    _storage,
)
from trainables._family import Examples, Family, load
from trainables._peers import Peers
from trainables._task import NodeError, PeerLostError, Setup, Task, best_path, last_path


def train(config: dict[str, Any]) -> None:
    """Run one trial, or several that train a head only, each from its last snapshot where it has one.

    Heads read what the frozen body puts out from the prefix cache and take milliseconds an epoch, less than Tune
    needs between two trials; so those that wait are trained in one go, one after the other, each just as it would be
    alone. Their reports are told together, as `said`.

    A recipe that fails ends with a report that has `failed` and no `objective` (and `infeasible` where
    it does not fit the device, `traceback` where the error is an unknown one); a full disk with one that
    has `disk_full`. The process lives on. What is not the recipe's fault is raised.

    Args:
        config: the fields of a `Setup` as `setup` and of each `Task` in `tasks`.

    Raises:
        OSError: files that this machine should have cannot be read.
        NodeError: this machine does not have what training needs.
        RayError: Ray has lost something.
    """
    run(Setup.of(config["setup"]), [Task(**task) for task in config["tasks"]], _report)


def run(
    setup: Setup, tasks: Sequence[Task], report: Callable[[dict[str, Any]], None], peers: Peers = _peers.ALONE
) -> None:
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
        said: list[dict[str, Any]] = []
        _train(setup, task, report if len(tasks) == 1 else said.append, _peers.ALONE if task.alone else peers)
        if said:
            report({**said[-1], "said": said, "task": number})


def _report(values: dict[str, Any]) -> None:
    """Report to Tune; returns when the driver has recorded it, or not at all when it stops the trial."""
    ray.tune.report(values)


def _train(setup: Setup, task: Task, tell: Callable[[dict[str, Any]], None], peers: Peers) -> None:
    recipe = Recipe.from_json(task.recipe)
    entry = _node.entry(setup, recipe, load(recipe.family))
    with (
        _slot(setup, recipe) as (family, model, device),
        _Attempt(setup, task, model, recipe, tell, peers) as attempt,
    ):
        try:
            began = time.monotonic()
            with _examples(setup, recipe, family, model, entry) as (started, splits, attempt.cached_layers):
                attempt.spends({"data": time.monotonic() - began})
                attempt.say_again()
                _loop.fit(
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
                    micro_batch=task.micro_batches.get(_device_name(setup.device)),
                    peers=peers,
                )
        except _loop.NonFiniteLossError as error:
            attempt.tell(failed=str(error), final=True)
        except _device.DoesNotFitError as error:
            attempt.tell(failed=str(error), infeasible=True, final=True)
        except OSError as error:
            if error.errno not in _checkpoint.DISK_FULL:
                raise
            attempt.tell(disk_full=[error.errno, os.strerror(error.errno), error.filename or ""], final=True)
        except (ray.exceptions.RayError, NodeError, PeerLostError):
            raise
        except Exception as error:  # the recipe's or ours: said once, with its traceback, and not tried again
            attempt.tell(failed=_last_line(error), traceback=traceback.format_exc(), final=True)


@contextmanager
def _examples(
    setup: Setup, recipe: Recipe, family: Family, model: nn.Module, entry: Path
) -> Iterator[tuple[Family, Mapping[str, Examples], int]]:
    """What the loop trains on: the examples, or what the cached blocks make of them and a family that starts there.

    The number says how many blocks that are: none where the disk has no room for them.
    """
    own = setup.models[recipe.model]
    splits = {split: family.open(entry, split) for split in _features.SPLITS}
    cached = None
    if recipe.cached_layers:
        wanted = _features.Wanted(
            entry=entry,
            weights=own.weights,
            boundaries=tuple(sorted({*own.boundaries, recipe.cached_layers})),
            first_only=own.first_only,
            dtype=recipe.cache_dtype,
            device=setup.device,
            threads=setup.threads,
            limit=setup.cache_limit,
        )
        cached = _features.prepare(model, family, splits, wanted, recipe.cached_layers)
    if cached is None:
        yield family, {**splits, "train": family.augmented(splits["train"], recipe)}, 0
        return
    example = _device.to(splits["train"].batch(np.arange(1)), torch.device(setup.device))
    with _boundary.starting_at(model, family, recipe.cached_layers, example) as started:
        yield started, cached, recipe.cached_layers


def _draining() -> bool:
    """Whether Ray has been told that this node will be taken away, or another of the same trial."""
    return not {ray.get_runtime_context().get_node_id(), *group_nodes}.isdisjoint(ray_state.get_draining_nodes())


group_nodes: set[str] = set()
"""Ids of the nodes of the workers that train together with this one."""
_NOTICE = _node.Notice(_draining)
"""That of this process's machine."""


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


class _Attempt:
    """One stay of a trial on a slot: what it says, and what it keeps on disk. Files are written in a thread."""

    def __init__(
        self,
        setup: Setup,
        task: Task,
        model: nn.Module,
        recipe: Recipe,
        tell: Callable[[dict[str, Any]], None],
        peers: Peers = _peers.ALONE,
    ) -> None:
        self._setup, self._task, self._model, self._tell, self._peers = setup, task, model, tell, peers
        self._best = task.best if task.best is not None else float("-inf")
        self._last, self._said = {"epoch": 0.0, "samples": 0, "step": 0}, task.samples
        self._home, self._told = _home(setup), list[dict[str, Any]]()
        folder = self._home.path(Path(setup.run) / task.folder)
        for torn in folder.glob(".*.safetensors.*") if peers.leads else ():
            torn.unlink(missing_ok=True)  # a process that was killed while it wrote
        snapshot = _checkpoint.read(self._home.get(last_path(setup.run, task.folder)))
        usable = snapshot is not None and _loop.goes_on(snapshot, recipe) and "seconds" in snapshot.numbers
        self.snapshot = snapshot if usable else None
        before = self.snapshot.numbers["seconds"] if self.snapshot else 0.0
        self._started = time.time() - before
        self._written, self._cost = time.monotonic(), 0.0
        self._candidate = folder / f".{best_path(setup.run, task.folder).name}.new"
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        """The one file that is being written: a snapshot, or during a report the weights that may be the best."""
        self.cached_layers = 0
        self._spent: Counter[str] = Counter()

    def __enter__(self) -> "_Attempt":
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        if self._peers.leads:
            self._candidate.unlink(missing_ok=True)
        self._home.close()

    def _written_out(self) -> None:
        """Wait for the file that is being written.

        Raises:
            OSError: it could not be: the disk is full.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def spends(self, seconds: Mapping[str, float]) -> None:
        """So many seconds more have gone into this and that; said with the next report."""
        self._spent.update(seconds)

    def tell(self, **values: Any) -> None:
        """Say it; where that is to Tune, this returns when it is recorded, or not at all when the trial is stopped."""
        if "disk_full" not in values:
            self._written_out()  # the trial may end here, and its files be removed
        seconds = time.time() - self._started
        here = {"seconds": seconds, "pid": os.getpid(), "node": _node.name(), "time": time.time()}
        said = {**self._last, **values, **here}
        if "objective" in values:
            self._told.append(said)
        self._tell(said)

    def say_again(self) -> None:
        """Say what the snapshot's process has said and nobody has recorded.

        In a folder everything is on record before training goes on. At a URL the records follow within seconds, and
        the driver's machine may be lost meanwhile.
        """
        for said in self.snapshot.numbers.get("told", ()) if self.snapshot else ():
            self._told.append(said)
            if said["samples"] > self._said:
                self._said = said["samples"]
                self._last.update({name: said[name] for name in self._last})
                if not said["partial"]:
                    self._best = max(self._best, said["objective"])
                self._tell(said)

    def before_report(self, partial: bool) -> None:
        """Begin to write the weights, which stand still while they are measured."""
        self._written_out()
        if not partial and self._peers.leads:
            self._writing = self._thread.submit(_checkpoint.save, self._model, self._candidate)

    def on_report(self, report: _loop.Report) -> None:
        """Keep the weights if they are the best so far, then say so: a score on record has its weights on disk.

        What was measured on some of the validation examples only does not compare with what others got on all.
        """
        self._written_out()
        self.spends(report.spent)
        if report.samples <= self._said:
            return  # said before the trial was interrupted
        self._last.update(epoch=report.epoch, samples=report.samples, step=report.step)
        objective = report.metrics[self._setup.metric]
        if not report.partial and objective > self._best:
            self._best = objective
            if self._peers.leads:
                best = best_path(self._setup.run, self._task.folder)
                self._candidate.replace(self._home.path(best))
                self._home.put(best)
        peak = self._peers.largest(_peak_memory_mb(self._setup.device), torch.device(self._setup.device))
        metrics = {**report.metrics, "peak_memory_mb": peak}
        spent, self._spent = dict(self._spent), Counter()
        self.tell(
            objective=objective,
            metrics=metrics,
            partial=report.partial,
            cached_layers=self.cached_layers,
            final=report.final,
            micro_batch=report.micro_batch,
            device=_device_name(self._setup.device),
            spent=spent,
        )

    def after_step(self, take: _loop.Take) -> None:
        """Copy a snapshot when it is time, or this machine's is running out, to be written while training goes on.

        Never more than a twentieth of the time goes into the copying, and one is written before the next is made.
        """
        if not self._peers.leads:
            return
        if self._writing is not None and self._writing.done():
            self._written_out()
        began = time.monotonic()
        every = 0.0 if self._setup.nodes_may_go and _NOTICE.given() else self._setup.checkpoint_every
        if self._writing is not None or began - self._written < max(every, 20 * self._cost):
            return
        snapshot = take()
        copied = {name: tensor.detach().clone() for name, tensor in snapshot.tensors.items()}
        numbers = {**snapshot.numbers, "seconds": time.time() - self._started}
        if self._setup.url:
            numbers["told"] = list(self._told)
        snapshot = _checkpoint.Snapshot(tensors=copied, numbers=numbers)
        self._writing = self._thread.submit(self._keep, snapshot)
        self._written = time.monotonic()
        self._cost = self._written - began

    def _keep(self, snapshot: _checkpoint.Snapshot) -> None:
        path = last_path(self._setup.run, self._task.folder)
        _checkpoint.write(snapshot, self._home.path(path))
        self._home.offer(path)


def _home(setup: Setup) -> _storage.Home:
    return _storage.Home(setup.run, setup.url, _data.cache_root() / "scratch")


def finish(setup: Setup, recipe: Recipe, checkpoint: str, out: str) -> dict[str, Any]:
    """Load the winner as its checkpoint has it, export it to the folder `out`, and read the test set.

    Both are paths of the run directory.

    Returns:
        `metrics` of the exported weights on the test slice, and `interval`: the bootstrap 95 % interval
        of the metric that decides (1,000 resamples of the examples, percentiles; Efron 1979).
    """
    with _slot(setup, recipe) as (family, model, device), _home(setup) as home:
        _freezing.freeze(model, family.blocks(model), recipe.frozen_layers)
        _checkpoint.load(model, home.get(Path(checkpoint)))
        entry = _node.entry(setup, recipe, family)
        logits, labels = _evaluation.predict(model, family, family.open(entry, "test"), device)
        family.export(model, family.model_folder(recipe.model), recipe.data, setup.classes, home.path(Path(out)))
        home.put(Path(out))
    return {
        "metrics": family.metrics(logits, labels),
        "interval": bootstrap_interval(lambda rows, of: family.metrics(rows, of)[setup.metric], logits, labels),
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
    _reset_peak_memory(setup.device)
    model, pretrained = _pretrained(recipe.family, recipe.model, len(setup.classes))
    try:
        model.to(device)  # before the head is drawn: each device has a random state of its own
        # Only what the trial before has trained has changed: the model is still frozen as it was.
        changed = _checkpoint.trained_state(model).keys()
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


def _reset_peak_memory(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def _peak_memory_mb(device: str) -> float:
    """Peak since the trial began: of GPU memory on a GPU, else of this process's resident set. Megabytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
