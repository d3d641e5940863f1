"""The workloads: which jobs the systems get, and what is read from what they leave."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench import process
from tests.bench.data import Prepared
from tests.bench.job import Job, Report, final_scores, improvements, read_reports
from tests.bench.settings import AT_ONCE, BY_LENGTH, MODULES, ON_RAY, Settings, fixed_recipes, order, spread
from tests.bench.table import Run

MARGIN = 0.003
"""Accuracy below the best random trial that a search has to reach."""

LITERATURE = (
    {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0, "weight_decay": 0.01},
    {"learning_rate": 1e-3, "batch_size": 16, "frozen_layers": -1, "weight_decay": 0.01},
)
"""The recipes that Frostline tries first in every search, as `spaces/bert_imdb.py` has it; -1 stands for all blocks."""

Say = Callable[[str], None]


class RunFailedError(Exception):
    """A system failed, or left less than it was asked for."""


class Bench:
    """Runs jobs."""

    def __init__(self, settings: Settings, prepared: Prepared, say: Say) -> None:
        self.settings, self.prepared, self._say = settings, prepared, say
        self.cores = len(os.sched_getaffinity(0))

    def job(self, system: str, name: str, **changes: Any) -> Job:
        """A job for a system, its scratch folder empty."""
        settings, prepared = self.settings, self.prepared
        scratch = settings.out / settings.workload / name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        several = system in AT_ONCE
        fields: dict[str, Any] = {
            "system": system,
            "search": False,
            "data": str(prepared.tokens),
            "model": str(prepared.model),
            "source": prepared.source,
            "table": prepared.table,
            "train": settings.train,
            "validation": settings.validation,
            "length": settings.length,
            "epochs": settings.epochs,
            "depths": (0, prepared.blocks),
            "recipes": (),
            "reduction_factor": settings.reduction_factor,
            "first_rung": min(settings.first_rung, float(settings.epochs)),
            "seed": 0,
            "concurrent": self.cores if several else 1,
            "threads": 1 if several else self.cores,
            "prefix_cache": None,
            "by_length": system in BY_LENGTH,
            "keep": False,
            "scratch": str(scratch),
            **changes,
        }
        return Job(**{"trials": len(fields["recipes"]), **fields})

    def run(self, job: Job, until: Callable[[list[Report]], bool] | None = None) -> process.Usage:
        """Run a job to its end, or until its reports are enough.

        Raises:
            RunFailedError: the system's process failed; the error shows its last lines.
        """
        scratch = Path(job.scratch)
        # Every run starts with the tokens and nothing else in the cache: no prefix is there already.
        shutil.copytree(self.prepared.cache, scratch / "cache", dirs_exist_ok=True)
        # Ray's Unix sockets live below its folder and their paths end at 107 characters, so it is short.
        temporary = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
        self._say(f"{scratch.name} ...")
        log = scratch / "output.log"
        enough = False

        def ask() -> bool:
            nonlocal enough
            enough = enough or (until is not None and until(read_reports(job)))
            return enough

        usage = process.measure(
            [sys.executable, "-m", f"tests.bench.peers.{MODULES[job.system]}", str(job.save())],
            log=log,
            limit=self.settings.limit,
            environment={**environment(job.scratch, job.threads), "RAY_TMPDIR": temporary},
            until=ask,
        )
        for folder in (scratch / "cache", Path(temporary)):
            shutil.rmtree(folder, ignore_errors=True)
        if usage.code != 0 and not enough:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise RunFailedError(f"{scratch.name} ended with code {usage.code} after {usage.wall:.0f} s:\n{tail}")
        self._say(
            f"{scratch.name}: {usage.wall:.1f} s, {usage.cpu:.1f} CPU s "
            f"({usage.waited_cpu:.1f} waited for, {usage.seen_cpu:.1f} seen), {usage.memory / 1e6:.0f} MB"
        )
        return usage


def environment(scratch: str, threads: int | None) -> dict[str, str]:
    """Settings of the machine, not of a system: no network, threads (None: as they are), where things are written."""
    return {
        **({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_CACHE": f"{scratch}/datasets",
        "FROSTLINE_CACHE": f"{scratch}/cache",
        # Under `uv run` Ray would build a second environment for its workers.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # else a token is written to the home folder
    }


def fixed(bench: Bench) -> tuple[list[Run], list[RunFailedError]]:
    """The same recipes on every system, to their end."""
    depths = (0, bench.prepared.blocks - 1)
    recipes = fixed_recipes(bench.settings.recipes, depths)
    some = spread(recipes, bench.settings.peer_recipes or len(recipes))

    def one(system: str, name: str, seed: int) -> Run:
        return _fixed(bench, system, name, seed, recipes, depths, None if system == "F" else some)

    return _all(bench, one)


def probe(bench: Bench) -> tuple[list[Run], list[RunFailedError]]:
    """Linear probes with and without Frostline's prefix cache."""
    depths = (bench.prepared.blocks, bench.prepared.blocks)
    recipes = fixed_recipes(bench.settings.recipes, depths)
    return _all(bench, lambda system, name, seed: _fixed(bench, system, name, seed, recipes, depths))


def gpu(bench: Bench) -> tuple[list[Run], list[RunFailedError]]:
    """One trial with the whole device: the seconds of its last epoch, when all is warm and compiled."""
    recipes = ({**LITERATURE[0], "batch_size": 32},)

    def one(system: str, name: str, seed: int) -> Run:
        job = bench.job(system, name, recipes=recipes, seed=seed, concurrent=1, threads=bench.cores)
        usage = bench.run(job)
        times = [report.time for report in read_reports(job)]
        if len(times) < 2:
            raise RunFailedError(f"{name} told {len(times)} scores, two epochs at least are needed")
        return _run(system, seed, usage, per_epoch=times[-1] - times[-2])

    return _all(bench, one)


def target(bench: Bench) -> tuple[list[Run], list[RunFailedError]]:
    """Time until a search reports a score that 16 full random trials would hardly beat."""
    depths = (0, bench.prepared.blocks)
    recipes = fixed_recipes(bench.settings.recipes, depths)
    job = bench.job("F", "bar", recipes=recipes, depths=depths)
    bench.run(job)
    bar = max(report.accuracy for report in read_reports(job)) - MARGIN
    bench._say(f"best of {len(recipes)} random trials minus {MARGIN}: {bar:.4f}")
    first = tuple(
        {**recipe, "frozen_layers": bench.prepared.blocks if recipe["frozen_layers"] < 0 else recipe["frozen_layers"]}
        for recipe in LITERATURE
    )

    def one(system: str, name: str, seed: int) -> Run:
        job = bench.job(
            system,
            name,
            search=True,
            recipes=first if system == "F" else (),  # the others come without any
            trials=bench.settings.trials,
            seed=seed + 1,
        )
        # A search that takes longer has not got there, but it has not failed.
        ends = time.monotonic() + bench.settings.limit
        usage = bench.run(
            job,
            until=lambda reports: time.monotonic() > ends or any(report.accuracy >= bar for report in reports),
        )
        return _run(system, seed, usage, target=bar, best=improvements(read_reports(job), usage.began))

    return _all(bench, one)


def _fixed(
    bench: Bench,
    system: str,
    name: str,
    seed: int,
    recipes: tuple[dict[str, Any], ...],
    depths: tuple[int, int],
    numbers: Collection[int] | None = None,
) -> Run:
    """One run over the recipes, or over those with these numbers."""
    cache = "off" if system == "FN" else None
    numbers = range(len(recipes)) if numbers is None else numbers
    given = tuple(recipes[number] for number in numbers)
    job = bench.job(system, name, recipes=given, depths=depths, seed=seed, prefix_cache=cache)
    usage = bench.run(job)
    reports = read_reports(job)
    try:
        scores = dict(zip(numbers, final_scores(job, reports), strict=True))
    except ValueError as error:
        raise RunFailedError(f"{name}: {error}") from error
    took = {report.trial: report.seconds for report in reports}  # at its last report
    return _run(
        system,
        seed,
        usage,
        times=len(recipes) / len(given),
        scores=tuple(scores.get(number) for number in range(len(recipes))),
        per_trial=statistics.median(took.values()),
    )


def _run(system: str, repeat: int, usage: process.Usage, times: float = 1.0, **more: Any) -> Run:
    return Run(
        system=system, repeat=repeat, wall=times * usage.wall, cpu=times * usage.cpu, memory=usage.memory, **more
    )


def _all(bench: Bench, one: Callable[[str, str, int], Run]) -> tuple[list[Run], list[RunFailedError]]:
    """Every run in its order; a system that fails does not end the others."""

    def attempt(number: int, system: str) -> Run | RunFailedError:
        try:
            return one(system, f"{number}-{system}", number)
        except RunFailedError as error:
            bench._say(str(error))
            return error

    runs = order(bench.settings.peers, bench.settings.repeat)
    # The quick times are not looked at, so there the others run beside those on Ray: two of its instances on a machine
    # get into each other's way.
    lanes = [[run for run in runs if (run[1] in ON_RAY) == on_ray] for on_ray in (True, False)]
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda lane: [attempt(*run) for run in lane], lanes if bench.settings.quick else [runs])
        found = [result for lane in done for result in lane]
    return [run for run in found if isinstance(run, Run)], [run for run in found if isinstance(run, RunFailedError)]
