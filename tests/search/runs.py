"""Run directories written by the ledger, for tests that only read."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.cluster import capacity
from frostline.search.ledger.ledger import Ledger
from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.models import ModelPlan
from frostline.search.plan.plan import Place, Plan, Resources, Schedule, Search, Slices
from frostline.search.plan.wandb_mode import WandbMode
from frostline.search.records.events import Job
from frostline.search.records.log import hold
from frostline.search.report import summary as summaries
from frostline.search.report.references import Reference, references
from frostline.search.tune.hooks import end_of
from frostline.spaces import Budget, Data, Recipe
from tests.search.altered import altered
from tests.search.made import METRIC, Clock
from tests.told import failed, said

BEGAN = 1_795_000_000.0
"""When the searches here began, seconds since 1970."""
_POINTS = (0.5, 1.0, 2.0, 3.0)
_START = 9.0
"""Seconds until the first trial has its slot."""


def plan_of(run: Path, models: Sequence[str] = ("package:tiny_bert",), **changes: Any) -> Plan:
    """The plan of a search over learning rate, batch size, depth and weight decay, and over models if there are more
    than one."""
    several = len(models) > 1
    budget = Budget(trials=12, epochs=3, first_rung=0.5, confirm_recipes=2, confirm_seeds=3)
    data = Data(source="reviews.csv", train=800, validation=400, test=500, most=5000)
    spaces: dict[str, BaseDistribution] = {
        **({"model": CategoricalDistribution(tuple(models))} if several else {}),
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((8, 16, 32)),
        **({"frozen_fraction": FloatDistribution(0, 1)} if several else {"frozen_layers": IntDistribution(0, 7)}),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
    }
    nothing = prefix_plan.Decision(kept=(), first_only=(), bytes=0, spent=0.0, saved=0.0)
    planned = {
        name: ModelPlan(
            blocks=7,
            parameters=22_700_000 * (at + 1),
            weights=f"{at:064x}",
            inputs="at most 128 tokens",
            cache_dtype="float32",
            prefix=nothing,
        )
        for at, name in enumerate(models)
    }
    plan = Plan(
        search=Search(
            space="bert_imdb",
            profile="small",
            profile_reason="as asked",
            metric=METRIC,
            seed=0,
            base=Recipe(
                family="text_classification",
                model=models[0],
                data=data,
                budget=budget,
                learning_rate=2e-5,
                batch_size=16,
                frozen_layers=0,
                weight_decay=0.01,
            ),
            distributions=spaces,
            recipes={},
            models=planned,
            prefer="cheapest",
        ),
        data=Slices(
            sizes={"train": 800, "validation": 400, "test": 500},
            classes=("negative", "positive"),
            duplicates=0,
            remarks=(),
            fingerprint="f" * 64,
        ),
        schedule=Schedule(rungs=(0.5, 1.0, 2.0), report_at=_POINTS, validate_on=(200, 400, 400, 400)),
        resources=Resources(
            need=capacity.Need(cpus=1.0, gpus=0.0, memory=1.7e9),
            slots=2,
            most=2,
            slots_reason="min(2 CPU / 1) = 2",
            cache_limit=0,
            disk=1_000_000,
            retries=2,
            checkpoint_every=30.0,
        ),
        place=Place(run=run),
        wandb=WandbMode(mode="off", reason="no key is configured"),
    )
    return altered(plan, **changes)


def first_of(plan: Plan) -> dict[str, Any]:
    """The first choice or the lower end of each parameter."""
    distributions: dict[str, Any] = plan.search.distributions
    return {
        name: distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low
        for name, distribution in distributions.items()
    }


def write(
    run: Path,
    count: int = 12,
    *,
    plan: Plan | None = None,
    end: str = "finished",
    label: str = "default",
    fails: bool = True,
    seed: int = 0,
) -> Plan:
    """A search of `count` trials through the ledger; the score depends on the learning rate most, on depth a little.

    Args:
        run: the run directory to make.
        count: trials.
        plan: plan of the search.
        end: `finished`, with confirmation, test and summary; `interrupted`; or `running` in this very process.
        label: label of the first trial.
        fails: whether every 7th trial fails and every 23rd does not fit.
        seed: seed of all numbers.
    """
    plan = plan or plan_of(run)
    budget = dataclasses.replace(plan.budget, trials=max(1, count))
    recipes = {label: first_of(plan)}
    plan = altered(plan, base=dataclasses.replace(plan.search.base, budget=budget), recipes=recipes)
    run.mkdir(parents=True)
    (run / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    clock = Clock(BEGAN)
    with _quick(clock, count), hold(run, "frostline", clock) as log:
        search = _Search(plan, Ledger(plan, log, clock), clock, count, end, fails, random.Random(seed))
        search.run()
        search.conclude()
    return plan


@contextmanager
def _quick(clock: Clock, count: int) -> Iterator[None]:
    """Without waiting for the disk at each of 24,000 lines, and without a model of 2,000 trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", clock)  # of the log
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr("frostline.search.ledger.study.startup_trials", lambda planned, recipes: max(1, count))
        yield


@dataclasses.dataclass
class _Search:
    """Two slots that train what the ledger gives them, on a clock that jumps from one report to the next."""

    plan: Plan
    ledger: Ledger
    clock: Clock
    count: int
    end: str
    fails: bool
    dice: random.Random
    seen: dict[float, list[float]] = dataclasses.field(default_factory=dict)
    """Scores so far at each report point, in the order in which they came."""

    def run(self) -> None:
        """Until every slot is idle. The last trial of a search that does not finish stays where it is."""
        upcoming = [(BEGAN + _START, 0, None), (BEGAN + _START + 0.2, 1, None)]
        idle: list[int] = []
        while upcoming:
            upcoming.sort(key=lambda event: event[:2])
            self.clock.now, slot, steps = upcoming.pop(0)
            steps = steps or self._next(slot)
            if steps is None:
                idle.append(slot)
                continue
            wait = next(steps, None)
            if wait is not None:
                upcoming.append((self.clock.now + wait, slot, steps))
                continue
            upcoming += [(self.clock.now + 0.1, free, None) for free in (slot, *idle)]
            idle.clear()

    def _next(self, slot: int) -> Iterator[float] | None:
        if self.end != "finished" and len(self.ledger.trials) >= self.count:
            return None
        job = self.ledger.next() if self.count else None
        if job is None:
            return None
        return self._trained(job, slot)

    def _trained(self, job: Job, slot: int) -> Iterator[float]:
        """Trains one job; yields the seconds until its next report."""
        depth, began, metric = job.params["frozen_layers"], self.clock.now, self.plan.search.metric
        epoch_seconds = 6.0 - 0.6 * depth + self.dice.random()
        good = 0.93 - 0.08 * (math.log10(job.params["learning_rate"]) + 3.5) ** 2 - 0.012 * depth
        fails = self.fails and not job.confirms
        if fails and job.number % 23 == 22:
            yield 1.0
            reason = "out of memory at step 0 with a micro-batch of 1"
            self.ledger.end(job, *end_of(failed(reason, infeasible=True)))
            return
        for epoch in _POINTS:
            yield max(0.0, began + 0.4 + epoch_seconds * epoch - self.clock.now)
            if fails and job.number % 7 == 6 and epoch > 0.5:
                self.ledger.end(job, *end_of(failed("loss is nan at step 60, learning rate 0.01")))
                return
            score = round(min(0.99, max(0.5, good - 0.25 / (1 + 3 * epoch) + self.dice.gauss(0, 0.012))), 4)
            measured = said(
                epoch,
                score,
                self.clock.now,
                pid=100 + slot,
                device="cpu",
                final=epoch == 3,
                partial=epoch < 1,
                seconds=self.clock.now - began,
                samples=int(800 * epoch),
                step=int(50 * epoch),
            )
            objective = metric.objective(measured.metrics[metric.name])
            measured = dataclasses.replace(measured, objective=objective)
            self.ledger.report(job, measured)
            if self.end != "finished" and job.number == self.count - 1 and epoch == 1.0:
                return  # it stays open
            scores = self.seen.setdefault(epoch, [])
            scores.append(score)
            behind = len(scores) > 3 and score < sorted(scores)[len(scores) // 2]
            if not job.confirms and epoch < 3 and not (fails and job.number % 7 == 6) and behind:
                self.ledger.end(job, *end_of(measured))
                return
        self.ledger.end(job, *end_of(measured))

    def conclude(self) -> None:
        """What the tuner does after the last training."""
        if self.end == "interrupted":
            self.ledger.abandon()
        won = self.ledger.conclusions.winner()
        if self.end == "finished" and won:
            line = won[0].best
            assert line is not None
            score = round(line.metrics["accuracy"] - 0.02, 4)
            metrics = {"accuracy": score, "loss": 1 - score}
            value = metrics[self.plan.search.metric.name]
            self.clock.now += 3
            measured = {"metrics": metrics, "interval": [value - 0.03, value + 0.03]}
            self.ledger.conclusions.add_test(*won, measured)
        self.ledger.close()
        if self.end != "running":
            rows = [Reference(name="majority class", validation=0.5, test=0.51)]
            rows += references(self.ledger.trials, self.plan.search.metric)
            family: Any = SimpleNamespace(load_line=lambda _: "load")
            found = summaries.summary(self.plan, family, self.ledger, rows, self.end == "interrupted")
            (self.plan.place.run / "summary.json").write_text(summaries.dump(found), encoding="utf-8")
