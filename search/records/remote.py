"""A run directory at a URL: what is there, this machine's working copy of it, and which of the two is newer."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from frostline.search.records import folder as run_folder
from frostline.search.records import lease as leases
from frostline.search.records import trials as trial_records
from frostline.search.records.folder import Log
from frostline.search.records.lease import Lease
from frostline.search.records.mirror import RECIPE, RECORDS, Mirror, whole_lines
from frostline.trainables._storage import Entry, StorageError, Store, cache_root

_T = TypeVar("_T")

_ANSWER = 10.0
"""Seconds within which storage has to answer before a search starts."""

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
"""Of the protocols that are most in use; fsspec knows more."""


def store(url: str, option: str) -> Store:
    """The storage at a URL, not yet asked for anything.

    Raises:
        ValueError: there is no such protocol, or its package is not installed; the message begins with `option`.
    """
    protocol, _, rest = url.partition("://")
    if not rest.strip("/"):
        raise ValueError(f"{option} {url}: the name of a bucket is missing")
    try:
        return Store(url)
    except ImportError:
        package = _PACKAGES.get(protocol, f"fsspec's package for {protocol}")
        raise ValueError(f"{option} {url} needs one package more: pip install {package}") from None
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise ValueError(f"{option} {url}: {error}") from None
        here = sorted(name for name, package in _PACKAGES.items() if importlib.util.find_spec(package))
        raise ValueError(
            f"{option} {url}: no such kind of storage as {protocol}; here are folders and {', '.join(here)}"
        ) from None


def asked(do: Callable[[], _T], what: str) -> _T:
    """What the storage answers, at once or not at all.

    Raises:
        ValueError: it does not answer within 10 s, or refuses; the message begins with `what`.
    """
    answer: list[_T] = []
    wrong: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(do())
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER)
    if wrong and isinstance(wrong[0], StorageError):
        raise ValueError(f"{what}: {wrong[0]}") from wrong[0]
    if wrong:
        raise wrong[0]
    if not answer:
        raise ValueError(f"{what}: no answer within {_ANSWER:.0f} s")
    return answer[0]


def check(url: str) -> None:
    """Whether a search can keep its run directory below a URL.

    Raises:
        ValueError: it cannot, and why: no such protocol, bucket, permission, credentials, or no answer within 10 s.
    """
    if url.startswith("memory://"):
        raise ValueError(f"--storage {url}: no other process sees this one's memory")
    there = store(url, "--storage")
    asked(there.try_out, f"--storage {url}")


def copies() -> Path:
    """Where this machine's working copies are: beside what it keeps of data."""
    return cache_root() / "runs"


def copy_of(url: str) -> Path:
    """This machine's working copy of the run directory at a URL; it need not be there."""
    return copies().absolute() / hashlib.sha256(url.encode()).hexdigest()[:12] / url.rpartition("/")[2]


def locate(url: str, name: str) -> str:
    """The URL of a run directory below another.

    Raises:
        ValueError: the name is none.
    """
    run_folder.check_name(name)
    return f"{url}/{name}"


def claim(url: str, run: Path, plan: str) -> None:
    """Write `plan.json` at the URL and into a new working copy; only one process succeeds.

    Raises:
        ValueError: a search is there already, or files that are not ours, or it cannot be written.
    """
    what, there = f"cannot write {url}", store(url, "--storage")
    names = asked(there.files, what)
    if "plan.json" in names:
        old = (asked(lambda: there.read("plan.json"), what) or b"").decode(errors="replace")
        raise ValueError(run_folder.taken(url, old, plan, finished="summary.json" in names))
    if names:
        raise ValueError(f"{url} is not empty and holds no search: choose another --name")
    try:
        asked(lambda: there.write("plan.json", plan.encode(), new=True), what)
    except FileExistsError:
        raise ValueError(f"{url} was taken by another search just now: choose another --name") from None
    _set_aside(run)
    run_folder.claim(run, plan)


# --- going on --------------------------------------------------------------------------------------


class Newer(enum.Enum):
    """Which of two states of a search is to go on."""

    SAME = "they are the same"
    HERE = "this machine has recorded more"
    THERE = "the URL has more, or another machine has gone on from it"


def newer(here: Mapping[str, bytes], there: Mapping[str, bytes]) -> tuple[Newer, bool]:
    """Which state of a search's journals goes on, and whether the other holds lines that are lost to it.

    Journals only grow. So one that begins with all of the other is a later state of the same search, and the longer
    one goes on. If each has lines that the other lacks, another machine went on while this one could not send: what
    it has found since stands at the URL for everybody to see, so it goes on. They are never merged: the two have given
    the same numbers to different trials.

    Args:
        here: the journals of the working copy, by name; missing ones are empty.
        there: those at the URL.
    """
    pairs = [(here.get(name, b""), there.get(name, b"")) for name in RECORDS]
    if all(mine == other for mine, other in pairs):
        return Newer.SAME, False
    if all(mine.startswith(other) for mine, other in pairs):
        return Newer.HERE, False
    return Newer.THERE, not all(other.startswith(mine) for mine, other in pairs)


def fetch(url: str, say: Callable[[str], None]) -> Path:
    """The working copy of the run directory at a URL, made as new as there is one.

    Args:
        url: of the run directory.
        say: is told where something was set aside.

    Raises:
        ValueError: there is none, another process works in it, or the storage cannot be read.
    """
    there, run = store(url, "--resume"), copy_of(url)
    what = f"cannot read {url}"
    names = asked(there.files, what)
    if "plan.json" not in names:
        raise ValueError(f"{url} is not a run directory: {'it has no plan.json' if names else 'nothing is there'}")
    run_folder.check_free(run)
    asked(Lease(there).check_free, what)
    states = [{name: whole_lines(run / name) for name in RECORDS}, _records(there, what)]
    which, loses = newer(*states)
    if which is Newer.THERE or not (run / "plan.json").is_file():
        if loses and (aside := _set_aside(run)):
            say(f"What this machine had of {url} and never sent is kept in {aside}: another machine has gone on since.")
        shutil.rmtree(run, ignore_errors=True)
        with told(what):
            get(there, {name: entry for name, entry in names.items() if not is_elsewhere(name)}, run)
    return run


def get(there: Store, names: Mapping[str, Entry], folder: Path) -> None:
    """Fetch files with their times: a summary that is older than the last session is none of it."""
    there.get(names, folder)
    for name, entry in names.items():
        if entry.modified and (folder / name).exists():
            os.utime(folder / name, (entry.modified.timestamp(),) * 2)


def _records(there: Store, what: str) -> dict[str, bytes]:
    return {name: asked(lambda name=name: there.read(name), what) or b"" for name in RECORDS}  # type: ignore[misc]


def is_elsewhere(name: str) -> bool:
    """Whether a file at the URL is no part of a working copy: weights, which slots fetch, and the lock."""
    weights = name.startswith(("trials/", "confirm/")) and name.endswith(".safetensors")
    return weights or name == leases.NAME or name.startswith((".", "best.part/"))


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise ValueError(f"{what}: {error}") from error


def _set_aside(run: Path) -> Path | None:
    """Give a working copy another name, if it is there."""
    if not run.exists():
        return None
    aside = run.with_name(f"{run.name}-until-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    run.rename(aside)
    return aside


# --- working ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def hold(url: str, run: Path, command: str, say: Callable[[str], None]) -> Iterator[Log]:
    """As `rundir.hold`, at the URL too; what the search writes into the working copy is carried there meanwhile.

    At the end it waits for what is still to be carried; what could not be stands in the log's `unsent`, or is said
    where the search ends by an error.

    Raises:
        ValueError: another process works there, or has meanwhile.
    """
    if not url:
        with run_folder.hold(run, command) as log:
            yield log
        return
    there, what = store(url, "--resume"), f"cannot write {url}"
    lease = Lease(there)
    asked(lease.take, what)
    carries = False
    try:
        states = [{name: whole_lines(run / name) for name in RECORDS}, _records(there, what)]
        if newer(*states)[0] is Newer.THERE:
            raise ValueError(f"{url} was written by another process just now: try again")
        with run_folder.hold(run, command) as log:
            sent = _sent(there, run, what)
            mirror, carries = Mirror(there, run, lease, sent), True
            log.remove, log.news = _remover(mirror, run, sent), mirror.news
            try:
                yield log
            except BaseException:
                if why := mirror.close():
                    say(_unsent(url, run, why))
                raise
            if why := mirror.close():
                log.unsent = _unsent(url, run, why)
    finally:
        if not carries:  # the mirror lets go of it itself
            with contextlib.suppress(StorageError):
                lease.release()


def _unsent(url: str, run: Path, why: str) -> str:
    return f"not everything has come to {url}: {why}; it is kept in {run}; to send it: frostline --resume {url}"


def _remover(mirror: Mirror, run: Path, sent: Mapping[str, int]) -> Callable[[Path], None]:
    """Removes a file here and at the URL. What ended in an earlier session and is not there needs no request."""
    ended = set[Path]()
    for journal, confirms in (("trials.jsonl", False), ("confirm.jsonl", True)):
        for trial in trial_records.read(run / journal):
            if not trial.open:
                ended.add(run / run_folder.folder(trial.number, trial.seed if confirms else None))

    def remove(path: Path) -> None:
        run_folder.remove(path)
        if path.parent not in ended or path.relative_to(run).as_posix() in sent:
            mirror.remove(path)

    return remove


def _sent(there: Store, run: Path, what: str) -> dict[str, int]:
    """Files at the URL by size, as far as they belong to a search that goes on; what else is there is removed."""
    known = {job.folder for job in run_folder.started(run)}
    sent = {}
    for name, entry in asked(there.files, what).items():
        folder = name.rpartition("/")[0]
        stray = name.startswith((".", "best.part/")) or (
            name.startswith(("trials/", "confirm/")) and folder not in known
        )
        if stray:
            with told(what):
                there.remove(name)
        else:
            sent[name] = entry.size
    if RECIPE in sent and asked(lambda: there.read(RECIPE), what) != _bytes(run / RECIPE):
        del sent[RECIPE]  # another winner's, perhaps of the same length
    return sent


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
