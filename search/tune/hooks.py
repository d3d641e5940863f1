"""Ray Tune's hooks: a searcher that asks the ledger, a scheduler that stops trials, a callback that records.

Nothing is decided here. Tune would log an error in one of its hooks and turn it into a failed trial. So each hook
keeps its error for the beginning of the next step, where it ends the search.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from frostline.search.cluster import ray_private
from frostline.search.cluster.watch import TrialNode
from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome
from frostline.search.tune.faults import Fault, cause_of, node_in
from frostline.search.tune.health import STRIKES
from frostline.search.tune.switchboard import SearchFailedError, Switchboard
from frostline.trainables import _atomic, _task
from frostline.trainables._task import DiskFull, Failed, Measured, Message, TimeOver, Told


def _guarded(default: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a hook: it keeps its error for `on_step_begin`. After an error nothing is asked or recorded."""

    def wrap(hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            board: Switchboard = self._board
            if board.error is None:
                try:
                    return hook(self, *args, **kwargs)
                except Exception as error:  # no error may become a failed trial
                    board.error = error
            return default

        return call

    return wrap


class Asker(Searcher):
    """Gives Tune the ledger's jobs."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__(metric="objective", mode="max")
        self._board = board

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configuration of the next trial; None while there is no job, FINISHED when there will be none.

        While no trial is alive, Tune begins no step: for up to 600 s it asks here again each second. So a machine that
        joins, Ctrl-C and a hook's error are noticed here too.

        Raises:
            BaseException: see `Switchboard.look`.
        """
        self._board.look()
        suggested: dict[str, Any] | str | None = self._suggest(trial_id)
        return suggested

    @_guarded()
    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        board, ledger = self._board, self._board.ledger
        if len(board.jobs) >= board.places:
            return None
        jobs = ledger.next_group()
        if not jobs:
            return Searcher.FINISHED if ledger.finished else None
        board.jobs[trial_id] = dict(enumerate(jobs))
        return {"tasks": [dataclasses.asdict(ledger.task(job)) for job in jobs]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the recorder tells the ledger."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher, and the ledger is on disk already."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the ledger is on disk already."""


class Stopper(FIFOScheduler):
    """Stops a trial at a report: at a rung that decides so, when its budget is used up, when it would not end in
    time."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__()
        self._board = board

    @_guarded()
    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The waiting trial that gets a process that has become free: the oldest, or None for the newest.

        It is the oldest if trials wait for room. Otherwise a process is already being started for the oldest, perhaps
        on a node that has just joined. Tune would throw that process away, and if trials are shorter than such a
        start, the node would never be used.
        """
        board = self._board
        return super().choose_trial_to_run(tune_controller) if len(board.jobs) > board.room else None

    @_guarded(default=TrialScheduler.CONTINUE)
    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP or CONTINUE. A training that confirms a recipe always runs to its end, and so does a group of heads."""
        board, jobs, stops = self._board, self._board.jobs[trial.trial_id], False
        if (told := Told.of_tune(result)) is None:
            return str(TrialScheduler.CONTINUE)
        job = jobs[told.task]
        for message in told.messages:
            if isinstance(message, Measured):
                stops = message.final
                if not job.confirms:
                    left_behind = board.rungs.stops(job.number, job.params, message)
                    stops = left_behind or board.ledger.late(message)
        if told.whole:
            stops = isinstance(told.last, Measured) and told.task == max(jobs)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: the ledger is on disk already."""
        return {}


class Recorder(Callback):
    """Tells the ledger and the followers about the events on the slots."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look around, see `Switchboard.look`; and remove what the ledger needs no longer."""
        board = self._board
        board.look()
        # Files are removed one step after a slot became free, when it has its next trial (91 MB take 45 ms).
        if iteration > board.freed + 1:
            board.ledger.tidy()

    @_guarded()
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A slot has taken the trial."""
        workers = self._board.ledger.plan.resources.need.workers
        # With several workers the slot's process is not the one that trains.
        if workers == 1 and (node := self._board.watch.node_of(ray_private.actor_of(trial))):
            self._board.nodes[trial.trial_id] = node
        for job in self._board.jobs[trial.trial_id].values():
            for follower in self._board.followers:
                follower.begin(job)

    @_guarded()
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record one line per report. In a group, a training has ended when it has told all its reports.

        Raises:
            OSError: the slot's disk is full.
        """
        board, jobs = self._board, self._board.jobs[trial.trial_id]
        if (told := Told.of_tune(result)) is None:
            return
        if told.node_id:
            board.nodes[trial.trial_id] = TrialNode(told.node_id, told.last.node)
        if node := board.nodes.get(trial.trial_id):
            board.health.works(node.id)
        if isinstance(told.last, DiskFull):
            raise OSError(told.last.number, told.last.text, told.last.path)
        for message in told.messages:
            if isinstance(message, Measured) and (line := board.ledger.report(jobs[told.task], message)):
                for follower in board.followers:
                    follower.report(line)
        if told.task < max(jobs):
            self._end(jobs.pop(told.task), told.last)

    @_guarded()
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the end: the trial finished, was stopped, or told why it failed."""
        self._board.freed = iteration
        self._board.nodes.pop(trial.trial_id, None)
        told = Told.of_tune(trial.last_result)
        for place, job in self._board.jobs.pop(trial.trial_id).items():
            self._end(job, told.last if told and told.task == place else None)

    def _end(self, job: Job, last: Message | None) -> None:
        board, (outcome, reason) = self._board, end_of(last)
        if outcome == Outcome.PRUNED and isinstance(last, Measured) and board.ledger.late(last):
            outcome = Outcome.OUT_OF_TIME
        if outcome == Outcome.OUT_OF_TIME and job.confirms:
            outcome = Outcome.INTERRUPTED  # with more time it goes on
        if isinstance(last, Failed) and last.traceback:
            self._keep_error(job, last.traceback)
        self._tell_end(board.ledger.end(job, outcome, reason))

    def _tell_end(self, line: Line) -> None:
        for follower in self._board.followers:
            follower.end(line)

    @_guarded()
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process died, or raised an error that is not the recipe's fault."""
        self._board.watch.after_loss()
        board, jobs = self._board, self._board.jobs.pop(trial.trial_id)
        text = ray_private.error_of(trial)
        node = board.nodes.pop(trial.trial_id, None) or node_in(text)
        reason, fault = cause_of(text, announced=node is not None and node.id in board.watch.announced)
        for job in reversed(jobs.values()):  # each goes to the front of the queue, so the first one goes last
            if (line := board.ledger.lose(job, reason, counts=fault in {Fault.PROCESS, Fault.MEMORY})) is None:
                for follower in board.followers:
                    follower.lose(job, reason)
            else:
                self._keep_error(job, text.strip() or reason)
                self._tell_end(line)
        if fault is Fault.MEMORY:
            before = board.places
            board.health.out_of_memory()
            if (now := board.places) < before:
                board.note(f"Memory has run out again: {now} instead of {before} trials at once from now on")
        if node is not None and fault is not Fault.NODE_GONE and board.health.lost(node.id, board.usable - 1):
            board.watch.set_aside(node.id, board.ledger.plan.resources.need)
            board.note(f"{node.name} gets no more trials: it lost {STRIKES} in a row ({reason})")
            return
        if fault is Fault.MACHINE and (node is None or board.usable < 2):
            raise SearchFailedError(f"there is no machine to train on: {reason}")

    def _keep_error(self, job: Job, text: str) -> None:
        path = _task.best_path(self._board.ledger.plan.place.run, job.folder).with_name("error.txt")
        _atomic.make_folder(path.parent)
        _atomic.write(path, f"{text.strip()}\n")

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its callbacks, and the records are on disk already."""
        return {}


def end_of(last: Message | None) -> tuple[Outcome, str]:
    """How a trial ended, and why, by its last message; None if it told nothing.

    FAILED: it told a failure, or nothing. OUT_OF_TIME: it told that. COMPLETE: its last report was the last of its
    budget. PRUNED: it was stopped before.
    """
    if isinstance(last, TimeOver):
        return Outcome.OUT_OF_TIME, ""
    if isinstance(last, Failed):
        return (Outcome.INFEASIBLE if last.infeasible else Outcome.FAILED), last.reason
    if not isinstance(last, Measured):
        return Outcome.FAILED, "it ended without a report"
    return (Outcome.COMPLETE if last.final else Outcome.PRUNED), ""
