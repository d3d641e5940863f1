"""Records trainings, and replays searches on them without training.

    uv run python -m tests.bench.curves record --task bert_imdb --processes 2
    uv run python -m tests.bench.curves record --seconds 3600        # every task, for an hour each
    uv run python -m tests.bench.curves table                        # what is recorded, as Parquet beside this file
    uv run python -m tests.bench.curves left-out                     # how good the stand-ins are
    uv run python -m tests.bench.curves replay --task bert_imdb --workers 1,4 --out runs/bench/replay.jsonl
    uv run python -m tests.bench.curves summary runs/bench/replay.jsonl

`record` and `replay` can be broken off and started again at any time; they go on where they were. `record` goes on from
the tables, too: what they have is not trained again, and `table` adds to them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from pathlib import Path

TABLES = Path(__file__).parent / "tables"
"""The recorded tables that are checked in, one file for each task."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True, metavar="record | table | left-out | replay | summary")
    for name, doing in (
        ("record", _record),
        ("table", _table),
        ("left-out", _left_out),
        ("replay", _replay),
        ("summary", _summary),
    ):
        part = parts.add_parser(name)
        part.set_defaults(doing=doing, part=part)
        if name == "summary":
            part.add_argument("results", type=Path, nargs="+", help="files that `replay` wrote")
            part.add_argument("--against", help="method that the others are divided by, besides random search")
            continue
        part.add_argument("--task", action="append", help="may be given again; default: all")
        part.add_argument("--tables", type=Path, default=TABLES, help="folder of the recorded tables")
        if name != "table":
            part.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
        if name == "replay":
            part.add_argument("--workers", default="1,4,16,64", help="numbers of trainings at once, with commas")
            part.add_argument("--searches", type=int, default=100, help="seeds, from 0 on")
            part.add_argument("--whole", type=int, default=25, help="whole trainings that a search lasts")
            part.add_argument("--methods", default="", help="names, with commas; default: all that are installed")
            part.add_argument("--stand-in", choices=("both", "forest", "process", "nearest"), default="both")
            part.add_argument("--out", type=Path, default=Path("runs/bench/replay.jsonl"))
            continue
        part.add_argument("--out", type=Path, default=Path("runs/bench/curves"), help="folder of the trainings")
        if name == "record":
            part.add_argument("--seconds", type=float, default=math.inf, help="for each task; trainings are ended")
    given = parser.parse_args()
    status: int = given.doing(given)
    return status


def _record(given: argparse.Namespace) -> int:
    from tests.bench.curves.work import record

    for name in _tasks(given):
        context = multiprocessing.get_context("spawn")
        what = (name, given.out / name, given.tables / f"{name}.parquet", given.seconds)
        workers = [context.Process(target=record, args=what) for _ in range(given.processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            return 1
    return 0


def _table(given: argparse.Namespace) -> int:
    from pyarrow import parquet

    from frostline.trainables import _atomic
    from tests.bench.curves.record import table
    from tests.bench.curves.tasks import TASKS

    for name in _tasks(given):
        folder, path = given.out / name, given.tables / f"{name}.parquet"
        if not path.exists() and not any(folder.glob("*-*-*.json")):
            continue
        rows = table(TASKS[name], folder, path)
        given.tables.mkdir(parents=True, exist_ok=True)
        with _atomic.writing(path) as file:
            parquet.write_table(rows, file, compression="zstd", compression_level=19)
        trainings = len({*zip(*(rows[key].to_pylist() for key in ("origin", "number", "seed")), strict=True)})
        print(f"{name}: {trainings} trainings, {len(rows)} reports, {path.stat().st_size:,} bytes")
    return 0


def _tasks(given: argparse.Namespace) -> list[str]:
    """The tasks to record."""
    from tests.bench.curves.tasks import TASKS

    for name in given.task or ():
        if name not in TASKS:
            given.part.error(f"no task {name}; there are {', '.join(TASKS)}")
    return given.task or list(TASKS)


def _left_out(given: argparse.Namespace) -> int:
    from tests.bench.curves.standin import KINDS, left_out

    for name in given.task or sorted(path.stem for path in given.tables.glob("*.parquet")):
        wrong = {kind: left_out(name, given.tables, kind) for kind in KINDS}
        known = ", ".join(f"{kind} {error:.1f}" for kind, (error, _) in wrong.items())
        luck = next(iter(wrong.values()))[1]
        print(f"{name}: points away from recipes left out: {known}; luck explains {luck:.1f}", flush=True)
    return 0


def _replay(given: argparse.Namespace) -> int:
    from tests.bench.curves.methods import METHODS
    from tests.bench.curves.searches import jobs, run

    recorded = sorted(path.stem for path in given.tables.glob("*.parquet"))
    methods = given.methods.split(",") if given.methods else list(METHODS)
    for kind, names, known in (("task", given.task or (), recorded), ("method", methods, METHODS)):
        for name in names:
            if name not in known:
                given.part.error(f"no {kind} {name}; there are {', '.join(known)}")
    for name in methods:
        if package := METHODS[name].missing():
            print(f"{name} is left out: {package} is not installed here", flush=True)
    wanted = jobs(
        given.task or recorded,
        given.tables,
        given.stand_in,
        [int(count) for count in given.workers.split(",")],
        [name for name in methods if not METHODS[name].missing()],
        range(given.searches),
        given.whole,
    )
    done = sum(1 for _ in run(wanted, given.out, given.processes))
    print(f"{done} searches replayed, {len(wanted) - done} were there: {given.out}")
    return 0


def _summary(given: argparse.Namespace) -> int:
    from tests.bench.curves.searches import read
    from tests.bench.curves.summary import tables

    print(tables([one for path in given.results for one in read(path)], given.against), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
