"""Books on a disk that is full: what is recorded is whole, and with room again the search ends as if nothing had been.

    python -m tests.bench.promises.full_disks FOLDER COUNT SEED

tries it on the file system of a folder, which should be a small one, and prints one JSON line for each failure.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frostline.trainables._atomic import DISK_FULL
from tests.bench.promises import books
from tests.bench.promises.rows import Failure, Row
from tests.bench.promises.warm import ROOT
from tests.search.altered import altered
from tests.search.ledger.test_ledger_crash import Driver
from tests.search.made import Clock, full_disk

_SIZE = "512k"


def tried(count: int, seed: int) -> Row:
    """Half of `count` disks are small file systems, which are full at a page's end; the others refuse at any byte."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        mount = f"mount -t tmpfs -o size={_SIZE} tmpfs {folder} && exec "
        words = f"{sys.executable} -m tests.bench.promises.full_disks {folder} {count // 2} {seed}"
        unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount + words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(unshare, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=True)
    failures = [Failure(**json.loads(line)) for line in done.stdout.splitlines()]
    with books.folder() as folder_in_memory:
        failures += _all(folder_in_memory, count - count // 2, seed, "limit")
    return Row(kind="full disks", tried=count, seconds=time.monotonic() - began, failures=failures)


def main() -> None:
    """Try it on the file system of a folder."""
    folder, count, seed = sys.argv[1:]
    for failure in _all(Path(folder), int(count), int(seed), "disk"):
        print(json.dumps({"name": failure.name, "problem": failure.problem}))


def _all(folder: Path, count: int, seed: int, kind: str) -> list[Failure]:
    undisturbed, failures = _undisturbed(folder), []
    for number in range(count):
        dice = random.Random(f"{seed} {kind} {number}")
        run = folder / f"{number}" / "run"
        run.mkdir(parents=True)
        try:
            problem = _problem(run, undisturbed, dice, kind)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}".replace("\n", " / ")
        subprocess.run(["rm", "-r", str(run.parent)], check=True)
        if problem:
            failures.append(Failure(name=f"full disk: {kind} {number}", problem=problem))
    return failures


def _undisturbed(folder: Path) -> dict[Any, Any]:
    run = folder / "undisturbed" / "run"
    run.mkdir(parents=True)
    plan = altered(books.plan_of(run))
    driver = Driver(plan, Clock(), lambda _: False)
    driver.search().close()
    known = books.ended(plan)
    subprocess.run(["rm", "-r", str(run.parent)], check=True)
    return known


def _problem(run: Path, undisturbed: dict[Any, Any], dice: random.Random, kind: str) -> str:
    plan = books.plan_of(run)
    (run / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    driver = Driver(plan, Clock(), lambda _: False)
    filled = _filled(run.parent, dice.randrange(0, 60_000)) if kind == "disk" else full_disk(dice.randrange(1, 9_000))
    with filled:
        try:
            driver.search()
        except OSError as error:
            if error.errno not in {*DISK_FULL, errno.EFBIG}:
                raise
    for name in books.JOURNALS:
        path = run / name
        if path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
            return f"{name} ends in half a line"
    driver.search().close()
    return "" if books.ended(plan) == undisturbed else "with room again it ends in another way"


@contextmanager
def _filled(folder: Path, left: int) -> Iterator[None]:
    """Fill the disk of a folder until `left` bytes are free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, file.tell() - left))
    try:
        yield
    finally:
        ballast.unlink()


if __name__ == "__main__":
    main()
