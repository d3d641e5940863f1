"""A copy of a run directory at a URL for `--report`, `--dashboard` and `--retrain`; nothing at the URL is changed."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from pathlib import Path, PurePath

from frostline.search.records.folder import METRIC, recipe_of
from frostline.search.records.mirror import RECIPE
from frostline.search.records.storage import answer_of, one_line, open_store
from frostline.search.records.working_copy import copies, fetch_files, stays_at_url
from frostline.spaces import Recipe
from frostline.trainables import _atomic
from frostline.trainables._storage import Entry, StorageError

_EVERY = 3.0
"""Seconds between two refreshes."""


def folder_for(place: str) -> Path:
    """The folder of this machine for what belongs to a run directory in which this process cannot or must not write.

    Args:
        place: path or URL of the run directory.
    """
    return copies().absolute() / "looked-at" / hashlib.sha256(place.encode()).hexdigest()[:12] / PurePath(place).name


class ReadingCopy:
    """A copy of all files but weights. It can follow a search that runs or goes on."""

    def __init__(self, url: str, option: str) -> None:
        """Fetch the copy.

        Raises:
            ValueError: there is no run directory at the URL, or the storage cannot be read.
        """
        self.store = open_store(url, option)
        self.folder = folder_for(url)
        self._fetched: dict[str, Entry] = {}
        what = f"cannot read {url}"
        if "plan.json" not in answer_of(self.store.files, what):
            raise ValueError(f"{url} is not a run directory: it has no plan.json")
        shutil.rmtree(self.folder, ignore_errors=True)
        with one_line(what):
            self.refresh()

    def refresh(self) -> None:
        """Fetch the files that have changed.

        Raises:
            StorageError: the storage does not answer.
        """
        changed = {
            name: entry
            for name, entry in self.store.files().items()
            if self._fetched.get(name) != entry and not stays_at_url(name) and not name.endswith(".safetensors")
        }
        journals = {name for name in changed if name.endswith((".jsonl", ".journal")) and (self.folder / name).exists()}
        fetch_files(self.store, {name: entry for name, entry in changed.items() if name not in journals}, self.folder)
        for name in journals:
            update_journal(self.folder / name, self.store.read(name) or b"")
        self._fetched |= changed

    def follow(self) -> None:
        """Refresh every few seconds from now on, in a thread."""

        def refresh_for_ever() -> None:
            while True:
                time.sleep(_EVERY)
                with contextlib.suppress(StorageError):
                    self.refresh()

        threading.Thread(target=refresh_for_ever, daemon=True).start()


def update_journal(path: Path, data: bytes) -> None:
    """Append in place if the journal only grew, so that open readers keep their position; otherwise replace the file.

    Args:
        path: the journal.
        data: what it is to hold.
    """
    before = path.read_bytes()
    if data.startswith(before):
        with path.open("ab") as file:
            file.write(data[len(before) :])
    else:
        _atomic.write(path, data)


def recipe(url: str) -> Recipe:
    """The winner's recipe of the run directory at a URL.

    Raises:
        ValueError: there is none, or the storage cannot be read.
    """
    store = open_store(url, "--retrain")
    text = answer_of(lambda: store.read(RECIPE), f"cannot read {url}")
    if text is None:
        raise ValueError(f"{url} holds no {RECIPE}: has the search in it finished?")
    return recipe_of(text.decode(errors="replace"), f"{url}/{RECIPE}")


def metric(url: str) -> Path | None:
    """A copy of a user's metric in the run directory at a URL; None if the metric is the family's.

    Raises:
        ValueError: the storage cannot be read.
    """
    store = open_store(url, "--retrain")
    text = answer_of(lambda: store.read(METRIC), f"cannot read {url}")
    if text is None:
        return None
    folder = folder_for(url)
    folder.mkdir(parents=True, exist_ok=True)
    _atomic.write(folder / METRIC, text)
    return folder / METRIC
