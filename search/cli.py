"""Arguments and messages. Imports the standard library only: `--help` and errors must not wait for torch."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spaces

if TYPE_CHECKING:
    from rich.console import Console

    from search.plan import Options

OK, DISK_FULL, USER_ERROR, NO_TRIAL_SUCCEEDED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 success, 2 a user's mistake, 3 no trial succeeded)."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.list:
            return _list()
        if arguments.space is None:
            raise ValueError(f"--space is missing; spaces are {', '.join(spaces.names())}")
        spaces.load(arguments.space)
        return _run(arguments)
    except ValueError as error:
        print(f"frostline: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("frostline: interrupted before the first trial", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise  # ours, not the disk's
        print(f"frostline: {error}", file=sys.stderr)
        return DISK_FULL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="frostline", description="Search for the best way to fine-tune a pretrained model on your data."
    )
    add = parser.add_argument
    add("--space", metavar="NAME", help="what to search: a file in spaces/")
    add("--list", action="store_true", help="show the spaces, one line each, and stop")
    add("--profile", choices=("auto", "small", "full"), default="auto", help="auto: full where there is a GPU")
    add("--model", metavar="NAME|FOLDER", help="another pretrained model: a hub name or a folder")
    add("--dataset", metavar="NAME|PATH", help="another data set: a hub name, a folder, a CSV, Parquet or JSONL file")
    add("--columns", metavar="TEXT,LABEL", help="names of its columns (default: text,label)")
    add("--trials", type=int, metavar="N", help="recipes to try")
    add("--epochs", type=int, metavar="N", help="epochs of a trial that is never stopped")
    add("--seed", type=int, default=0, metavar="N", help="of the sampler and the trials (default: 0)")
    add("--concurrent", type=int, metavar="N", help="trials at once, at most (default: as many as fit)")
    add("--cpus-per-trial", type=float, metavar="X", help="CPU cores of a trial")
    add("--gpus-per-trial", type=float, metavar="X", help="GPUs of a trial; may be a fraction")
    add("--address", metavar="HOST:PORT", help="Ray cluster to run on (default: RAY_ADDRESS, else this machine)")
    add("--storage", type=Path, default=Path("runs"), metavar="FOLDER", help="where run directories go (default: runs)")
    add("--name", help="of the run directory (default: the space and the UTC time)")
    add("--dry-run", action="store_true", help="print the plan and start nothing")
    add("--json", action="store_true", help="the result as JSON on stdout; progress goes to stderr")
    return parser


def _list() -> int:
    for name in spaces.names():
        print(f"{name:20} {spaces.load(name).summary}")
    return OK


def _options(arguments: argparse.Namespace) -> Options:
    import os

    from search.plan import Options

    columns = None
    if arguments.columns is not None:
        names = arguments.columns.split(",")
        if len(names) != 2 or not all(names):
            raise ValueError(f"--columns is two names with a comma between, got {arguments.columns!r}")
        columns = (names[0], names[1])
    return Options(
        space=arguments.space,
        profile=arguments.profile,
        model=arguments.model,
        dataset=arguments.dataset,
        columns=columns,
        trials=arguments.trials,
        epochs=arguments.epochs,
        concurrent=arguments.concurrent,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=arguments.gpus_per_trial,
        seed=arguments.seed,
        storage=arguments.storage,
        name=arguments.name,
        address=arguments.address or os.environ.get("RAY_ADDRESS") or None,
    )


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search import plan as planning
    from search import report

    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    plan, corpus = planning.resolve(_options(arguments))
    if arguments.dry_run:
        for label, text in report.plan_lines(plan):
            console.print(f"{label + ':':13}{text}", markup=False)
        return OK
    planning.claim(plan)
    console.print(f"Profile {plan.profile}: {plan.profile_reason}.", markup=False)
    console.print(
        f"{plan.base.budget.trials} trials, {plan.slots} at once; everything goes to {plan.run}", markup=False
    )

    from search import tuner

    # Ray prints on stdout when a process dies; stdout belongs to the result where it is JSON.
    with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
        found = tuner.run(plan, corpus, console)
    if arguments.json:
        print(report.dump(found))
    return _close(found, console)


def _close(found: dict[str, Any], console: Console) -> int:
    """Say what came out; returns the exit code."""
    from search import report

    console.print()
    console.print(report.table(found))
    if found["best"]:
        best = found["best"]
        console.print(f"\nBest recipe (epoch {best['epoch']:g}): {report.recipe_line(best['params'])}", markup=False)
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items() if count)
    console.print(f"{counts or 'no trial'}; {found['seconds']:.0f} s; records in {found['run']}", markup=False)
    if found["interrupted"]:
        console.print("Interrupted: this is what was found so far; no model was exported and no test set was read.")
        return INTERRUPTED
    if found["best"] is None:
        console.print("No trial succeeded; the reasons stand in trials.jsonl.")
        return NO_TRIAL_SUCCEEDED
    console.print(f"Model: {found['run']}/best\nLoad it: {report.load_line(found)}", markup=False)
    return OK
