"""Records trainings, so that searches can be replayed on them.

    uv run python -m tests.bench.curves record --task bert_imdb --processes 2
    uv run python -m tests.bench.curves record --seconds 3600        # every task, for an hour each
    uv run python -m tests.bench.curves table                        # what is recorded, as Parquet beside this file

`record` can be broken off and started again at any time; it goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from pathlib import Path

from tests.bench.curves.tasks import TASKS
from tests.bench.curves.work import record

TABLES = Path(__file__).parent / "tables"
"""The recorded tables that are checked in, one file for each task."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("doing", choices=("record", "table"))
    parser.add_argument("--task", action="append", choices=list(TASKS), help="may be given again; default: all")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=math.inf, help="for each task; a training is not broken off")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/curves"), help="folder of the trainings")
    given = parser.parse_args()
    for name in given.task or TASKS:
        if given.doing == "table":
            _write_table(name, given.out / name)
            continue
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=record, args=(name, given.out / name, given.seconds)) for _ in range(given.processes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            return 1
    return 0


def _write_table(name: str, folder: Path) -> None:
    from pyarrow import parquet

    from tests.bench.curves.record import table

    if not any(folder.glob("*-*-*.json")):
        return
    rows = table(TASKS[name], folder)
    TABLES.mkdir(exist_ok=True)
    parquet.write_table(rows, TABLES / f"{name}.parquet", compression="zstd")
    trainings = len({*zip(*(rows[key].to_pylist() for key in ("origin", "number", "seed")), strict=True)})
    print(f"{name}: {trainings} trainings, {len(rows)} reports, {(TABLES / f'{name}.parquet').stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
