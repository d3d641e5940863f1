"""Tune's side of the ledger: a searcher that asks, a scheduler that stops, a callback that records.

Nothing is decided here. An error in one of Tune's hooks would be logged and turned into a failed trial, so
each hook leaves its error for the next step, where it ends the search.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search import results
from search.cluster import Watch
from search.ledger import Ledger
from search.results import Line
from search.rundir import Job
from search.scheduler import Rungs
from trainables import _task


class SearchFailedError(Exception):
    """The search has stopped by itself: something is wrong with more than the recipes."""


class Follower(Protocol):
    """Is told what happens on the slots, and decides nothing."""

    def begin(self, number: int, params: Mapping[str, Any], label: str, seed: int | None = None) -> None:
        """A training has been given a slot."""

    def report(self, line: Line) -> None:
        """A running training has reported."""

    def lose(self, number: int, seed: int, reason: str) -> None:
        """A training has lost its process and will go on."""

    def end(self, line: Line) -> None:
        """A training has ended."""


class Switchboard:
    """What the three wires share: the ledger, the rungs, and what should end the search."""

    def __init__(self, ledger: Ledger, rungs: Rungs, followers: Sequence[Follower], stop: list[int]) -> None:
        self.ledger, self.rungs, self.followers, self.stop = ledger, rungs, followers, stop
        self.error: BaseException | None = None
        self.watch = Watch()
        self.jobs: dict[str, dict[int, Job]] = {}
        """What Tune's trials still have to train, by trial id and by place in the group that a slot was given."""
        self.freed = -1
        """Tune's step in which a slot last fell free."""


def _guarded(default: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A hook that keeps its error for `on_step_begin`; after one, nothing is asked or recorded any more."""

    def wrap(hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            board: Switchboard = self._board
            if board.error is None:
                try:
                    return hook(self, *args, **kwargs)
                except Exception as error:  # whatever it is, it must not become a failed trial
                    board.error = error
            return default

        return call

    return wrap


class Asker(Searcher):
    """Hands Tune the ledger's jobs."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__(metric="objective", mode="max")
        self._board = board

    @_guarded()
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job as a trial's configuration; None while there is none, FINISHED when there will be none."""
        ledger = self._board.ledger
        jobs = ledger.next_group()
        if not jobs:
            return Searcher.FINISHED if ledger.finished else None
        self._board.jobs[trial_id] = dict(enumerate(jobs))
        return {"tasks": [dataclasses.asdict(ledger.task(job)) for job in jobs]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the recorder tells the ledger."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher, and the ledger is on disk already."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save, for the same reason."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, for the same reason."""


class Stopper(FIFOScheduler):
    """Stops a trial at a report: when ASHA says so, when it is over, when the time for trials is."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__()
        self._board = board

    @_guarded(default=TrialScheduler.CONTINUE)
    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP or CONTINUE. A training that confirms a recipe always runs to its end, and so do heads in a group."""
        board, jobs = self._board, self._board.jobs[trial.trial_id]
        place, stops = result.get("task", 0), False
        for said in _said(result):
            if "objective" in said:
                stops = said["final"]
                if not jobs[place].confirms:
                    left_behind = board.rungs.stops(jobs[place].number, said["epoch"], said["objective"])
                    stops = left_behind or board.ledger.expired()
        if "said" in result:
            stops = "objective" in result and place == max(jobs)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}


class Recorder(Callback):
    """Tells the ledger and the followers what happens on the slots."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the search here, between two of Tune's steps, where no record is half written.

        Raises:
            KeyboardInterrupt: someone asked for the end.
            SearchFailedError: trials only fail.
            ClusterLostError: Ray has gone.
            Exception: what a hook raised.
        """
        board = self._board
        board.watch.look()
        if board.error is not None:
            raise board.error
        if board.stop:
            raise KeyboardInterrupt
        if board.ledger.failure:
            raise SearchFailedError(board.ledger.failure)
        # A slot that fell free has its next trial by now, and need not wait while files are removed (91 MB: 45 ms).
        if iteration > board.freed + 1:
            board.ledger.tidy()

    @_guarded()
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A slot has taken the trial."""
        for job in self._board.jobs[trial.trial_id].values():
            for follower in self._board.followers:
                follower.begin(job.number, job.params, job.label, job.seed)

    @_guarded()
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """One line per report; in a group a training has ended when it has said all.

        Raises:
            OSError: the slot's disk is full.
        """
        board, jobs, place = self._board, self._board.jobs[trial.trial_id], result.get("task", 0)
        if "disk_full" in result:
            raise OSError(*result["disk_full"])
        for said in _said(result):
            if "failed" not in said and (line := board.ledger.report(jobs[place], said)):
                for follower in board.followers:
                    follower.report(line)
        if place < max(jobs):
            self._end(jobs.pop(place), result)

    @_guarded()
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial finished, was stopped, or said why it failed."""
        self._board.freed = iteration
        for job in self._board.jobs.pop(trial.trial_id).values():
            self._end(job, trial.last_result)

    def _end(self, job: Job, result: Mapping[str, Any]) -> None:
        board, (state, reason) = self._board, end_of(result)
        if state == results.PRUNED and not reason and board.ledger.expired():
            reason = results.OUT_OF_TIME
        if "traceback" in result:
            self._keep_error(job, result["traceback"])
        self._tell_end(board.ledger.end(job, state, reason))

    def _tell_end(self, line: Line) -> None:
        for follower in self._board.followers:
            follower.end(line)

    @_guarded()
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process died, or raised what is not the recipe's fault."""
        board, jobs = self._board, self._board.jobs.pop(trial.trial_id)
        text = trial.get_error() or ""
        reason = died_of(text)
        for job in reversed(jobs.values()):  # the first of them is to be the first again
            if (line := board.ledger.lose(job, reason)) is None:
                for follower in board.followers:
                    follower.lose(job.number, job.seed, reason)
            else:
                self._keep_error(job, text.strip() or reason)
                self._tell_end(line)

    def _keep_error(self, job: Job, text: str) -> None:
        path = _task.best_path(self._board.ledger.plan.run, job.folder).with_name("error.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text.strip()}\n", encoding="utf-8")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and the records are on disk already."""
        return {}


def _said(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The reports in what a slot has told: one, or all of a training that was one of a group."""
    said: list[dict[str, Any]] = result.get("said", [result])
    return said


def end_of(report: Mapping[str, Any]) -> tuple[str, str]:
    """How a trial ended, and why, from its last report.

    FAIL: it reported a failure, or nothing finite. COMPLETE: its last report was the last of its budget.
    PRUNED: it was stopped before, or it did not fit the device.
    """
    reason = str(report.get("failed", ""))
    if report.get("infeasible"):
        return results.PRUNED, f"{results.INFEASIBLE}: {reason}"
    if reason or not math.isfinite(report.get("objective", math.nan)):
        return results.FAIL, reason or "it ended without a report"
    return (results.COMPLETE if report.get("final") else results.PRUNED), ""


def died_of(text: str) -> str:
    """One line of an error that Ray wrote down."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines or "ActorDied" in text or "ActorUnavailable" in text or "died" in lines[-1]:
        return "its process died"
    return lines[-1]
