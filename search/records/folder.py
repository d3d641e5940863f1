"""The run directory: where it is, which search it belongs to, and which files stay in it.

Nothing in it is trusted to be more than data: numbers are checked before they become folder names, and a directory
with a link that leads out of it is refused.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

from frostline.spaces import Recipe
from frostline.spaces._typed import printable
from frostline.trainables import _atomic

METRIC = "metric.py"
"""In the run directory, the copy of the file in which a user's metric is a function."""

_LONGEST = 200
"""Bytes of a name. File systems take 255; a copy that is set aside has a longer name than the run directory."""

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, other line ends, and bytes that are not UTF-8."""


def locate(storage: Path, name: str) -> Path:
    """`<storage>/<name>`.

    Raises:
        ValueError: the name leads out of the storage, or the storage cannot be written.
    """
    check_name(name)
    run = storage.expanduser().resolve() / name
    parent = next(parent for parent in (run, *run.parents) if parent.exists())
    if not parent.is_dir():
        raise ValueError(f"cannot write {run}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {run}: no permission to write in {parent}")
    return run


def check_name(name: str, what: str = "--name") -> None:
    """Refuse a name that is not the name of one folder.

    Raises:
        ValueError: it is not; the message begins with `what`.
    """
    if name in {"", ".", ".."} or Path(name).name != name:
        raise ValueError(f"{what} is a folder name without slashes, got {name!r}")
    if _UNSHOWN.search(name):
        raise ValueError(f"{what} is a folder name of characters that can be shown, got {name!r}")
    if len(name.encode()) > _LONGEST:
        raise ValueError(f"{what} is a folder name of at most {_LONGEST} bytes, got {len(name.encode())}")


def default_name(space: str, now: datetime.datetime) -> str:
    """`<space>-<UTC time>`."""
    return f"{space}-{now:%Y%m%dT%H%M%SZ}"


# --- the plan in it ------------------------------------------------------------------------------

_OF_THE_MACHINE = {
    *("profile_reason", "slots", "concurrent", "slots_reason", "need", "disk", "address", "run", "url", "versions"),
    *("cache_limit", "wandb", "wandb_reason", "wandb_artifact"),
}
"""Fields of a plan that do not say what is searched."""


def claim(run: Path, plan: str) -> None:
    """Make the run directory and write `plan.json` into it. Of several processes that claim it, one succeeds.

    Raises:
        ValueError: it holds a search already, or other files, or cannot be written.
    """
    another, path = "choose another --name", run / "plan.json"
    try:
        _atomic.make_folder(run)
        if path.exists():
            old = path.read_text(encoding="utf-8", errors="replace")
            raise ValueError(already_claimed(str(run), old, plan, finished=(run / "summary.json").is_file()))
        if any(not name.startswith(f".{path.name}.") for name in os.listdir(run)):  # noqa: PTH208 - a claim's aside
            raise ValueError(f"{run} is not empty and holds no search: {another}")
        _atomic.create(path, plan)
    except FileExistsError:
        raise ValueError(f"{run} was taken by another search just now: {another}") from None
    except OSError as error:
        raise ValueError(f"cannot write {run}: {error.strerror}") from error


def already_claimed(place: str, old: str, new: str, finished: bool) -> str:
    """Error message for a search with the plan `new`: the directory already holds the plan `old`."""
    done = "finished" if finished else "unfinished"
    held = f"this very search, {done}" if _searched(old) == _searched(new) else "a search with another plan"
    return f"{place} holds {held}: choose another --name, or go on with it by --resume {place}"


def _searched(text: str) -> dict[str, Any] | None:
    """The fields of a plan that say what is searched; None if the text is not a plan."""
    try:
        fields = {key: value for key, value in json.loads(text).items() if key not in _OF_THE_MACHINE}
        for model in fields.get("models", {}).values():
            del model["prefix"]  # which prefixes are worth caching depends on the machine too
        return fields
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None


def read_plan(run: Path) -> dict[str, Any]:
    """The fields of `plan.json` of a run directory that another process may have made.

    Raises:
        ValueError: no such directory, no plan in it, or a link in it that leads elsewhere.
    """
    if not run.is_dir():
        raise ValueError(f"{run} is not a run directory: {'a file' if run.exists() else 'it does not exist'}")
    check_kinds(run)
    if not (run / "plan.json").is_file():
        raise ValueError(f"{run} is not a run directory: it has no plan.json")
    try:
        fields = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{run / 'plan.json'} cannot be read: too many brackets") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{run / 'plan.json'} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{run / 'plan.json'} is not a plan")
    inside = run.resolve()
    for folder, folders, names in os.walk(run):  # `rglob` raises if a search removes a folder meanwhile
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.relative_to(run).match("wandb/*/logs/debug-core.log"):
                continue  # W&B's link to its own log in the user's cache; nothing opens it
            # Not `Path.resolve`: that raises at a link to itself, which leads nowhere and does no harm.
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise ValueError(f"{path} is a link that leads out of the run directory; remove it")
    return fields


_FILES = ("*.json", "*.jsonl", "*.journal", "*.journal.lock", "report.html")
_FOLDERS = ("trials", "confirm", "best", "wandb")


def check_kinds(run: Path) -> None:
    """Refuse a run directory with a folder, a pipe or a link to nothing in place of a file, or the like of a folder.

    Raises:
        ValueError: names it.
    """
    for path in (path for pattern in _FILES for path in matching(run, pattern)):
        if not path.is_file() and os.path.lexists(path):  # a search may have removed it meanwhile
            raise ValueError(f"{path} is not a file; remove it")
    for name in _FOLDERS:
        if not (run / name).is_dir() and os.path.lexists(run / name):
            raise ValueError(f"{run / name} is not a folder; remove it")


def check_writable(run: Path) -> None:
    """Refuse a run directory in which this user may not go on with the search, a colleague's, say.

    Raises:
        ValueError: names the folder or file.
    """
    if run.is_dir() and not os.access(run, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {run}: no permission")
    for path in (*matching(run, "*.jsonl"), *matching(run, "*.journal")):
        if not os.access(path, os.R_OK | os.W_OK):
            raise ValueError(f"cannot write {path}: no permission")


# --- the winner's recipe -------------------------------------------------------------------------


def recipe_in(path: Path) -> Recipe:
    """The recipe of a run directory (`best/recipe.json`), of a folder with a `recipe.json`, or of such a file.

    Raises:
        ValueError: there is none, or it is not a recipe.
    """
    file = _recipe_file(path)
    if file is None:
        raise ValueError(f"{path} holds no best/recipe.json: has the search in it finished?")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not a recipe: {error}") from error
    return recipe_of(text, str(file))


def metric_beside(path: Path) -> Path | None:
    """The copy of a user's metric in the run directory of the recipe in `path`; None if its metric is the family's."""
    if (recipe := _recipe_file(path)) is None:
        return None
    best = recipe.absolute().parent
    is_of_run = best.name == "best" and (best.parent / "plan.json").is_file()  # not a recipe that was copied elsewhere
    return best.parent / METRIC if is_of_run and (best.parent / METRIC).is_file() else None


def _recipe_file(path: Path) -> Path | None:
    files = [path, path / "recipe.json", path / "best" / "recipe.json"]
    return next((file for file in files if file.is_file()), None)


def recipe_of(text: str, origin: str) -> Recipe:
    """The recipe in the text of a `recipe.json`.

    Raises:
        ValueError: it is not a recipe; the message names `origin`.
    """
    try:
        return Recipe.from_json(text)
    except ValueError as error:
        raise ValueError(f"{origin} is not a recipe: {printable(error)}") from error


# --- files of trainings --------------------------------------------------------------------------


def folder(number: int, seed: int | None = None) -> str:
    """Where a training keeps its files, below the run directory; `seed` for a training that confirms a trial."""
    return f"trials/{number:05d}" if seed is None else f"confirm/{number:05d}-{seed}"


def matching(folder: Path, pattern: str) -> list[Path]:
    """Files and folders in a folder that match, by name. `Path.glob` raises if a search removes a folder meanwhile."""
    return [folder / name for name in sorted(glob(pattern, root_dir=folder, include_hidden=True))]  # noqa: PTH207


def snapshots(run: Path) -> int:
    """Number of interrupted trainings that can go on."""
    return len(matching(run, "*/*/last.safetensors"))


def remove(path: Path) -> None:
    """Remove a file, and its folder if nothing else is in it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or gone. Another process could change it after a check, so there is none
        path.parent.rmdir()


def delete_leftovers(run: Path) -> None:
    """Delete what killed processes left half written."""
    for kind in ("trials", "confirm"):
        for torn in matching(run / kind, "*/.*"):
            if not torn.is_dir():  # a notebook's `.ipynb_checkpoints` is not ours
                remove(torn)
    for name in ("tune", "best.part"):  # Tune's own records repeat ours
        shutil.rmtree(run / name, ignore_errors=True)
    for part in (*run.glob("*.part"), *run.glob(".*.[0-9]*"), *run.glob(_atomic.ASIDES)):  # the second are of 0.2.0
        if not part.is_dir():
            part.unlink(missing_ok=True)
