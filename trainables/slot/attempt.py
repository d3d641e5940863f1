"""One stay of a trial on a slot: its messages to the driver, and its files.

Files are written in a thread while training goes on.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.spaces import Recipe
from frostline.trainables import _atomic, _storage
from frostline.trainables._task import (
    DiskFull,
    Failed,
    Measured,
    Message,
    Setup,
    Task,
    TimeOver,
    best_path,
    last_path,
)
from frostline.trainables.slot import node
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import device as devices
from frostline.trainables.training.checkpoint import Snapshot
from frostline.trainables.training.peers import ALONE, Peers
from frostline.trainables.training.training import Report, Take, goes_on


class Attempt:
    """Tells the driver of a training, and writes its best weights and snapshots. A score on record has its file."""

    def __init__(
        self,
        setup: Setup,
        task: Task,
        model: nn.Module,
        recipe: Recipe,
        tell: Callable[[Message], None],
        peers: Peers = ALONE,
        ends_soon: Callable[[], bool] = lambda: False,
    ) -> None:
        """Find what an earlier stay has left.

        Args:
            setup: of the search.
            task: what is trained.
            model: whose weights are kept.
            recipe: of the task.
            tell: passes a message to the driver; it ends the training by an exception.
            peers: processes that train together. The first of them writes the files.
            ends_soon: whether this machine is about to be taken away.
        """
        self._setup, self._task, self._model, self._tell, self._peers = setup, task, model, tell, peers
        self._ends_soon = ends_soon
        self._best = task.best if task.best is not None else float("-inf")
        self._last = {"epoch": 0.0, "samples": 0, "step": 0}
        self._recorded = task.samples
        """Training examples at the last report on record, or told since."""
        self._home, self._told = home_of(setup), list[Measured]()
        folder = self._home.path(Path(setup.run) / task.folder)
        for torn in folder.glob(".*.safetensors.*") if peers.leads else ():
            torn.unlink(missing_ok=True)  # from a process that was killed while it wrote
        snapshot = checkpoints.read(self._home.get(last_path(setup.run, task.folder)))
        usable = snapshot is not None and goes_on(snapshot, recipe) and "seconds" in snapshot.numbers
        self.snapshot = snapshot if usable else None
        """Where training goes on; None if it starts from the beginning."""
        before = self.snapshot.numbers["seconds"] if self.snapshot else 0.0
        self._started = time.time() - before
        self._copied, self._cost = time.monotonic(), 0.0
        """When the last snapshot was copied, and the seconds that copying took."""
        self._candidate = folder / f".{best_path(setup.run, task.folder).name}.new"
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        """The one file that is being written: a snapshot, or during a report weights that may become the best."""
        self.cached_layers = 0
        """Blocks that are not run because the prefix cache has their outputs."""
        self._spent: dict[str, float] = {}

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        if self._peers.leads:
            self._candidate.unlink(missing_ok=True)
        self._home.close()

    def _finish_writing(self) -> None:
        """Wait for the file that is being written.

        Raises:
            OSError: it could not be written: the disk is full.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def spends(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by activity; told with the next report."""
        for activity, more in seconds.items():
            self._spent[activity] = self._spent.get(activity, 0.0) + more

    def _standing(self) -> dict[str, Any]:
        """The fields that all messages have, as of now."""
        now = time.time()
        return {**self._last, "seconds": now - self._started, "time": now, "pid": os.getpid(), "node": node.name()}

    def fail(self, reason: str, *, infeasible: bool = False, traceback: str = "") -> None:
        """Tell that the recipe has failed.

        Raises:
            OSError: the last file could not be written: the disk is full.
        """
        self._finish_writing()  # the trial ends here, and its files may be removed
        self._tell(Failed(**self._standing(), reason=reason, infeasible=infeasible, traceback=traceback))

    def time_over(self) -> None:
        """Tell that the time of the search is over.

        Raises:
            OSError: the last file could not be written: the disk is full.
        """
        self._finish_writing()
        self._tell(TimeOver(**self._standing()))

    def disk_full(self, error: OSError) -> None:
        """Tell that the disk is full."""
        number, path = error.errno or 0, str(error.filename or "")
        self._tell(DiskFull(**self._standing(), number=number, text=os.strerror(number), path=path))

    def tell_again(self) -> None:
        """Tell the reports of the snapshot's process that are not on record.

        In a folder everything is on record before training goes on. At a URL the records follow within seconds, and
        the driver's machine may be lost before.
        """
        for fields in self.snapshot.numbers.get("told", ()) if self.snapshot else ():
            report = Measured(**fields)
            self._told.append(report)
            if report.samples > self._recorded:
                self._recorded = report.samples
                self._last = {"epoch": report.epoch, "samples": report.samples, "step": report.step}
                if not report.partial:
                    self._best = max(self._best, report.objective)
                self._tell(report)

    def left(self) -> float:
        """Seconds until the time of the search is over."""
        return self._task.until - time.time()

    def before_report(self, partial: bool) -> None:
        """Begin to write the weights, which do not change while they are measured."""
        self._finish_writing()
        if not partial and self._peers.leads:
            self._writing = self._thread.submit(checkpoints.save, self._model, self._candidate)

    def on_report(self, report: Report) -> None:
        """Keep the weights if they are the best so far, then tell: a score on record has its weights on disk.

        A score of some of the validation examples is not compared with scores of all.
        """
        self._finish_writing()
        self.spends(report.spent)
        if report.samples <= self._recorded:
            return  # told before the trial was interrupted
        self._last = {"epoch": report.epoch, "samples": report.samples, "step": report.step}
        metric = self._setup.metric
        objective = metric.objective(report.metrics[metric.name])
        if not report.partial and objective > self._best:
            self._best = objective
            if self._peers.leads:
                best = best_path(self._setup.run, self._task.folder)
                _atomic.place(self._candidate, self._home.path(best))
                self._home.put(best)
        peak = self._peers.largest(devices.peak_memory_mb(self._setup.device), torch.device(self._setup.device))
        spent, self._spent = self._spent, {}
        measured = Measured(
            **self._standing(),
            objective=objective,
            metrics={**report.metrics, "peak_memory_mb": peak},
            partial=report.partial,
            final=report.final,
            micro_batch=report.micro_batch,
            device=devices.name(self._setup.device),
            cached_layers=self.cached_layers,
            spent=spent,
        )
        self._told.append(measured)
        self._tell(measured)  # does not return if Tune stops the trial

    def after_step(self, take: Take) -> None:
        """Copy a snapshot if it is time to, or if this machine goes soon; it is written while training goes on.

        Copying takes at most a twentieth of the time, and a snapshot is written before the next one is copied.
        """
        if not self._peers.leads:
            return
        if self._writing is not None and self._writing.done():
            self._finish_writing()
        began = time.monotonic()
        every = 0.0 if self._setup.nodes_may_go and self._ends_soon() else self._setup.checkpoint_every
        if self._writing is not None or began - self._copied < max(every, 20 * self._cost):
            return
        snapshot = take()
        tensors = {name: tensor.detach().clone() for name, tensor in snapshot.tensors.items()}
        numbers = {**snapshot.numbers, "seconds": time.time() - self._started}
        if self._setup.url:
            numbers["told"] = [dataclasses.asdict(report) for report in self._told]
        self._writing = self._thread.submit(self._keep, Snapshot(tensors=tensors, numbers=numbers))
        self._copied = time.monotonic()
        self._cost = self._copied - began

    def _keep(self, snapshot: Snapshot) -> None:
        path = last_path(self._setup.run, self._task.folder)
        checkpoints.write(snapshot, self._home.path(path))
        self._home.offer(path)


def home_of(setup: Setup) -> _storage.Home:
    """The folder of this machine that holds the trial's files."""
    return _storage.Home(setup.run, setup.url, _storage.cache_root() / "scratch")
