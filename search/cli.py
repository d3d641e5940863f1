"""Arguments and messages. Imports the standard library only: `--help` and errors must not wait for torch."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from frostline.search import api, stop
from frostline.search.mistakes import one_line, one_line_each
from frostline.search.output import Output, guarded
from frostline.search.plan.options import path_or_url
from frostline.trainables._atomic import DISK_FULL

if TYPE_CHECKING:
    from rich.console import Console

OK, FAILED, USER_ERROR, NO_TRIAL_SUCCEEDED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 success, 2 a user's mistake, 3 no trial succeeded)."""
    with guarded() as output, stop.in_time() as ending:
        return _answer(sys.argv[1:] if argv is None else argv, output, ending)


def _answer(argv: Sequence[str], output: Output, ending: stop.Ending) -> int:
    try:
        arguments = _parser().parse_args(argv)
        if arguments.export is not None:
            return _export(arguments.export, argv)
        shows = (arguments.new_space, arguments.report, arguments.dashboard)
        if not arguments.list and all(one is None for one in shows):
            return _run(arguments, argv, output, ending)
        with one_line_each():
            _show(arguments, argv)
        output.check()
        return OK
    except ValueError as error:
        print(f"frostline: {one_line(str(error))}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"frostline: interrupted. {ending.advice}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise  # ours, not the disk's
        print(f"frostline: {error.strerror}", file=sys.stderr)
        return FAILED


def number(text: str) -> float:
    """The value of an option that may have decimals. A whole number stays one, as earlier records have it."""
    return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line, without the 14 lines of usage."""
        self.exit(USER_ERROR, f"frostline: {one_line(message)}; frostline --help shows the options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="frostline", description="Search for the best way to fine-tune a pretrained model on your data."
    )
    add = parser.add_argument
    add("--space", metavar="NAME|FILE", help="what to search: a name that --list shows, or your own .py or .yaml file")
    add("--space-path", metavar="FOLDER", help="a folder with more spaces, named as their files are")
    add("--list", action="store_true", help="show the spaces, one line each, and stop; with --json all of each")
    add("--new-space", metavar="NAME", help="print a space with comments, to begin your own with: > NAME.py")
    add(
        "--set",
        action="append",
        metavar="NAME=VALUES",
        help="other values of a parameter: learning_rate=1e-6..1e-4, batch_size=16,32, weight_decay=0.01 (fixed)",
    )
    add(
        "--metric",
        metavar="NAME|FILE:FUNCTION",
        help="validation metric that decides: accuracy, balanced_accuracy, macro_f1, weighted_f1, binary_f1, mcc, "
        "roc_auc, average_precision, loss, or a function of yours, ./m.py:cost (default: the space's, else accuracy)",
    )
    add(
        "--class-weights",
        choices=api.CHOICES["class_weights"],
        help="weigh classes in the training loss: balanced counts each class alike (default: the space's, else none)",
    )
    add("--profile", choices=api.CHOICES["profile"], default="auto", help="default auto: full with a GPU, else small")
    add("--model", metavar="NAME|FOLDER", help="another pretrained model: a hub name or a folder")
    add(
        "--dataset",
        metavar="NAME|PATH",
        help="another data set: a hub name (NAME or NAME:CONFIG), a folder, or a table",
    )
    add("--columns", metavar="TEXT,LABEL", help="names of its columns (default: text,label)")
    add("--validation", metavar="FILE", help="validation rows of --dataset (default: its own split, or a tenth of it)")
    add("--test", metavar="FILE", help="test rows of --dataset (default: its own split, or a tenth of it)")
    add("--group", metavar="COLUMN", help="keep rows with one value in this column (a user, a document) in one slice")
    add(
        "--train-rows",
        type=int,
        metavar="N",
        help="training rows, at most (default: all of --dataset; the profile's number of its own data)",
    )
    add("--resume", type=_path_or_url, metavar="RUN", help="go on with the search in this run directory")
    add("--retrain", type=_path_or_url, metavar="RUN", help="train the winner's recipe again, on its data or --dataset")
    add("--dashboard", type=_path_or_url, metavar="RUN", help="look at the search in this run directory in a browser")
    add(
        "--export",
        type=_path_or_url,
        metavar="RUN",
        help="export the best model so far of this run directory and exit; no test set is read",
    )
    add(
        "--report",
        type=_path_or_url,
        metavar="RUN",
        help="write report.html of this run directory again and exit; the search may be running",
    )
    add("--trials", metavar="N", help="recipes to try; +N adds to a resumed search")
    add(
        "--time-budget",
        metavar="TIME",
        help="time for all trials and their confirmation, such as 90m; +TIME adds to a resumed search",
    )
    add("--epochs", type=number, metavar="N", help="epochs of a trial that is never stopped; 0.5 is half of one")
    add(
        "--confirm",
        dest="confirm_recipes",
        type=int,
        metavar="N",
        help="best recipes to train again (default: the space's, 5 unless it says otherwise; 0: none)",
    )
    add(
        "--confirm-seeds",
        type=int,
        metavar="N",
        help="fresh seeds for each of them on average, at most (default: the space's; 0: none)",
    )
    add(
        "--prefer",
        choices=api.CHOICES["prefer"],
        help="which of tied recipes to export: the one that trains fastest (default), or the best one though the "
        "difference may be chance",
    )
    add("--seed", type=int, metavar="N", help="seed of the sampler and the first trial (default: 0)")
    add("--concurrent", type=int, metavar="N", help="trials at once, at most (default: as many as fit)")
    add("--workers-per-trial", type=int, metavar="N", help="processes that train a trial together (default: 1)")
    add("--cpus-per-trial", type=float, metavar="X", help="CPU cores of a trial, or of each worker if it has several")
    add(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs of a trial, or of each worker if it has several; 0.5 is allowed with one worker",
    )
    add("--price-per-hour", type=float, metavar="X", help="of a GPU, or of the machine without one: what will it cost?")
    add("--retries", type=int, metavar="N", help="how often a trial goes on after its process died (default: 2)")
    add("--checkpoint-every", type=float, metavar="S", help="seconds between snapshots (default: 30)")
    add(
        "--prefix-cache",
        choices=api.CHOICES["prefix_cache"],
        help="keep the outputs of frozen layers (auto: float32 on a CPU, float16 on a GPU)",
    )
    add("--cache-size", metavar="SIZE", help="limit of a machine's prefix cache (default: a fifth of the free disk)")
    add("--address", metavar="HOST:PORT", help="Ray cluster to run on (default: RAY_ADDRESS, else this machine)")
    add(
        "--storage",
        type=_path_or_url,
        metavar="FOLDER|URL",
        help="where run directories go: a folder, s3://... (default: runs)",
    )
    add("--name", help="name of the run directory (default: the space and the UTC time)")
    add("--wandb", choices=api.CHOICES["wandb"], help="Weights & Biases (default: online where it has a key)")
    add("--wandb-artifact", action="store_true", help="upload the best model to W&B, as an artifact")
    add("--dry-run", action="store_true", help="print the plan and start nothing; with --json as plan.json has it")
    add("--json", action="store_true", help="the result as JSON on stdout; progress goes to stderr")
    add("--quiet", action="store_true", help="print only the result and problems")
    return parser


def _path_or_url(text: str) -> Path | str:
    try:
        return path_or_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _show(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    """Carry out `--list`, `--new-space`, `--report` or `--dashboard`, which start no search."""
    if arguments.list:
        _list(arguments)
    elif arguments.new_space is not None:
        from frostline.search.plan.new_space import template

        print(template(arguments.new_space), end="")
    elif arguments.report is not None:
        _report(arguments.report, argv)
    else:
        _dashboard(arguments)


def _list(arguments: argparse.Namespace) -> None:
    """Print the spaces, one line each, or all of each as JSON."""
    from frostline.search.plan import space_files

    folder = None if arguments.space_path is None else Path(arguments.space_path)
    found = {name: space_files.find(name, folder) for name in space_files.names(folder)}
    if arguments.json:
        print(space_files.to_json(found))
        return
    for name, one in found.items():
        print(f"{name:20} {one.space.summary}")


def _check_alone(argv: Sequence[str], option: str, short: str) -> None:
    """Refuse other options beside one that stands alone.

    Args:
        argv: what was typed.
        option: the option.
        short: the shortest form of it that is understood.

    Raises:
        ValueError: names another option.
    """
    if others := [word for word in argv if word.startswith("--") and not word.startswith(short)]:
        raise ValueError(f"{others[0]} cannot be combined with {option}")


def _export(run: Path | str, argv: Sequence[str]) -> int:
    """Export the best model of a run directory so far; `--export` stands alone."""
    _check_alone(argv, "--export", "--ex")
    print(f"Model: {api.export(run)}")
    return OK


def _report(run: Path | str, argv: Sequence[str]) -> None:
    """Write report.html of a run directory; `--report` stands alone."""
    _check_alone(argv, "--report", "--rep")
    from frostline.search.report import page

    if isinstance(run, str):
        from frostline.search.records.reading_copy import ReadingCopy
        from frostline.search.records.storage import answer_of

        seen = ReadingCopy(run, "--report")
        answer_of(lambda: seen.store.put(page.write(seen.folder), page.NAME), f"cannot write {run}")
        print(f"Report: {run}/{page.NAME}; here: {seen.folder / page.NAME}")
    elif not run.is_dir() or os.access(run, os.W_OK):
        print(f"Report: {page.write(run)}")
    else:
        from frostline.search.records.reading_copy import folder_for

        folder = folder_for(str(run.resolve()))
        print(f"Report: {page.write(run, folder)}; there is no permission to write in {run}")


def _dashboard(arguments: argparse.Namespace) -> None:
    """Serve the dashboard of a run directory until Ctrl-C.

    Raises:
        ValueError: an option that has no part in it, or no run directory.
    """
    run = arguments.dashboard
    for name in ("space", "resume", "retrain", "name", "trials"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--dashboard only shows {run}: --{name} cannot be combined with it")
    from frostline.search.dashboard import server as dashboard_server

    if isinstance(run, str):
        from frostline.search.records.reading_copy import ReadingCopy

        seen = ReadingCopy(run, "--dashboard")
        seen.follow()
        dashboard_server.serve(seen.folder, run)
    else:
        dashboard_server.serve(run)


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Option of a search by name."""
    return {name: getattr(arguments, name) for name in api.OPTIONS}


def _run(arguments: argparse.Namespace, argv: Sequence[str], output: Output, ending: stop.Ending) -> int:
    began = time.monotonic()
    plan, corpus = api.planned(_values(arguments), run=arguments.resume, starts=not arguments.dry_run)
    from rich.console import Console

    from frostline.search.cluster.connection import ClusterLostError
    from frostline.search.plan.describe import plan_lines
    from frostline.search.records.lease import TakenOverError
    from frostline.search.report import summary as summaries

    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    console.quiet = arguments.quiet and not arguments.dry_run
    if arguments.dry_run:
        for label, text in plan_lines(plan):
            console.print(f"{label + ':':13}{text}", markup=False)
        if arguments.json:
            print(plan.to_json())
        output.check()
        return OK
    output.promise(f"the search goes on, and its results are in {plan.place}")
    ending.advice = f"Nothing is lost. Continue with: frostline --resume {plan.place}"
    command = shlex.join(["frostline", *argv])
    try:
        # Ray prints on stdout when a process dies. With --json, stdout is for the result.
        with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
            goes_on = arguments.resume is not None
            summary = api.run(plan, corpus, console, goes_on=goes_on, command=command, began=began)
    except ClusterLostError as error:
        print(f"frostline: Ray has stopped ({error}). {ending.advice}", file=sys.stderr)
        return FAILED
    except TakenOverError as error:
        print(f"frostline: {error}; this process stops", file=sys.stderr)
        return FAILED
    if arguments.json:
        print(summaries.dump(summary), flush=True)
        if output.error is not None:
            return FAILED
    console.quiet = arguments.quiet and arguments.json  # the JSON is the result
    return _close(summary, console)


def _close(summary: dict[str, Any], console: Console) -> int:
    """Print how the search ended; returns the exit code."""
    from frostline.search.report import closing

    closing.tell(summary, console)
    if summary.get("unsent"):
        return FAILED
    if summary["interrupted"]:
        return INTERRUPTED
    return OK if summary["best"] and not summary["failure"] else NO_TRIAL_SUCCEEDED
