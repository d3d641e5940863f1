"""A run directory as it stands: read as it is, also while a search writes in it; nothing is locked or changed.

What is computed here is small and pure: which training won, what a trial is called, what it has scored.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from frostline.search.ledger import confirm
from frostline.search.ledger.confirm import Confirmed
from frostline.search.plan.plan import Plan, of_json
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.journal import read_lines
from frostline.search.records.log import LOG, seconds_used, started_jobs, unreported
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.spaces import Metric

FINISHED, INTERRUPTED, FAILED, RUNNING, BROKEN_OFF = "finished", "interrupted", "stopped", "running", "broken off"
"""What has become of a search; broken off: its process is gone and left no summary."""

DONE, STOPPED, FAILING, UNFIT, OPEN = "complete", "stopped early", "failed", "did not fit", "open"
"""What has become of a trial, as figures and tables show it; open: it runs, or goes on when the search does."""

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
    """The same in a reader's words, finer: such as running, interrupted, did not fit."""
    reason: str
    """Why it ended as it did; empty where there is nothing to say."""
    best: Line | None
    """The report that its score is from; None where it was never measured on all validation examples."""
    score: float | None
    """Value of the deciding metric at that report."""
    objective: float
    """The score, turned so that larger is better; minus infinity without one."""
    seen: float | None
    """The score or, without one, the last value measured on a part of the validation examples."""
    epoch: float
    """Epochs trained."""
    model: str
    frozen: int
    """Blocks, counted from the input, that stayed fixed."""
    blocks: int
    """Of its model."""
    parameters: int
    """Of its model."""

    @property
    def number(self) -> int:
        """As Optuna counts."""
        return self.trial.number

    @property
    def seconds(self) -> float:
        """On its slot."""
        return self.trial.seconds


@dataclass(frozen=True, kw_only=True)  # without slots: what follows from the records is worked out once and kept
class View:
    """All that a run directory says."""

    run: Path
    plan: Plan
    versions: Mapping[str, str]
    trials: tuple[Trial, ...]
    confirmations: tuple[Trial, ...]
    events: tuple[dict[str, Any], ...]
    """Of log.jsonl, oldest first; each has a time in seconds since 1970."""
    summary: Mapping[str, Any] | None
    """Of the last session; None while there is none."""
    status: str
    """FINISHED, INTERRUPTED, FAILED, RUNNING or BROKEN_OFF."""
    now: float
    """When it was read, seconds since 1970."""

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return self.plan.search.metric

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The processes that have worked here, oldest first."""
        return [event for event in self.events if event.get("event") == "session"]

    @cached_property
    def confirmed(self) -> list[Confirmed]:
        """The recipes that were trained again, best first."""
        budget = self.plan.budget
        on = budget.confirm_recipes and budget.confirm_seeds
        return confirm.confirmed(self.trials, self.confirmations, self.metric) if on else []

    @cached_property
    def won(self) -> Trial | None:
        """The training that wins as things stand."""
        return confirm.winner(self.trials, self.confirmations, self.confirmed)

    @property
    def test(self) -> Mapping[str, Any] | None:
        """What reading the test set with the winner gave: `metrics` and `interval`."""
        won = self.won
        reads = [e for e in self.tests if won is not None and (e.get("number"), e.get("seed")) == won.key]
        return reads[-1] if reads else None

    @property
    def tests(self) -> list[dict[str, Any]]:
        """Every time that the test set was read."""
        return [event for event in self.events if event.get("event") == "test"]

    @property
    def seconds(self) -> float:
        """Wall-clock time that the search has taken, over all its sessions."""
        return seconds_used([event["time"] for event in self.sessions], self.times)

    @property
    def times(self) -> list[float]:
        """Of everything recorded, and of now while the search runs; seconds since 1970."""
        trainings = (*self.trials, *self.confirmations)
        found = [line.time for trial in trainings for line in trial.reports] + [trial.time for trial in trainings]
        return [*found, *(event["time"] for event in self.events), *([self.now] if self.status == RUNNING else [])]

    @property
    def training_seconds(self) -> float:
        """What all trainings have taken together."""
        return sum(trial.seconds for trial in (*self.trials, *self.confirmations))

    @cached_property
    def rows(self) -> list[Row]:
        """The trials, by number."""
        return [_row(self, trial) for trial in self.trials]

    def value(self, line: Line) -> float | None:
        """What a report measured; None where that is no number."""
        if line.objective is None or not math.isfinite(line.objective):
            return None
        return self.metric.value(line.objective)


def read(run: Path, now: float | None = None) -> View:
    """The view of a run directory.

    Raises:
        ValueError: there is no search in it, or its plan is of another version.
    """
    run = run.expanduser().resolve()
    fields = run_folder.read_plan(run)
    plan = of_json(run, fields)
    versions = {str(name): str(version) for name, version in fields.get("versions", {}).items()}
    events = tuple(e for e in read_lines(run / LOG) if isinstance(e.get("time"), int | float))
    known = trial_records.read(run / "trials.jsonl")
    again = trial_records.read(run / "confirm.jsonl")
    begun = {(job.confirms, *job.key): job for job in started_jobs(run)}
    for confirms, trials in ((False, known), (True, again)):
        there = {trial.key for trial in trials}
        trials += [
            unreported(job, time.time())
            for (is_again, *key), job in begun.items()
            if is_again == confirms and tuple(key) not in there
        ]
    summary = _summary(run, events)
    return View(
        run=run,
        plan=plan,
        versions=versions,
        trials=tuple(sorted(known, key=lambda trial: trial.key)),
        confirmations=tuple(sorted(again, key=lambda trial: trial.key)),
        events=events,
        summary=summary,
        status=_status(summary, events),
        now=time.time() if now is None else now,
    )


def _summary(run: Path, events: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """`summary.json` where the last session wrote it; that of an earlier one is of another search by now."""
    path = run / "summary.json"
    since = max((event["time"] for event in events if event.get("event") == "session"), default=0.0)
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
    here = session.get("host") == socket.gethostname()
    return BROKEN_OFF if here and not _lives(session.get("pid")) else RUNNING


def _lives(pid: Any) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _row(view: View, trial: Trial) -> Row:
    plan = view.plan
    kind, state, reason = described(trial, view.status, plan.schedule.rungs)
    best = trial.best
    last = next((line for line in reversed(trial.reports) if view.value(line) is not None), None)
    model = str(trial.params.get("model", plan.search.base.model))
    known = plan.search.models.get(model, plan.search.models[plan.search.base.model])
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
        blocks=known.blocks,
        parameters=known.parameters,
    )


def described(trial: Trial, status: str, rungs: tuple[float, ...]) -> tuple[str, str, str]:
    """Kind, state and reason of a trial, for a reader.

    Args:
        trial: of the search, or a training that confirms one.
        status: of the search.
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
