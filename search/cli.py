"""Arguments and messages. Imports the standard library only: `--help` and errors must not wait for torch."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline import spaces
from frostline.search.plan.options import Options, place
from frostline.spaces import Recipe
from frostline.trainables._atomic import DISK_FULL

if TYPE_CHECKING:
    from rich.console import Console

OK, FAILED, USER_ERROR, NO_TRIAL_SUCCEEDED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 success, 2 a user's mistake, 3 no trial succeeded)."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.list:
            return _list()
        if arguments.report is not None:
            return _report(arguments.report, sys.argv[1:] if argv is None else argv)
        _check(arguments)
        if arguments.dashboard is not None:
            from frostline.search.dashboard import server as dashboard_server

            if isinstance(arguments.dashboard, str):
                from frostline.search.records import reading_copy

                seen = reading_copy.Look(arguments.dashboard, "--dashboard")
                seen.follow()
                dashboard_server.serve(seen.folder, arguments.dashboard)
            else:
                dashboard_server.serve(arguments.dashboard)
            return OK
        return _run(arguments, sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        print(f"frostline: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("frostline: interrupted before the first trial", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise  # ours, not the disk's
        print(f"frostline: {error.strerror}", file=sys.stderr)
        return FAILED


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
    add("--resume", type=place, metavar="RUN", help="go on with the search in this run directory")
    add("--retrain", type=place, metavar="RUN", help="train the winner's recipe again, on its own or on --dataset")
    add("--dashboard", type=place, metavar="RUN", help="look at the search in this run directory in a browser")
    add("--report", type=place, metavar="RUN", help="write its report.html again, also while it runs, and stop")
    add("--trials", metavar="N", help="recipes to try; +N adds to a resumed search")
    add("--time-budget", metavar="TIME", help="90m, 1h30m: for all trials and their confirmation; +TIME as with trials")
    add("--epochs", type=int, metavar="N", help="epochs of a trial that is never stopped")
    add("--confirm", type=int, metavar="N", help="best recipes to train again (default: 3; 0 turns it off)")
    add("--confirm-seeds", type=int, metavar="N", help="fresh seeds for each of them (default: 3; 0 turns it off)")
    add("--seed", type=int, metavar="N", help="of the sampler and the trials (default: 0)")
    add("--concurrent", type=int, metavar="N", help="trials at once, at most (default: as many as fit)")
    add("--workers-per-trial", type=int, metavar="N", help="processes that train a trial together (default: 1)")
    add("--cpus-per-trial", type=float, metavar="X", help="CPU cores of a trial, of each worker if it has several")
    add("--gpus-per-trial", type=float, metavar="X", help="GPUs of a trial, likewise; may be a fraction for one worker")
    add("--retries", type=int, metavar="N", help="how often a trial goes on after its process died (default: 2)")
    add("--checkpoint-every", type=float, metavar="S", help="seconds between snapshots (default: 30)")
    add(
        "--prefix-cache",
        choices=("auto", "float32", "float16", "off"),
        help="keep what frozen layers put out (auto: float32 on a CPU, float16 on a GPU)",
    )
    add("--cache-size", metavar="SIZE", help="of the prefix cache of a machine (default: a fifth of the free disk)")
    add("--address", metavar="HOST:PORT", help="Ray cluster to run on (default: RAY_ADDRESS, else this machine)")
    add(
        "--storage",
        type=place,
        metavar="FOLDER|URL",
        help="where run directories go: a folder, s3://... (default: runs)",
    )
    add("--name", help="of the run directory (default: the space and the UTC time)")
    add("--wandb", choices=("online", "offline", "off"), help="Weights & Biases (default: online where it has a key)")
    add("--wandb-artifact", action="store_true", help="upload the best model to it, as an artifact")
    add("--dry-run", action="store_true", help="print the plan and start nothing")
    add("--json", action="store_true", help="the result as JSON on stdout; progress goes to stderr")
    add("--quiet", action="store_true", help="say the result and what goes wrong, nothing else")
    return parser


def _list() -> int:
    for name in spaces.names():
        print(f"{name:20} {spaces.load(name).summary}")
    return OK


def _report(run: Path | str, argv: Sequence[str]) -> int:
    """Write report.html of a run directory; `--report` stands alone."""
    given = [word for word in argv if word.startswith("--")]
    if others := [word for word in given if not word.startswith("--rep")]:
        raise ValueError(f"--report makes a page of what is there: {others[0]} has no part in it")
    from frostline.search.report import page

    if isinstance(run, str):
        from frostline.search.records import reading_copy, remote

        seen = reading_copy.Look(run, "--report")
        remote.asked(lambda: seen.store.put(page.write(seen.folder), page.NAME), f"cannot write {run}")
        print(f"Report: {run}/{page.NAME}; here: {seen.folder / page.NAME}")
    else:
        print(f"Report: {page.write(run)}")
    return OK


_OF_THE_SEARCH = (
    *("space", "model", "dataset", "columns", "epochs", "seed", "storage", "name", "retrain"),
    "prefix_cache",
)
"""Options that say what is searched and where: they belong to the run directory once it is there."""


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is imported.

    Raises:
        ValueError: names the option.
    """
    if arguments.dashboard is not None:
        given = [
            name for name in ("space", "resume", "retrain", "name", "trials") if getattr(arguments, name) is not None
        ]
        if given:
            raise ValueError(f"--dashboard only looks at {arguments.dashboard}: --{given[0]} has no part in it")
    elif arguments.resume is not None:
        given = [name for name in _OF_THE_SEARCH if getattr(arguments, name) is not None]
        if arguments.profile != "auto":
            given.append("profile")
        if given:
            option = given[0].replace("_", "-")
            raise ValueError(f"--resume takes the search as it is in {arguments.resume}: --{option} cannot change")
    elif arguments.retrain is not None:
        if arguments.space is not None:
            raise ValueError("--retrain takes the recipe as it is: --space has no part in it")
    elif arguments.space is None:
        raise ValueError(f"--space is missing; spaces are {', '.join(spaces.names())}")
    else:
        spaces.load(arguments.space)


def _options(arguments: argparse.Namespace) -> Options:
    import os

    columns = None
    if arguments.columns is not None:
        names = arguments.columns.split(",")
        if len(names) != 2 or not all(names):
            raise ValueError(f"--columns is two names with a comma between, got {arguments.columns!r}")
        columns = (names[0], names[1])
    return Options(
        space=arguments.space or "",
        profile=arguments.profile,
        model=arguments.model,
        dataset=arguments.dataset,
        columns=columns,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        epochs=arguments.epochs,
        confirm_recipes=arguments.confirm,
        confirm_seeds=arguments.confirm_seeds,
        retries=arguments.retries,
        checkpoint_every=arguments.checkpoint_every,
        prefix_cache=arguments.prefix_cache,
        cache_size=arguments.cache_size,
        concurrent=arguments.concurrent,
        workers_per_trial=arguments.workers_per_trial,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=arguments.gpus_per_trial,
        seed=arguments.seed,
        storage=arguments.storage if isinstance(arguments.storage, Path) else Path("runs"),
        url=next((place for place in (arguments.resume, arguments.storage) if isinstance(place, str)), ""),
        name=arguments.name,
        wandb=arguments.wandb,
        wandb_artifact=arguments.wandb_artifact,
        address=arguments.address or os.environ.get("RAY_ADDRESS") or None,
        retrain=None if arguments.retrain is None else _recipe(arguments.retrain),
    )


def _recipe(place: Path | str) -> Recipe:
    if isinstance(place, Path):
        from frostline.search.records.folder import recipe_in

        return recipe_in(place)
    from frostline.search.records import reading_copy

    return reading_copy.recipe(place)


def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    options = _options(arguments)
    run = arguments.resume
    if isinstance(run, str):
        from frostline.search.records import remote

        run = remote.fetch(run, lambda text: print(text, file=sys.stderr))
    elif run is not None and not arguments.dry_run:
        from frostline.search.records import folder as run_folder

        run_folder.check_free(run)  # said before torch is imported
    from rich.console import Console

    from frostline.search.cluster import connection
    from frostline.search.plan import resolve as planning
    from frostline.search.report import summary as summaries

    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    console.quiet = arguments.quiet and not arguments.dry_run
    if run is not None:
        plan, corpus = planning.resume(run, options)
    else:
        plan, corpus = planning.resolve(options)
    if arguments.dry_run:
        for label, text in summaries.plan_lines(plan):
            console.print(f"{label + ':':13}{text}", markup=False)
        return OK
    if arguments.resume is None:
        planning.claim(plan)
    console.print(f"Profile {plan.search.profile}: {plan.search.profile_reason}.", markup=False)
    for remark in plan.data.remarks:
        console.print(f"Data: {remark}.", markup=False)
    console.print(f"W&B: {plan.wandb.mode}: {plan.wandb.reason}.", markup=False)
    verb = "goes on in" if arguments.resume else "everything goes to"
    console.print(
        f"Trials: {summaries.limit(plan.budget)}; {plan.resources.slots} at once; {verb} {plan.place}",
        markup=False,
    )
    console.print(f"Watch it: frostline --dashboard {plan.place}", markup=False)

    from frostline.search import tuner
    from frostline.search.records.lease import TakenOverError

    # Ray prints on stdout when a process dies; stdout belongs to the result where it is JSON.
    try:
        with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
            found = tuner.run(plan, corpus, console, shlex.join(["frostline", *argv]))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        what = f"{error.strerror}: {error.filename or plan.place.run}"
        raise OSError(
            error.errno, f"{what}; what is recorded is whole: make room, then --resume {plan.place}"
        ) from None
    except connection.ClusterLostError as error:
        print(f"frostline: Ray has gone: {error}; nothing is lost: --resume {plan.place}", file=sys.stderr)
        return FAILED
    except TakenOverError as error:
        print(f"frostline: {error}; this one ends here", file=sys.stderr)
        return FAILED
    if arguments.json:
        print(summaries.dump(found))
    console.quiet = arguments.quiet and arguments.json  # the JSON is the result
    return _close(found, console)


def _close(found: dict[str, Any], console: Console) -> int:
    """Say what came out, and whether all of it is where it should be; returns the exit code."""
    code = _tell(found, console)
    if found.get("unsent"):
        print(f"frostline: {found['unsent']}", file=sys.stderr)
        return FAILED
    return code


def _tell(found: dict[str, Any], console: Console) -> int:
    from frostline.search.report import summary as summaries

    console.print()
    console.print(summaries.table(found))
    if found["best"]:
        best = found["best"]
        console.print(f"\nBest recipe (epoch {best['epoch']:g}): {summaries.recipe_line(best['params'])}", markup=False)
    for line in summaries.verdict(found):
        console.print(line, markup=False)
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items() if count)
    console.print(f"{counts or 'no trial'}; {found['seconds']:.0f} s; records in {found['run']}", markup=False)
    if found.get("wandb"):
        console.print(f"W&B sweep: {found['wandb']}", markup=False)
    if (report_file := Path(found.get("copy", found["run"])) / "report.html").is_file():
        console.print(f"Report: {report_file}", markup=False)
    if found["interrupted"]:
        console.print("Interrupted: this is what was found so far; no model was exported and no test set was read.")
        console.print(f"Go on: frostline --resume {found['run']}", markup=False)
        return INTERRUPTED
    if found["failure"]:
        console.print(f"Stopped: {found['failure']}", markup=False)
        console.print(f"When the cause is gone: frostline --resume {found['run']}", markup=False)
        return NO_TRIAL_SUCCEEDED
    if found["best"] is None:
        console.print("No trial succeeded; the reasons stand in trials.jsonl.")
        return NO_TRIAL_SUCCEEDED
    console.print(f"Model: {found['run']}/best\nLoad it: {found['load']}", markup=False)
    return OK
