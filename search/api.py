"""Search from Python: `frostline.search(...)` and `frostline.resume(...)`. The command line runs the same functions.

Only the standard library is imported until a search is planned.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
import time
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline import spaces
from frostline.search.cluster.environment import prepare_environment
from frostline.search.mistakes import one_line_each
from frostline.search.plan import settings
from frostline.search.plan.options import SPLITS_BESIDE, Options, check_ranges, path_or_url, typed_as
from frostline.spaces import CLASS_WEIGHTS, Recipe, Space
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._imports import quick_imports

if TYPE_CHECKING:
    from rich.console import Console

    from frostline.search.plan.plan import Plan
    from frostline.trainables.data.corpus import Corpus

OPTIONS = tuple(field.name for field in dataclasses.fields(Options) if field.name != "url")
"""Names of the options. On the command line they begin with `--` and have hyphens."""

CHOICES = {
    "class_weights": CLASS_WEIGHTS,
    "profile": ("auto", "small", "full"),
    "prefix_cache": ("auto", "float32", "float16", "off"),
    "prefer": ("cheapest", "best"),
    "wandb": ("online", "offline", "off"),
}
"""Values of the options that have only a few."""

_OF_THE_SEARCH = (
    "space",
    "space_path",
    "set",
    "metric",
    "class_weights",
    "profile",
    "columns",
    "group",
    "train_rows",
    "epochs",
    "seed",
    "storage",
    "name",
    "retrain",
    "prefix_cache",
)
"""Options that say what is searched and where. A search that goes on cannot change them. `model`, `dataset`,
`validation` and `test` say where the same model and the same data are now."""


def search(space: str | Path | Space | None = None, *, quiet: bool = False, **options: Any) -> dict[str, Any]:
    """Run a new search to its end, or to Ctrl-C. It prints what the command `frostline` prints.

    Args:
        space: a name, a file (`.py` or `.yaml`), or a `Space`. None only with the option `retrain`.
        quiet: print only what goes wrong.
        options: those of the command line, by the names of `Options`: `model`, `dataset`, `trials`, `storage`, ...
            `storage` is a folder or a URL, `columns` a pair of names, `retrain` a run directory or a recipe, `set` a
            dict (`{"learning_rate": "1e-6..1e-4", "batch_size": [16, 32]}`) or a list of `NAME=VALUES`.

    Returns:
        The content of the run directory's `summary.json`. `run` is the run directory, `best` the winner, or None.

    Raises:
        ValueError: a user's mistake, as one line with the value and the choices.
        OSError: the disk is full. `resume` goes on with the search when there is room.
        ClusterLostError: Ray has gone. `resume` goes on with the search.
        TakenOverError: another process works in the run directory now.
    """
    own = space if isinstance(space, Space) else None
    name, began = own.name if own else None if space is None else str(space), time.monotonic()
    return _carry_out(planned({**options, "space": name}, space=own), quiet, goes_on=False, began=began)


def resume(run: str | Path, *, space: Space | None = None, quiet: bool = False, **options: Any) -> dict[str, Any]:
    """Go on with the search in a run directory, with more trials or time where the options say so.

    Args:
        run: the run directory, a folder or a URL.
        space: a `Space` that replaces the one of the search, under the same name: its parameters may have changed, if
            they still hold the values that were tried.
        quiet: print only what goes wrong.
        options: those that do not change what is searched, such as `trials="+8"` or `time_budget="+30m"`.

    Returns:
        As `search` does.

    Raises:
        ValueError: also: no search is there, another process works on it, or its data or model has changed.
        OSError, ClusterLostError, TakenOverError: as `search` does.
    """
    where, began = run if isinstance(run, Path) else path_or_url(run), time.monotonic()
    return _carry_out(planned(options, run=where, space=space), quiet, goes_on=True, began=began)


def export(run: str | Path) -> Path:
    """Export the best model so far of a search that was broken off, to `best/` in its run directory.

    Nothing is trained, and no test set is read.

    Args:
        run: the run directory, a folder or a URL.

    Returns:
        The folder of the model; in the working copy where the run directory is at a URL.

    Raises:
        ValueError: no search is there, no training has a score yet, its weights are lost, its data or model has
            changed, or another process works in it.
        OSError: the disk is full.
    """
    from rich.console import Console

    plan, corpus = planned({}, run=run if isinstance(run, Path) else path_or_url(run))
    with quick_imports():
        from frostline.search import tuner

    with one_line_each():
        return tuner.export(plan, corpus, Console(stderr=True, highlight=False, soft_wrap=True))


def _carry_out(search: tuple[Plan, Corpus], quiet: bool, goes_on: bool, began: float) -> dict[str, Any]:
    from rich.console import Console

    from frostline.search.report import closing

    console = Console(highlight=False, soft_wrap=True, quiet=quiet)
    summary = run(*search, console, goes_on=goes_on, began=began)
    closing.tell(summary, console)
    return summary


def check(values: Mapping[str, Any], run: Path | str | None = None, space: Space | None = None) -> None:
    """Refuse options that do not go together, before anything heavy is imported.

    Args:
        values: option by name, None where it is not given.
        run: the run directory of a search that goes on.
        space: what is searched, if a program gives it.

    Raises:
        ValueError: names the option.
    """
    given = {name for name, value in values.items() if value is not None}
    for name in sorted(given.difference(OPTIONS)):
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no option {name!r}: {hint}options are {', '.join(OPTIONS)}")
    for name in OPTIONS:
        if values.get(name) == "":
            raise ValueError(f"{typed_as(name)} is empty")
    for name, choices in CHOICES.items():
        if name in given and values[name] not in choices:
            raise ValueError(f"{typed_as(name)} is {', '.join(choices)}, got {values[name]!r}")
    if run is not None:
        for name in _OF_THE_SEARCH:
            if name in given and not (name == "profile" and values[name] == "auto"):
                raise ValueError(f"{typed_as(name)} cannot be changed with --resume: {run} keeps its own")
        return
    for name in SPLITS_BESIDE:
        if name in given and "dataset" not in given:
            raise ValueError(f"{typed_as(name)} needs --dataset: it gives the {name} rows of your own data")
    if "retrain" in given:
        if "space" in given:
            raise ValueError("--space cannot be combined with --retrain")
    elif "space" not in given:
        raise ValueError(f"--space is missing; spaces are {', '.join(spaces.names())}")


def options_of(values: Mapping[str, Any], run: Path | str | None = None) -> Options:
    """The options of a search, from the values that a user gives.

    Args:
        values: option by name, None where it is not given.
        run: the run directory of a search that goes on.

    Raises:
        ValueError: a value of another type, columns that are not two names, or no recipe where one is named.
    """
    fields = {name: value for name, value in values.items() if value is not None}
    for name in ("model", "dataset", "space_path", "metric", *SPLITS_BESIDE):  # a folder may be given as a path
        if isinstance(fields.get(name), Path):
            fields[name] = str(fields[name])
    if "columns" in fields:
        fields["columns"] = _columns(fields["columns"])
    if "set" in fields:
        fields["set"] = settings.written(fields["set"])
    if "retrain" in fields:
        fields["retrain"], metric = _retrained(fields["retrain"])
        fields = {"metric": metric, **fields} if metric else fields
    address = fields.get("address", os.environ.get("RAY_ADDRESS")) or None
    fields["address"] = None if address == "local" else address  # Ray's own word for a private instance
    for name, kind in {**typing.get_type_hints(Options), "storage": Path | str}.items():
        _check_type(name, fields.get(name), kind)
    check_ranges(fields)
    storage = fields.pop("storage", Path("runs"))
    storage = path_or_url(storage) if isinstance(storage, str) else storage
    return Options(
        **{"space": "", **fields},
        storage=storage if isinstance(storage, Path) else Path("runs"),
        url=next((where for where in (run, storage) if isinstance(where, str)), ""),
    )


def _columns(given: Any) -> tuple[str, str]:
    names = given.split(",") if isinstance(given, str) else list(given)
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ValueError(f"--columns is two names with a comma between them, got {given!r}")
    return names[0], names[1]


def _retrained(given: Recipe | Path | str) -> tuple[Recipe, str | None]:
    """The recipe that is trained again, itself or that of a run directory, and its metric where that is a user's own.

    A user's metric is `FILE.py:FUNCTION`, with the copy that the run directory has.
    """
    if isinstance(given, Recipe):
        return given, None
    from frostline.search.records import folder, reading_copy

    where = given if isinstance(given, Path) else path_or_url(given)
    if isinstance(where, Path):
        recipe, metric = folder.recipe_in(where), folder.metric_beside(where)
    else:
        recipe, metric = reading_copy.recipe(where), reading_copy.metric(where)
    return recipe, f"{metric}:{recipe.metric}" if metric else None


def _check_type(name: str, value: Any, kind: Any) -> None:
    kinds = [typing.get_origin(one) or one for one in (typing.get_args(kind) or (kind,))]
    if isinstance(value, bool):
        fits = bool in kinds
    else:
        fits = value is None or isinstance(value, tuple(kinds)) or (float in kinds and isinstance(value, int))
    if fits:
        return
    words = " or ".join(one.__name__ for one in kinds if one is not type(None))
    raise ValueError(f"{typed_as(name)} must be {words}, got {value!r}")


def planned(
    values: Mapping[str, Any], run: Path | str | None = None, space: Space | None = None, starts: bool = True
) -> tuple[Plan, Corpus]:
    """Check the options and plan the search.

    Args:
        values: option by name, None where it is not given.
        run: the run directory of a search that goes on.
        space: what is searched, if a program gives it.
        starts: whether the search starts after this, so that no other process may work in `run`.

    Raises:
        ValueError: a user's mistake, as one line.
    """
    prepare_environment()
    with one_line_each():
        check(values, run, space)
        options = options_of(values, run)
        if isinstance(run, str):
            from frostline.search.records import working_copy

            run = working_copy.fetch(run, lambda text: print(text, file=sys.stderr))
        elif run is not None and starts:
            from frostline.search.records.folder import check_kinds, check_writable
            from frostline.search.records.log import check_free

            check_kinds(run)
            check_writable(run)
            check_free(run)  # before torch is imported
        with quick_imports():
            from frostline.search.plan import resolve as planning

        return planning.resolve(options, space) if run is None else planning.resume(run, options, space)


def run(
    plan: Plan, corpus: Corpus, console: Console, *, goes_on: bool, command: str = "", began: float | None = None
) -> dict[str, Any]:
    """Run a planned search, or go on with it.

    Args:
        plan: the plan.
        corpus: its data.
        console: shows the progress.
        goes_on: whether the run directory holds the search already.
        command: the command that was typed, for the record; empty where there was none.
        began: when planning began, by `time.monotonic`: a time budget counts from there. None for now.

    Returns:
        The content of `summary.json`.

    Raises:
        ValueError, OSError, ClusterLostError, TakenOverError: as `search` does.
    """
    from frostline.search.plan import resolve as planning
    from frostline.search.plan.describe import limit, rows_line, time_line

    if not goes_on:
        planning.claim(plan)
    lines = [
        *([f"Time: {time}."] if (time := time_line(plan)) and not goes_on else []),
        f"Profile {plan.search.profile}: {plan.search.profile_reason}.",
        f"Data: {rows_line(plan)}.",
        *(f"Data: {remark}." for remark in plan.data.remarks),
        f"W&B: {plan.wandb.mode} ({plan.wandb.reason}).",
        f"Trials: {limit(plan.budget)}; {plan.resources.slots} at once; "
        f"{'goes on in' if goes_on else 'everything goes to'} {plan.place}",
        f"Watch it: frostline --dashboard {plan.place}",
    ]
    for line in lines:
        console.print(line, markup=False)

    with quick_imports():
        from frostline.search import tuner

    try:
        return tuner.run(plan, corpus, console, command, began)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        what = f"{error.strerror}: {error.filename or plan.place.run}"
        advice = f"all records are complete. Free some space, then run: frostline --resume {plan.place}"
        raise OSError(error.errno, f"{what}; {advice}") from None
