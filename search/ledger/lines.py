"""The lines of a record, made from what a slot has measured and how a training ended. Pure functions."""

from __future__ import annotations

from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome
from frostline.trainables._task import Measured


def report_line(job: Job, measured: Measured) -> Line:
    """The line of a report."""
    return Line(
        number=job.number,
        outcome=Outcome.RUNNING,
        confirms=job.confirms,
        params=job.params,
        label=job.label,
        seed=job.seed,
        epoch=measured.epoch,
        samples=measured.samples,
        step=measured.step,
        objective=measured.objective,
        metrics=measured.metrics,
        seconds=measured.seconds,
        pid=measured.pid,
        time=measured.time,
        micro_batch=measured.micro_batch,
        device=measured.device,
        node=measured.node,
        partial=measured.partial,
        cached_layers=measured.cached_layers,
        spent=measured.spent,
    )


def end_line(job: Job, outcome: Outcome, reason: str, last: Line | None, silent: float, now: float) -> Line:
    """The line of an end, with the measurements of the last report.

    Args:
        job: the training.
        outcome: how it ended.
        reason: why, in words.
        last: its last report; None if it never reported.
        silent: seconds since its last report, or since it was given to its slot.
        now: seconds since 1970.
    """
    return Line(
        number=job.number,
        outcome=outcome,
        confirms=job.confirms,
        params=job.params,
        label=job.label,
        seed=job.seed,
        epoch=last.epoch if last else 0.0,
        samples=last.samples if last else 0,
        step=last.step if last else 0,
        objective=last.objective if last else None,
        metrics=last.metrics if last else {},
        seconds=(last.seconds if last else 0.0) + silent,
        pid=last.pid if last else 0,
        time=now,
        reason=reason,
        micro_batch=last.micro_batch if last else 0,
        device=last.device if last else "",
        node=last.node if last else "",
    )
