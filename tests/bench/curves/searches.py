"""Replays many searches in several processes and keeps a line of JSON for each.

What is there already is not replayed again, unless the recorded table is another one since. Seeds come before methods,
so that the methods can be compared at any time.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.curves.methods import METHODS
from tests.bench.curves.replay import WHOLE, Claim, Method, Start, replay, seconds_of
from tests.bench.curves.standin import Kind, Point, StandIn, load

NEAR, FAR = 0.5, 2.0
"""Points of regret that a time is taken for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One search to replay."""

    task: str
    tables: str
    """Folder of the recorded tables."""
    table: str
    """Beginning of the table's SHA-256."""
    stand_in: Kind
    """What its mean follows, see `standin.KINDS`."""
    workers: int
    method: str
    seed: int
    whole: int = WHOLE
    """Whole trainings that the search lasts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """One search that was replayed. Regrets are in points, times are shares of the search's time."""

    task: str
    table: str
    stand_in: str
    workers: int
    method: str
    seed: int
    regret: float
    within_far: float
    """Time until the regret was at most 2 points for good; infinity if it is not at the end."""
    within_near: float
    """The same of 0.5 points."""
    holds: bool | None
    """Whether the claim's interval holds the true score; None without an interval."""
    width: float | None
    """Half the interval's width."""
    trainings: int
    decision_ms: float
    """Of the processor, the method's alone, for each training that began."""
    seconds: float
    """Of the processor, for the whole replay."""
    whole: int = WHOLE
    """See `Job`."""

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Tells it from the others."""
        return (self.task, self.table, self.stand_in, self.workers, self.method, self.seed, self.whole)


def jobs(
    tasks: Sequence[str],
    tables: Path,
    stand_in: Kind,
    workers: Sequence[int],
    methods: Sequence[str],
    seeds: Sequence[int],
    whole: int = WHOLE,
) -> list[Job]:
    """All searches, seed by seed."""
    digests = {task: digest(tables, task) for task in tasks}
    return [
        Job(
            task=task,
            tables=str(tables),
            table=digests[task],
            stand_in=stand_in,
            workers=count,
            method=method,
            seed=seed,
            whole=whole,
        )
        for seed, task, count, method in itertools.product(seeds, tasks, workers, methods)
    ]


def digest(tables: Path, task: str) -> str:
    """Beginning of the SHA-256 of a recorded table."""
    return hashlib.sha256((tables / f"{task}.parquet").read_bytes()).hexdigest()[:12]


def run(wanted: Sequence[Job], out: Path, processes: int) -> Iterator[Searched]:
    """Replay what is not in the file yet; each search is appended to it when it is over."""
    there = {one.key for one in read(out)}
    keys = ("task", "table", "stand_in", "workers", "method", "seed", "whole")
    left = [job for job in wanted if tuple(getattr(job, key) for key in keys) not in there]
    out.parent.mkdir(parents=True, exist_ok=True)
    # One thread each: the processes share the cores.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with multiprocessing.get_context("spawn").Pool(processes) as pool, out.open("a") as lines:
        if there and not out.read_text().endswith("\n"):
            lines.write("\n")  # a line was broken off
        for done in pool.imap_unordered(search, left):
            lines.write(json.dumps(asdict(done)) + "\n")
            lines.flush()
            yield done


def read(path: Path) -> list[Searched]:
    """The searches of a file; of a line that was broken off, nothing."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines()
    return [Searched(**json.loads(line)) for line in lines if line.endswith("}")]


def search(job: Job) -> Searched:
    """Replay one search."""
    stand_in = _stand_in(job.task, job.tables, job.table, job.stand_in)
    seconds, timed = seconds_of(stand_in, job.workers, job.whole), list[_Timed]()

    def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
        timed.append(_Timed(METHODS[job.method].making()(stand_in, workers, seconds, seed)))
        return timed[0]

    METHODS[job.method].making()  # imports its library before the clock starts
    before = time.process_time()
    with warnings.catch_warnings():  # the libraries warn of each other's versions, in each decision
        warnings.simplefilter("ignore")
        replayed = replay(stand_in, making, job.workers, seconds, job.seed)
    return Searched(
        task=job.task,
        table=job.table,
        stand_in=job.stand_in,
        workers=job.workers,
        method=job.method,
        seed=job.seed,
        regret=replayed.regret,
        within_far=replayed.within(FAR) / seconds,
        within_near=replayed.within(NEAR) / seconds,
        holds=None if replayed.holds is None else bool(replayed.holds),
        width=replayed.width,
        trainings=replayed.trainings,
        decision_ms=1000 * timed[0].seconds / max(1, replayed.trainings),
        seconds=time.process_time() - before,
        whole=job.whole,
    )


@functools.cache
def _stand_in(task: str, tables: str, table: str, kind: Kind) -> StandIn:
    stand_in = load(task, Path(tables), kind)
    if digest(Path(tables), task) != table:
        raise ValueError(f"the table of {task} has changed since the replay began: start it again")
    return stand_in


class _Timed:
    """A method, with the seconds that it takes."""

    def __init__(self, method: Method) -> None:
        self._method, self.seconds = method, 0.0

    def ask(self, now: float) -> Start | None:
        before = time.process_time()
        try:
            return self._method.ask(now)
        finally:
            self.seconds += time.process_time() - before

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        before = time.process_time()
        try:
            return self._method.report(key, point, last, now)
        finally:
            self.seconds += time.process_time() - before

    def claim(self) -> Claim | None:
        before = time.process_time()
        try:
            return self._method.claim()
        finally:
            self.seconds += time.process_time() - before
