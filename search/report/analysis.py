"""Results that several parts of the report need, computed once from the records: references, importance, slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from frostline.search.records.trials import Outcome
from frostline.search.report import importance, timeline
from frostline.search.report.importance import Importance
from frostline.search.report.references import Reference, references
from frostline.search.report.timeline import SlotUse, Stretch
from frostline.search.report.view import RUNNING, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """The records of a search, and what was computed from them once for the whole report."""

    view: View
    references: list[Reference]
    """Scores to compare the winner with."""
    importance: Importance | None
    """None if too few trials were judged."""
    slots: list[list[Stretch]]
    """The trainings of each slot."""
    use: SlotUse | None
    """None before anything has run."""


def analyse(view: View) -> Analysis:
    """Compute what the report needs."""
    slots = slots_of(view)
    sessions = [event["time"] for event in view.sessions]
    times = [event["time"] for event in view.events] + [stretch.stop for slot in slots for stretch in slot]
    planned = view.plan.resources.slots
    return Analysis(
        view=view,
        references=references_of(view),
        importance=importance.importance(view.trials, view.plan.search.distributions),
        slots=slots,
        use=timeline.slot_use(slots, sessions, planned, max(times, default=0.0)) if any(slots) else None,
    )


def references_of(view: View) -> list[Reference]:
    """The baselines that the last session computed in this metric, the trained one, then the space's own recipes."""
    summary, trained = view.summary or {}, view.compared
    rows = [row for row in summary.get("references", []) if isinstance(row, dict) and not row.get("params")]
    # Before a summary named its direction, the majority class had its accuracy here whatever the metric was.
    in_this_metric = "better" in summary or view.metric.name == "accuracy"
    baselines = [
        Reference(name=row["name"], validation=row.get("validation"), test=row.get("test"))
        for row in rows
        if in_this_metric and row.get("name") and not (trained and row["name"] == trained.name)
    ]
    baselines += [trained.row] if trained and not trained.problem else []
    return [*baselines, *references(view.trials, view.metric)]


def slots_of(view: View) -> list[list[Stretch]]:
    """The trainings of each slot, in the order of time."""
    begun = timeline.start_times(view.events)
    sessions = [event["time"] for event in view.sessions]
    losses: dict[tuple[Any, Any], list[float]] = {}
    for event in view.events:
        if event.get("event") == "lost":
            losses.setdefault((event.get("number"), event.get("seed")), []).append(event["time"])
    ran: list[Stretch] = []
    for confirms, trainings in ((False, view.trials), (True, view.confirmations)):
        for trial in trainings:
            running = view.status == RUNNING and trial.outcome == Outcome.RUNNING
            breaks = sorted([*sessions, *losses.get(trial.key, ())])
            ran += timeline.stretches(trial, begun.get((confirms, *trial.key)), breaks, running, view.now)
    return timeline.by_slot(ran)
