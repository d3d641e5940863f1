"""Lines, trials, a clock and a full disk made by hand, for tests that need no training."""

import dataclasses
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.lines import end_line, report_line
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import LOG, Job
from frostline.search.records.journal import Journal
from frostline.search.records.log import Log
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.spaces import Metric
from frostline.trainables._task import Measured
from tests.search.altered import altered
from tests.told import said

PARAMS = {"learning_rate": 1.25e-4, "batch_size": 8, "frozen_layers": 3, "weight_decay": 0.00866}


FRESH = 1_000_000
"""The first seed of a training that confirms a recipe, if the search has seed 0."""

METRIC = Metric(name="accuracy", unit="0 to 1", is_share=True)

AXES = Axes({"learning_rate": FloatDistribution(1e-5, 1e-3, log=True), "frozen_layers": IntDistribution(0, 7)})


def apart(number: int) -> dict[str, Any]:
    """Parameters of a recipe that is far away from those with the next numbers."""
    return {**PARAMS, "learning_rate": 1e-5 * 100 ** (number * 0.618 % 1), "frozen_layers": number * 5 % 8}


def line(number: int, outcome: Outcome, score: float | None = None, **more: Any) -> Line:
    """A report, or the end of a training, as the ledger writes it. An end without a score follows no report.

    Args:
        number: number of the trial.
        outcome: RUNNING for a report.
        score: accuracy and objective of the last report.
        more: fields that differ.
    """
    seed = more.pop("seed", 0)
    given = {"params": PARAMS, "label": "", "confirms": seed != 0, **_own(Job, more)}
    training = Job(number=number, seed=seed, **given)
    told = {"objective": score, "epoch": 1.0, "time": 0.0, "seconds": 12.0, **_own(Measured, more)}
    now, last = told.pop("time"), None
    if (objective := told.pop("objective")) is not None:
        last = report_line(training, said(told.pop("epoch"), objective, now, **told))
    if outcome == Outcome.RUNNING:
        assert last is not None
        return dataclasses.replace(last, **more)
    silent = 0.0 if last else told["seconds"]
    return dataclasses.replace(end_line(training, outcome, more.pop("reason", ""), last, silent, now), **more)


def _own(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of a type out of `fields`."""
    return {field.name: fields.pop(field.name) for field in dataclasses.fields(kind) if field.name in fields}


def trial(number: int, outcome: Outcome, *scores: float, reason: str = "", **more: Any) -> Trial:
    """A trial with a report an epoch, and the line of its end unless it is RUNNING."""
    lines = [
        line(number, Outcome.RUNNING, score, **{"epoch": float(epoch), "samples": 320 * epoch, **more})
        for epoch, score in enumerate(scores, start=1)
    ]
    if outcome != Outcome.RUNNING:
        last = {"epoch": float(len(scores)), "samples": 320 * len(scores)}
        lines.append(line(number, outcome, scores[-1] if scores else None, reason=reason, **{**last, **more}))
    return trial_records.collect(lines)[0]


def job(number: int, seed: int = 0, label: str = "", params: dict[str, Any] | None = None) -> Job:
    """A job; one with another seed than 0 confirms a trial."""
    return Job(number=number, seed=seed, params=params or PARAMS, label=label, confirms=seed != 0)


def edit(path: Path, old: str, new: str) -> None:
    """Change a record file as a person does, who removes the checksums."""
    path.write_text(re.sub(', "crc": "[0-9a-f]{8}"', "", path.read_text()).replace(old, new))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: the system writes a part, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def session(plan: Plan, clock: Clock) -> Ledger:
    """The ledger of a session that begins now; what another one held is left as a crash leaves it."""
    plan.place.run.mkdir(parents=True, exist_ok=True)
    journal = Journal(plan.place.run / LOG)
    journal.append({"event": "session", "time": clock(), "pid": 1, "host": "here"})
    journal.close()
    return Ledger(plan, Log(plan.place.run, clock), clock)


def with_budget(plan: Plan, **changes: Any) -> Plan:
    """The plan with another budget, and with other `slots` where they are given."""
    slots = changes.pop("slots", plan.resources.slots)
    budget = dataclasses.replace(plan.budget, **changes)
    return altered(plan, base=dataclasses.replace(plan.search.base, budget=budget), slots=slots)


def taken(ledger: Ledger) -> Job:
    """The next job, which there must be."""
    job = ledger.next()
    assert job is not None
    return job


def train(
    ledger: Ledger, clock: Clock, job: Job, *scores: float, outcome: Outcome | None = None, reason: str = ""
) -> Line:
    """A training from its slot to its end, 10 s an epoch; stopped where it reports fewer epochs than there are."""
    for epoch, score in enumerate(scores, start=1):
        clock.now += 10
        ledger.report(job, said(epoch, score, clock.now))
    complete = len(scores) == ledger.plan.budget.epochs
    ended = Outcome.COMPLETE if complete else Outcome.PRUNED if scores else Outcome.FAILED
    return ledger.end(job, outcome or ended, reason)


def confirm_all(ledger: Ledger, clock: Clock, scores: dict[int, tuple[float, ...]]) -> list[Job]:
    """The trainings with fresh seeds, one after another until the search is over.

    Args:
        ledger: of a search whose trials have ended.
        clock: goes on by 10 s an epoch.
        scores: those of a recipe's trainings in their order, by the number of its trial. They score it at every epoch.
    """
    jobs, left = list[Job](), {number: [*each] for number, each in scores.items()}
    while (job := ledger.next()) is not None:
        assert job.confirms
        jobs.append(job)
        train(ledger, clock, job, *[left[job.number].pop(0)] * ledger.plan.budget.epochs)
    assert ledger.finished
    return jobs


def summary(**changes: Any) -> dict[str, Any]:
    """A summary as `summary.json` has it: trial 5 won, confirmed with three seeds, tied with trial 2."""
    first = {"number": 5, "scores": (0.82, 0.84, 0.86), "mean": 0.84, "seconds": 31.2}
    first |= {"estimate": 0.835, "interval": (0.79, 0.88), "within": 0.0312, "chance": 0.62}
    second = {"number": 2, "scores": (0.81, 0.83, 0.85), "mean": 0.83, "seconds": 12.7}
    second |= {"estimate": 0.832, "interval": (0.78, 0.87), "within": 0.0312, "chance": 0.38}
    found: dict[str, Any] = {
        "metric": "accuracy",
        "better": "higher",
        "best": {
            "number": 5,
            "recipe": "sampled",
            "params": PARAMS,
            "seed": 3,
            "validation": 0.86,
            "found": 0.88,
            "epoch": 2.0,
        },
        "confirmed": [{**first, "failed": 0}, {**second, "failed": 0}],
        "tied": [2, 5],
        "test": {"accuracy": 0.8175, "loss": 0.4},
        "test_interval": (0.78, 0.855),
        "test_reads": 1,
        "optimism": 0.0425,
        "references": [
            {"name": "majority class", "validation": 0.5042, "test": 0.5, "first_rung": None},
            {"name": "linear probe", "validation": 0.65, "test": None, "first_rung": 0.6},
        ],
        "counts": {
            "complete": 4,
            "pruned": 7,
            "infeasible": 0,
            "out of time": 0,
            "interrupted": 0,
            "failed": 1,
            "running": 0,
        },
        "interrupted": False,
        "failure": "",
        "seconds": 384.0,
        "run": "runs/r",
        "load": "load('runs/r/best')",
    }
    return {**found, **changes}


NOTHING: dict[str, Any] = {
    "best": None,
    "confirmed": [],
    "tied": [],
    "test": None,
    "test_interval": None,
    "test_reads": 0,
    "optimism": None,
}
"""The fields of a summary without a winner."""
