"""The run directory: who may write it, what has happened in it, and which files stay.

Nothing in it is trusted to be more than data: numbers are checked before they become folder names, and a
directory with a link that leads out of it is refused.
"""

from __future__ import annotations

import datetime
import fcntl
import itertools
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from frostline.search.records.journal import Journal, read_lines
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Recipe

LOG = "log.jsonl"


def locate(storage: Path, name: str) -> Path:
    """`<storage>/<name>`.

    Raises:
        ValueError: the name leads out of the storage, or the storage cannot be written.
    """
    check_name(name)
    run = storage.expanduser().resolve() / name
    there = next(parent for parent in (run, *run.parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"cannot write {run}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {run}: no permission to write in {there}")
    return run


def check_name(name: str) -> None:
    """Refuse what is not the name of one folder.

    Raises:
        ValueError: it is not.
    """
    if name in {".", ".."} or Path(name).name != name:
        raise ValueError(f"--name is a folder name without slashes, got {name!r}")


def default_name(space: str, now: datetime.datetime) -> str:
    """`<space>-<UTC time>`."""
    return f"{space}-{now:%Y%m%dT%H%M%SZ}"


_OF_THE_MACHINE = {
    *("profile_reason", "slots", "slots_reason", "need", "disk", "address", "run", "url", "versions"),
    *("cache_limit", "wandb", "wandb_reason", "wandb_artifact"),
}


def claim(run: Path, plan: str) -> None:
    """Make the run directory and write `plan.json` into it; only one process succeeds.

    Raises:
        ValueError: it holds a search already, or files that are not ours, or cannot be written.
    """
    another, found = "choose another --name", run / "plan.json"
    try:
        run.mkdir(parents=True, exist_ok=True)
        if found.exists():
            old = found.read_text(encoding="utf-8", errors="replace")
            raise ValueError(taken(str(run), old, plan, finished=(run / "summary.json").is_file()))
        if any(run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no search: {another}")
        with found.open("x", encoding="utf-8") as file:
            file.write(plan)
    except FileExistsError:
        raise ValueError(f"{run} was taken by another search just now: {another}") from None
    except OSError as error:
        raise ValueError(f"cannot write {run}: {error.strerror}") from error


def taken(place: str, old: str, new: str, finished: bool) -> str:
    """What to say where a run directory with the plan `old` is to be made with the plan `new`."""
    done = "finished" if finished else "unfinished"
    what = f"this very search, {done}" if _search_of(old) == _search_of(new) else "a search with another plan"
    return f"{place} holds {what}: choose another --name, or go on with it by --resume {place}"


def _search_of(text: str) -> dict[str, Any] | None:
    """The part of a plan that says what is searched; None where the text is no plan."""
    try:
        fields = {key: value for key, value in json.loads(text).items() if key not in _OF_THE_MACHINE}
        for model in fields.get("models", {}).values():
            del model["prefix"]  # what is worth keeping is the machine's matter too
        return fields
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def read_plan(run: Path) -> dict[str, Any]:
    """The fields of `plan.json` of a run directory that another process may have made.

    Raises:
        ValueError: no such directory, no plan in it, or a link in it that leads elsewhere.
    """
    if not run.is_dir():
        raise ValueError(f"{run} is not a run directory: {'a file' if run.exists() else 'it does not exist'}")
    try:
        fields = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{run} is not a run directory: it has no plan.json") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{run / 'plan.json'} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{run / 'plan.json'} is not a plan")
    inside = run.resolve()
    for folder, folders, names in os.walk(run):  # unlike `rglob`, not stopped by a folder that a search removes
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.relative_to(run).match("wandb/*/logs/debug-core.log"):
                continue  # W&B's link to its own log, below the user's cache; nothing opens it
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise ValueError(f"{path} is a link that leads out of the run directory; remove it")
    return fields


def recipe_in(path: Path) -> Recipe:
    """The recipe of a run directory (`best/recipe.json`), of a folder with a `recipe.json`, or of such a file.

    Raises:
        ValueError: there is none, or it is not a recipe.
    """
    places = [path, path / "recipe.json", path / "best" / "recipe.json"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise ValueError(f"{path} holds no best/recipe.json: has the search in it finished?")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not a recipe: {error}") from error
    return recipe_of(text, str(file))


def recipe_of(text: str, origin: str) -> Recipe:
    """The recipe of a `recipe.json`.

    Raises:
        ValueError: it is not a recipe; the message names `origin`.
    """
    try:
        return Recipe.from_json(text)
    except ValueError as error:
        raise ValueError(f"{origin} is not a recipe: {error}") from error


def put(path: Path, text: str) -> None:
    """Write a file as a whole: it is the new one or the old one, never half of it.

    Raises:
        OSError: the disk is full; the old file stays.
    """
    aside = path.with_name(f"{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


class Log:
    """What has happened in a run directory besides training, one JSON line each; holding it is the lock.

    Events: `session` (a process has begun to work here), `start` (a training was given to a slot for the
    first time), `lost` (its process died and it goes on), `test` (the test set was read).
    """

    def __init__(self, run: Path) -> None:
        self._path = run / LOG
        self._journal = Journal(self._path)
        self.remove: Callable[[Path], None] = remove
        """Removes a file of a training, wherever the run directory is kept."""
        self.news: Callable[[], list[str]] = list
        """What a user should know of where it is kept; raises where it was lost to another process."""
        self.unsent = ""
        """What to say where not everything has come to where it is kept; empty where it has."""

    def append(self, event: str, **fields: Any) -> None:
        """Write one event.

        Raises:
            OSError: the disk is full.
        """
        self._journal.append({"event": event, "time": time.time(), **fields})

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """All events of these kinds, oldest first."""
        return [fields for fields in read_lines(self._path) if fields.get("event") in kinds]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


@contextmanager
def hold(run: Path, command: str = "") -> Iterator[Log]:
    """The log of a run directory, for one process at a time; the system lets go of it when the process dies.

    Args:
        run: the run directory.
        command: what was typed, kept with the session; empty where nothing was.

    Raises:
        ValueError: another process works in the directory; the message names it.
    """
    with (run / LOG).open("ab") as lock:  # the log itself, so that there is nothing to clean up
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run} is in use by {_holder(run)}") from None
        log = Log(run)
        log.append("session", pid=os.getpid(), host=socket.gethostname(), command=command)
        try:
            yield log
        finally:
            log.close()


def check_free(run: Path) -> None:
    """Refuse a directory that another process works in, before anything slow is done.

    Raises:
        ValueError: names that process.
    """
    try:
        with (run / LOG).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return  # `read_plan` says what is wrong with it
    except BlockingIOError:
        raise ValueError(f"{run} is in use by {_holder(run)}") from None


def _holder(run: Path) -> str:
    sessions = [fields for fields in read_lines(run / LOG) if fields.get("event") == "session"]
    if not sessions:
        return "another process"
    last = sessions[-1]
    since = datetime.datetime.fromtimestamp(last["time"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {last['pid']} on {last['host']} since {since}"


def seconds_used(sessions: list[float], times: list[float]) -> float:
    """Seconds that earlier sessions worked: each from its start to the last thing it recorded.

    Args:
        sessions: starts of all sessions but this one, rising, seconds since 1970.
        times: of everything recorded.
    """
    used = 0.0
    for start, stop in itertools.pairwise([*sessions, float("inf")]):
        used += max((at for at in times if start <= at < stop), default=start) - start
    return used


# --- trainings -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training: of a recipe that is tried, or again of one of the best, with a fresh seed."""

    number: int
    """Of the trial, as Optuna counts."""
    seed: int
    params: dict[str, Any]
    label: str
    confirms: bool

    @property
    def key(self) -> tuple[int, int]:
        """Number and seed."""
        return self.number, self.seed

    @property
    def folder(self) -> str:
        """Where its files are, below the run directory."""
        return folder(self.number, self.seed if self.confirms else None)


def started(run: Path) -> list[Job]:
    """Every training that was ever given to a slot, in that order. Numbers that cannot be are left out."""
    jobs = []
    for fields in read_lines(run / LOG):
        number, seed, params = (fields.get(name) for name in ("number", "seed", "params"))
        if fields.get("event") != "start" or type(number) is not int or type(seed) is not int or number < 0:
            continue
        if isinstance(params, dict):
            jobs.append(
                Job(
                    number=number,
                    seed=seed,
                    params=params,
                    label=str(fields.get("label", "")),
                    confirms=bool(fields.get("confirms")),
                )
            )
    return jobs


def job_of(trial: Trial) -> Job:
    """The job that a recorded training was given as."""
    return Job(number=trial.number, seed=trial.seed, params=trial.params, label=trial.label, confirms=trial.confirms)


def unreported(job: Job, now: float) -> Trial:
    """A training that was given to a slot and has no line yet."""
    return Trial(
        number=job.number,
        outcome=Outcome.RUNNING,
        confirms=job.confirms,
        params=job.params,
        label=job.label,
        reports=(),
        seconds=0.0,
        seed=job.seed,
        time=now,
    )


# --- files of trainings --------------------------------------------------------------------------


def folder(number: int, seed: int | None = None) -> str:
    """Where a training keeps its files, below the run directory; `seed` for one that confirms a trial."""
    return f"trials/{number:05d}" if seed is None else f"confirm/{number:05d}-{seed}"


def found(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, by name; unlike `Path.glob`, not stopped by a folder that a search removes just now."""
    return [folder / name for name in sorted(glob(pattern, root_dir=folder, include_hidden=True))]  # noqa: PTH207


def snapshots(run: Path) -> int:
    """How many trainings were broken off and can go on."""
    return len(found(run, "*/*/last.safetensors"))


def remove(path: Path) -> None:
    """Remove a file and its folder where nothing else is in it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or gone: asking first would be overtaken by other processes
        path.parent.rmdir()


def sweep(run: Path) -> None:
    """Remove what processes that were killed have left half written."""
    for kind in ("trials", "confirm"):
        for torn in found(run / kind, "*/.*"):
            remove(torn)
    for name in ("tune", "best.part"):  # Tune's own records repeat ours
        shutil.rmtree(run / name, ignore_errors=True)
    for part in run.glob("*.part"):
        part.unlink(missing_ok=True)
