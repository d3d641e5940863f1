"""Frostline in the replay: its own ledger and rungs, driven without Ray, on a clock that is not the machine's."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Hashable
from pathlib import Path
from unittest import mock

from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan import budget as budgets
from frostline.search.plan import parameters
from frostline.search.plan.plan import Plan
from frostline.search.records.events import Job
from frostline.search.records.log import Log
from frostline.search.records.trials import Outcome
from frostline.search.tune.hooks import end_of
from frostline.spaces import Budget
from tests.bench.curves.replay import Claim, Method, Start
from tests.bench.curves.standin import Point, StandIn
from tests.search import runs
from tests.search.altered import altered
from tests.search.made import Clock
from tests.told import failed, said


def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Frostline with a time budget and the rungs that a full profile has."""
    return Frostline(stand_in, workers, budget_of(stand_in, seconds), seed)


def budget_of(stand_in: StandIn, seconds: float) -> Budget:
    """A time budget with the rungs that a full profile has."""
    return Budget(trials=None, seconds=seconds, epochs=int(stand_in.epochs[-1]), first_rung=0.125)


def whole(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
    """Frostline without rungs: every training runs to its end."""
    epochs = int(stand_in.epochs[-1])
    return Frostline(stand_in, workers, Budget(trials=None, seconds=seconds, epochs=epochs, first_rung=epochs), seed)


class Frostline:
    """A search by the product's own ledger."""

    _books: type[Ledger] = Ledger

    def __init__(self, stand_in: StandIn, workers: int, budget: Budget, seed: int) -> None:
        """Open its books in memory.

        Args:
            stand_in: has the space.
            workers: slots.
            budget: of the search.
            seed: of the search.
        """
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        run = Path(self._folder.name)
        self._clock, self._jobs, self._began = Clock(runs.BEGAN), dict[Hashable, Job](), dict[Hashable, float]()
        self._plan = plan = plan_of(run, stand_in, workers, budget, seed)
        self._metric = plan.search.metric
        with mock.patch("os.fsync"):
            self._ledger = self._books(plan, Log(run, self._clock), self._clock)
        self._rungs = Rungs(plan)
        self._changed, self._claim = False, None
        """Whether something has ended since the last claim, and that one."""

    def ask(self, now: float) -> Start | None:
        self._clock.now = runs.BEGAN + now
        with mock.patch("os.fsync"):
            job = self._ledger.next()
        if job is None:
            return None
        self._jobs[job.key], self._began[job.key] = job, now
        return Start(key=job.key, params=parameters.sampled(job.params), seed=job.seed)

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        self._clock.now = runs.BEGAN + now
        job, ledger = self._jobs[key], self._ledger
        with mock.patch("os.fsync"):
            if math.isnan(point.loss):
                ledger.end(job, *end_of(failed("loss is nan")))
                self._changed = True
                return False
            if point.epoch not in self._plan.schedule.report_at:
                return True
            message = said(
                point.epoch,
                point.accuracy,
                self._clock(),
                metrics={"accuracy": point.accuracy, "loss": point.loss, "train_loss": point.train_loss},
                samples=point.samples,
                step=point.step,
                partial=point.epoch < 1,
                final=last,
                seconds=now - self._began[key],
            )
            stops = last
            if not job.confirms:
                left_behind = self._rungs.stops(job.number, job.params, message)
                stops = left_behind or last or ledger.late(message)
            ledger.report(job, message)
            if stops:
                self._changed = True
                outcome, reason = end_of(message)
                late = outcome == Outcome.PRUNED and ledger.late(message)
                ledger.end(job, Outcome.OUT_OF_TIME if late else outcome, reason)
        return not stops

    def claim(self) -> Claim | None:
        if self._changed:
            self._changed, self._claim = False, self._claimed()
        return self._claim

    def _claimed(self) -> Claim | None:
        if rows := self._ledger.conclusions.confirmed():
            first = rows[0]
            return Claim(params=parameters.sampled(first.params), score=first.estimate, interval=first.interval)
        best = self._ledger.conclusions.winner()
        if best is None:
            return None
        return Claim(params=parameters.sampled(best[0].params), score=self._metric.value(best[0].objective))


def plan_of(run: Path, stand_in: StandIn, workers: int, budget: Budget, seed: int) -> Plan:
    """The plan of a search on a stand-in."""
    models = getattr(stand_in.space.get("model"), "choices", ("package:tiny_bert",))
    plan = runs.plan_of(run, models)
    data = dataclasses.replace(plan.search.base.data, train=stand_in.train, validation=stand_in.validation)
    return altered(
        plan,
        seed=seed,
        base=dataclasses.replace(plan.search.base, budget=budget, data=data),
        distributions=stand_in.space,
        recipes=dict(stand_in.literature),
        rungs=budgets.rungs(budget),
        report_at=budgets.report_points(budget),
        validate_on=budgets.validation_sizes(budget, stand_in.train, stand_in.validation),
        sizes={**plan.data.sizes, "train": stand_in.train, "validation": stand_in.validation},
        slots=workers,
        most=workers,
    )
