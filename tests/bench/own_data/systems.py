"""Runs one system on a user's own data, and asks the models that it had about the held-out rows."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import process, workloads
from tests.bench.job import Job, better_and_better, read_reports
from tests.bench.own_data import answers
from tests.bench.own_data.results import Point, Result
from tests.bench.own_data.rows import OwnData
from tests.bench.settings import AT_ONCE, MODULES, Settings
from tests.bench.workloads import RunFailedError

SCIKIT = ("T", "E")
"""Systems that have nothing to search and no luck: one run is all."""

DEFAULT = {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0, "weight_decay": 0.0}
"""The one training of D: as transformers' page on text classification has it, with `Trainer`'s linear decay."""

_GRACE = 600.0
"""Seconds after its time in which Frostline is not killed: a run that is late is told as late."""

_QUICK = 300.0
"""Seconds that a quick run may take until its few trials have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A run that is to be done."""

    system: str
    seed: int
    budget: float | None
    """Minutes that the system is told; None where it is told nothing."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.system}-{self.seed}" + ("" if self.budget is None else f"-{self.budget:g}m")


def planned(order: Sequence[tuple[int, str]], budgets: Sequence[float]) -> list[Planned]:
    """The runs in their order. Only Frostline has a run for each budget: the budget shapes its search.

    Args:
        order: seed and system.
        budgets: minutes.
    """
    return [
        Planned(system=system, seed=seed, budget=budget)
        for seed, system in order
        if not (system in SCIKIT and seed)
        for budget in (budgets if system == "F" else (None,))
    ]


def run(plan: Planned, data: OwnData, settings: Settings, folder: Path, where: tuple[str, ...], cores: int) -> Result:
    """Do a run, its folder empty before.

    Raises:
        RunFailedError: the system's process failed, or a quick run has no model.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    minutes = max(settings.budgets) if plan.budget is None else plan.budget
    allowed = max(60 * minutes, _QUICK if settings.quick else 0.0)
    usage, broken_off, job = _execute(plan, data, settings, folder, allowed, cores)
    if usage.code != 0 and not broken_off:
        tail = "\n".join((folder / "output.log").read_text(errors="replace").splitlines()[-25:])
        raise RunFailedError(f"{plan.name} ended with code {usage.code} after {usage.wall:.0f} s:\n{tail}")
    points, told = _models(plan, data, folder, job, usage)
    if settings.quick and not points:
        raise RunFailedError(f"{plan.name} has no model")
    for name in ("kept", "trainer", "train", "tune", "datasets", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return Result(
        system=plan.system,
        seed=plan.seed,
        budget=plan.budget,
        allowed=allowed,
        finished=not broken_off,
        wall=usage.wall,
        cpu=usage.cpu,
        memory=usage.memory,
        points=points,
        told=told,
        fingerprint=data.fingerprint,
        where=where,
    )


def command(plan: Planned, data: OwnData, folder: Path) -> list[str]:
    """Frostline's command, as a user types it."""
    given = {
        "--space": "bert_imdb",
        "--model": data.source,
        "--dataset": data.train,
        "--test": data.test,
        "--time-budget": f"{plan.budget:g}m",
        "--seed": str(plan.seed),
        "--wandb": "off",
        "--storage": str(folder / "runs"),
        "--name": "bench",
    }
    return [sys.executable, "search/run.py", *(word for option in given.items() for word in option)]


def job_of(plan: Planned, data: OwnData, settings: Settings, folder: Path, cores: int) -> Job:
    """What a peer gets."""
    several = plan.system in AT_ONCE
    train, validation, _ = data.sizes
    return Job(
        system=plan.system,
        search=plan.system != "D",
        data=data.tokens,
        model=data.model,
        source=data.source,
        table=data.train,
        train=train,
        validation=validation,
        length=data.length,
        epochs=settings.epochs,
        depths=(0, data.blocks),
        recipes=(DEFAULT,) if plan.system == "D" else (),
        trials=settings.trials,
        reduction_factor=settings.reduction_factor,
        first_rung=1.0,
        seed=plan.seed,
        concurrent=cores if several else 1,
        threads=1 if several else cores,
        prefix_cache=None,
        by_length=True,
        keep=True,
        scratch=str(folder),
    )


def _execute(
    plan: Planned, data: OwnData, settings: Settings, folder: Path, allowed: float, cores: int
) -> tuple[process.Usage, bool, Job | None]:
    """Start the system; returns what it used, and whether it was broken off."""
    if plan.system == "F":
        job, words, threads, ends = None, command(plan, data, folder), None, allowed + _GRACE
    else:
        job, ends = job_of(plan, data, settings, folder, cores), allowed
        words = [sys.executable, "-m", f"tests.bench.peers.{MODULES[plan.system]}", str(job.save())]
        threads = job.threads
    # Ray's Unix sockets live below its folder and their paths end at 107 characters, so it is short.
    temporary = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
    began, broken_off = time.monotonic(), False

    def over() -> bool:
        nonlocal broken_off
        # A simple model that is fitted in time may answer afterwards.
        broken_off = time.monotonic() - began > ends and not (folder / answers.FITTED).exists()
        return broken_off

    try:
        usage = process.measure(
            words,
            log=folder / "output.log",
            limit=ends + 3600,
            environment={**workloads.environment(str(folder), threads), "RAY_TMPDIR": temporary},
            until=over,
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if broken_off and plan.system == "F":
        raise RunFailedError(f"{plan.name} had not ended {_GRACE:.0f} s after its time")
    return usage, broken_off, job


def _models(
    plan: Planned, data: OwnData, folder: Path, job: Job | None, usage: process.Usage
) -> tuple[tuple[Point, ...], float | None]:
    """The models of a run that has ended, and the test accuracy that the system itself tells."""
    if job is None:
        summary = json.loads((folder / "runs" / "bench" / "summary.json").read_text())
        right = answers.of_export(folder / "runs" / "bench" / "best", data)
        best: dict[str, Any] = summary["best"]
        told = (summary["test"] or {}).get("accuracy")
        for name in ("trials", "confirm"):  # hundreds of megabytes; best/ stays
            shutil.rmtree(folder / "runs" / "bench" / name, ignore_errors=True)
        return (Point(seconds=usage.wall, validation=best["validation"], right=right),), told
    if plan.system in SCIKIT:
        fitted = answers.of_script(folder, data)
        if fitted is None:
            return (), None
        moment, right = fitted
        return (Point(seconds=moment - usage.began, validation=None, right=right),), None
    return tuple(
        Point(
            seconds=report.time - usage.began,
            validation=report.accuracy,
            right=answers.of_weights(job.kept(report.params, report.epoch), data),
        )
        for report in better_and_better(read_reports(job))
    ), None
