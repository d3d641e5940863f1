"""This machine's working copy of a run directory at a URL, and which of the two has the newer state of the search."""

from __future__ import annotations

import enum
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from frostline.search.records import lease as leases
from frostline.search.records.lease import Lease
from frostline.search.records.log import check_free
from frostline.search.records.mirror import RECORDS, whole_lines
from frostline.search.records.storage import answer_of, check_url, one_line, open_store
from frostline.trainables import _atomic
from frostline.trainables._storage import Entry, Store, cache_root


def copies() -> Path:
    """The folder of this machine's working copies, beside the cache of prepared data."""
    return cache_root() / "runs"


def copy_of(url: str) -> Path:
    """The folder for this machine's working copy of the run directory at a URL; it need not exist.

    Raises:
        ValueError: the URL does not lead to one folder.
    """
    check_url(url, "--resume")
    return copies().absolute() / hashlib.sha256(url.encode()).hexdigest()[:12] / url.rpartition("/")[2]


class Newer(enum.Enum):
    """Which of two states of a search goes on."""

    SAME = "they are the same"
    HERE = "this machine has recorded more"
    THERE = "the URL has more, or another machine has gone on from it"


def newer(here: Mapping[str, bytes], there: Mapping[str, bytes]) -> tuple[Newer, bool]:
    """Which state of a search's journals goes on, and whether the other state has lines that this one lacks.

    Journals only grow. If one begins with all of the other, it is a later state of the same search, and the longer one
    goes on. If each has lines that the other lacks, another machine went on while this one could not send. Everybody
    can see the state at the URL, so that one goes on. The two are never merged: they have given the same numbers to
    different trials.

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


def compare(store: Store, run: Path, what: str) -> tuple[Newer, bool]:
    """`newer` for a working copy and its URL.

    Raises:
        ValueError: the storage cannot be read; the message begins with `what`.
    """
    here = {name: whole_lines(run / name) for name in RECORDS}
    there = {name: answer_of(lambda name=name: store.read(name), what) or b"" for name in RECORDS}  # type: ignore[misc]
    return newer(here, there)


def fetch(url: str, say: Callable[[str], None]) -> Path:
    """The working copy of the run directory at a URL, in its newest state.

    Args:
        url: of the run directory.
        say: gets a message if a state of this machine was set aside.

    Raises:
        ValueError: there is none, another process works in it, or the storage cannot be read.
    """
    store, run, what = open_store(url, "--resume"), copy_of(url), f"cannot read {url}"
    names = answer_of(store.files, what)
    if "plan.json" not in names:
        raise ValueError(f"{url} is not a run directory: {'it has no plan.json' if names else 'nothing is there'}")
    check_free(run)
    answer_of(Lease(store).check_free, what)
    which, loses = compare(store, run, what)
    if which is Newer.THERE or not (run / "plan.json").is_file():
        if loses and (aside := set_aside(run)):
            say(f"What this machine had of {url} and never sent is kept in {aside}: another machine has gone on since.")
        shutil.rmtree(run, ignore_errors=True)
        with one_line(what):
            fetch_files(store, {name: entry for name, entry in names.items() if not stays_at_url(name)}, run)
    return run


def fetch_files(store: Store, names: Mapping[str, Entry], folder: Path) -> None:
    """Fetch files with their times: a summary that is older than the last session does not belong to it."""
    store.get(names, folder)
    for name, entry in names.items():
        if entry.modified and (folder / name).exists():
            os.utime(folder / name, (entry.modified.timestamp(),) * 2)


def stays_at_url(name: str) -> bool:
    """Whether a file at the URL is not part of a working copy: weights (slots fetch those), the lock, leftovers."""
    weights = name.startswith(("trials/", "confirm/")) and name.endswith(".safetensors")
    return weights or name == leases.NAME or name.startswith((".", "best.part/"))


def set_aside(run: Path) -> Path | None:
    """Give a working copy another name and return it; None if there is no copy."""
    if not run.exists():
        return None
    aside = run.with_name(f"{run.name}-until-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    _atomic.place(run, aside)
    return aside
