"""The records of a run directory as the report reads them, also while a search writes them.

Reading locks and changes nothing. The properties are small and pure: the winning training, the score of a trial.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from frostline.search.ledger import confirm
from frostline.search.ledger.conclusions import judge_of
from frostline.search.ledger.confirm import Confirmed
from frostline.search.plan.plan import Plan, of_json
from frostline.search.records import baseline as baseline_records
from frostline.search.records import folder as run_folder
from frostline.search.records import lease
from frostline.search.records import trials as trial_records
from frostline.search.records.baseline import BaselineRecord
from frostline.search.records.elapsed import seconds_worked
from frostline.search.records.events import LOG, Job, read_events, started_jobs, unreported
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.search.report.compared import Compared, compared
from frostline.search.report.outlook import outlook
from frostline.search.words import STOPPED as STOPPED
from frostline.search.words import UNFIT as UNFIT
from frostline.spaces import Metric

FINISHED, INTERRUPTED, FAILED, RUNNING, BROKEN_OFF = "finished", "interrupted", "stopped", "running", "broken off"
"""The states of a search. Broken off: its process is gone and left no summary."""

DONE, FAILING, OPEN = "complete", "failed", "open"
"""With STOPPED and UNFIT, the kinds of trials in figures and tables. OPEN: it runs, or goes on when the search does."""

_KINDS = {
    Outcome.COMPLETE: DONE,
    Outcome.PRUNED: STOPPED,
    Outcome.OUT_OF_TIME: STOPPED,
    Outcome.INFEASIBLE: UNFIT,
    Outcome.FAILED: FAILING,
    Outcome.RUNNING: OPEN,
    Outcome.INTERRUPTED: OPEN,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One trial as tables and figures show it."""

    trial: Trial
    kind: str
    """DONE, STOPPED, FAILING, UNFIT or OPEN."""
    state: str
    """The kind in finer words, such as running, interrupted or out of time."""
    reason: str
    """Why it ended; empty if there is nothing to say."""
    best: Line | None
    """The report with its score; None if it was never measured on all validation examples."""
    score: float | None
    """Value of the deciding metric in that report."""
    objective: float
    """The score turned so that larger is better; minus infinity without a score."""
    seen: float | None
    """The score; without one, the last value measured on a part of the validation examples."""
    epoch: float
    """Epochs trained."""
    model: str
    frozen: int
    """Frozen blocks, counted from the input."""
    blocks: int
    """Blocks of its model."""
    parameters: int
    """Parameters of its model, frozen or not."""

    @property
    def number(self) -> int:
        """Number of the trial, as Optuna counts, from 0."""
        return self.trial.number

    @property
    def seconds(self) -> float:
        """Seconds on its slot."""
        return self.trial.seconds


@dataclass(frozen=True, kw_only=True)  # no slots: cached properties need a __dict__
class View:
    """The records of a run directory, and what follows from them."""

    run: Path
    plan: Plan
    versions: Mapping[str, str]
    trials: tuple[Trial, ...]
    confirmations: tuple[Trial, ...]
    events: tuple[dict[str, Any], ...]
    """The lines of log.jsonl, oldest first. Each has a time in seconds since 1970."""
    baseline: BaselineRecord | None
    """What came of the trained baseline; None if there is none, or none yet."""
    summary: Mapping[str, Any] | None
    """summary.json of the last session; None before that session has written it."""
    status: str
    """FINISHED, INTERRUPTED, FAILED, RUNNING or BROKEN_OFF."""
    now: float
    """When the records were read, seconds since 1970."""

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return self.plan.search.metric

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The events that mark the start of each session, oldest first."""
        return [event for event in self.events if event.get("event") == "session"]

    @cached_property
    def confirmed(self) -> list[Confirmed]:
        """The recipes that were trained again, the one that is offered first."""
        budget = self.plan.budget
        confirms = budget.confirm_recipes and budget.confirm_seeds
        return confirm.confirmed(self.trials, self.confirmations, judge_of(self.plan)) if confirms else []

    @cached_property
    def won(self) -> Trial | None:
        """The training that wins by the records so far; None before any score."""
        return confirm.winner(self.trials, self.confirmations, self.confirmed)

    @property
    def test(self) -> Mapping[str, Any] | None:
        """The event of reading the test set with the winner: `metrics` and `interval`; None before it is read."""
        won = self.won
        reads = [event for event in self.tests if won and (event.get("number"), event.get("seed")) == won.key]
        return reads[-1] if reads else None

    @property
    def compared(self) -> Compared | None:
        """The trained baseline beside the winner; None if there is none."""
        longer = outlook(self.plan, [*self.trials, *self.confirmations], max(1, self.plan.budget.epochs))
        return compared(self.baseline, self.test, self.metric, longer)

    @property
    def tests(self) -> list[dict[str, Any]]:
        """The events of reading the test set, oldest first."""
        return [event for event in self.events if event.get("event") == "test"]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the search, over all its sessions."""
        return sum(seconds_worked(self.events, self.times, self.now if self.status == RUNNING else None))

    @property
    def times(self) -> list[float]:
        """All recorded times, and the present while the search runs; seconds since 1970."""
        trainings = (*self.trials, *self.confirmations)
        reported = [line.time for trial in trainings for line in trial.reports]
        ended = [trial.time for trial in trainings]
        now = [self.now] if self.status == RUNNING else []
        return [*reported, *ended, *(event["time"] for event in self.events), *now]

    @property
    def training_seconds(self) -> float:
        """Seconds of all trainings together."""
        return sum(trial.seconds for trial in (*self.trials, *self.confirmations))

    @cached_property
    def rows(self) -> list[Row]:
        """The trials in the order of their numbers."""
        return [_row(self, trial) for trial in self.trials]

    def value(self, line: Line) -> float | None:
        """Value of the deciding metric in a report; None if it is not a finite number."""
        if line.objective is None or not math.isfinite(line.objective):
            return None
        return self.metric.value(line.objective)


def read(run: Path, now: float | None = None) -> View:
    """Read a run directory.

    Args:
        run: the run directory.
        now: seconds since 1970; None for the present.

    Raises:
        ValueError: it holds no search, or its plan was written by another version.
    """
    run = run.expanduser().resolve()
    fields = run_folder.read_plan(run)
    plan = of_json(run, fields)
    versions = {str(name): str(version) for name, version in fields.get("versions", {}).items()}
    events = tuple(read_events(run / LOG))
    started = started_jobs(run)
    trials = trial_records.read(run / "trials.jsonl")
    trials += _silent(trials, [job for job in started if not job.confirms])
    confirmations = trial_records.read(run / "confirm.jsonl")
    confirmations += _silent(confirmations, [job for job in started if job.confirms])
    summary = _summary(run, events)
    return View(
        run=run,
        plan=plan,
        versions=versions,
        trials=tuple(sorted(trials, key=lambda trial: trial.key)),
        confirmations=tuple(sorted(confirmations, key=lambda trial: trial.key)),
        events=events,
        baseline=baseline_records.read(run),
        summary=summary,
        status=_status(summary, events),
        now=time.time() if now is None else now,
    )


def _silent(trainings: Sequence[Trial], jobs: Iterable[Job]) -> list[Trial]:
    """The trainings that have a slot, or had one, and no report yet."""
    reported = {trial.key for trial in trainings}
    unseen = {job.key: job for job in jobs if job.key not in reported}
    return [unreported(job, time.time()) for job in unseen.values()]


def _summary(run: Path, events: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """`summary.json` if the last session wrote it. One of an earlier session is out of date."""
    path = run / "summary.json"
    since = next((event["time"] for event in reversed(events) if event["event"] == "session"), 0.0)
    try:
        if path.stat().st_mtime < since:
            return None
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _status(summary: Mapping[str, Any] | None, events: tuple[dict[str, Any], ...]) -> str:
    if summary is not None:
        return INTERRUPTED if summary.get("interrupted") else FAILED if summary.get("failure") else FINISHED
    session: dict[str, Any] = next((event for event in reversed(events) if event.get("event") == "session"), {})
    is_local, pid = session.get("host") == socket.gethostname(), session.get("pid")
    return BROKEN_OFF if is_local and not (isinstance(pid, int) and lease.is_alive(pid)) else RUNNING


def _row(view: View, trial: Trial) -> Row:
    plan = view.plan
    kind, state, reason = described(trial, view.status, plan.schedule.rungs)
    best = trial.best
    last = next((line for line in reversed(trial.reports) if view.value(line) is not None), None)
    model = str(trial.params.get("model", plan.search.base.model))
    planned = plan.search.models.get(model, plan.search.models[plan.search.base.model])
    return Row(
        trial=trial,
        kind=kind,
        state=state,
        reason=reason,
        best=best,
        score=view.value(best) if best else None,
        objective=trial.objective,
        seen=view.value(best or last) if best or last else None,  # type: ignore[arg-type]
        epoch=trial.reports[-1].epoch if trial.reports else 0.0,
        model=model,
        frozen=int(trial.params.get("frozen_layers", plan.search.base.frozen_layers)),
        blocks=planned.blocks,
        parameters=planned.parameters,
    )


def described(trial: Trial, status: str, rungs: tuple[float, ...]) -> tuple[str, str, str]:
    """Kind, state and reason of a training, as `Row` has them.

    Args:
        trial: a trial, or a training that confirms one.
        status: status of the search.
        rungs: epochs at which a trial may be stopped.
    """
    kind, state, reason = _KINDS[trial.outcome], _KINDS[trial.outcome], trial.reason
    if kind == OPEN:
        runs = status == RUNNING and trial.outcome == Outcome.RUNNING
        return kind, "running" if runs else "interrupted", "" if runs else "goes on with --resume"
    if trial.outcome == Outcome.OUT_OF_TIME:
        state, reason = trial.outcome.value, "the time budget for trials was over"
    if trial.outcome == Outcome.PRUNED and not reason:
        passed = [rung for rung in rungs if trial.reports and rung <= trial.reports[-1].epoch]
        reason = f"behind at rung {passed[-1]:g}" if passed else ""
    return kind, state, reason
