"""The promises, tried many times, as one table.

    python -m tests.bench.promises
    python -m tests.bench.promises --only "damaged lines" --seed 3
    python -m tests.bench.promises --only "wrong inputs" --match "config: hidden"
    python -m tests.bench.promises --full --out promises.md

Every failure is printed with a name. `--match` tries those wrong inputs again whose name has these words. Exit code 1
where something failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.promises import clocks, crashes, damage, full_disks, fuzz, kills, rows, wrong_inputs
from tests.bench.promises.rows import Row


def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    done, failed = [], False
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FROSTLINE_CACHE"] = cache
        for name in arguments.only or KINDS:
            row = KINDS[name](arguments)
            for failure in row.failures:
                print(failure)
            print(rows.table([row]), flush=True)
            done.append(row)
            failed = failed or bool(row.failures)
    text = f"{_where()}\n\n{rows.table(done)}\n"
    print(f"\n{text}", end="")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", action="append", choices=list(KINDS), help="one kind; may be given several times")
    add(
        "--match",
        action="append",
        default=[],
        help="wrong inputs and fuzz with these words in their names; again for others",
    )
    add("--seed", type=int, default=0)
    add("--full", action="store_true", help="every cut, 100,000 fuzzed inputs, three kills of each process; hours")
    add("--tries", type=int, help="another number of tries, for each kind but wrong inputs and kills")
    add("--out", type=Path, help="a file for the table")
    return parser


def _where() -> str:
    """Date, commit and command."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{today}, commit {commit or 'unknown'}: python -m tests.bench.promises {' '.join(sys.argv[1:])}"


def _wrong_inputs(arguments: argparse.Namespace) -> Row:
    words = arguments.match or [""]
    return wrong_inputs.tried([case for case in wrong_inputs.cases() if any(word in case.name for word in words)])


def _count(arguments: argparse.Namespace, usual: int, full: int | None) -> int | None:
    """How many tries; None for every one that there is."""
    return arguments.tries or (full if arguments.full else usual)


KINDS: dict[str, Callable[[argparse.Namespace], Row]] = {
    "wrong inputs": _wrong_inputs,
    "crashes": lambda given: crashes.tried(_count(given, 500, None), given.seed),
    "cuts": lambda given: damage.cuts(_count(given, 500, None), given.seed),
    "damaged lines": lambda given: damage.lines(_count(given, 500, 20_000) or 0, given.seed),
    "full disks": lambda given: full_disks.tried(_count(given, 100, 1_000) or 0, given.seed),
    "clock jumps": lambda given: clocks.tried(_count(given, 50, 500) or 0, given.seed),
    "fuzz": lambda given: fuzz.tried(_count(given, 5_000, 100_000) or 0, given.seed, given.match),
    "kills": lambda given: kills.tried(3 if given.full else 1, given.seed),
}
"""Kind -> what tries it. `--full` tries more."""


if __name__ == "__main__":
    sys.exit(main())
