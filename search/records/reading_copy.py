"""A run directory at a URL, looked at: a copy that is kept as new as it is there, and nothing is changed."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from pathlib import Path

from frostline.search.records.folder import recipe_of
from frostline.search.records.mirror import RECIPE
from frostline.search.records.remote import asked, copies, get, is_elsewhere, store, told
from frostline.spaces import Recipe
from frostline.trainables._storage import Entry, StorageError

_FOLLOW = 3.0
"""Seconds between two looks."""


class Look:
    """A copy to look at, of all but weights; a search that runs or goes on is followed, and nothing is changed."""

    def __init__(self, url: str, option: str) -> None:
        """Fetch it.

        Raises:
            ValueError: there is no run directory at the URL, or the storage cannot be read.
        """
        self.store = store(url, option)
        self.folder = copies().absolute() / "looked-at" / hashlib.sha256(url.encode()).hexdigest()[:12]
        self.folder /= url.rpartition("/")[2]
        self._seen: dict[str, Entry] = {}
        what = f"cannot read {url}"
        if "plan.json" not in asked(self.store.files, what):
            raise ValueError(f"{url} is not a run directory: it has no plan.json")
        shutil.rmtree(self.folder, ignore_errors=True)
        with told(what):
            self.refresh()

    def refresh(self) -> None:
        """Fetch what has changed.

        Raises:
            StorageError: the storage does not answer.
        """
        names = self.store.files()
        changed = {
            name: entry
            for name, entry in names.items()
            if self._seen.get(name) != entry and not is_elsewhere(name) and not name.endswith(".safetensors")
        }
        grown = {name for name in changed if name.endswith((".jsonl", ".journal")) and (self.folder / name).exists()}
        get(self.store, {name: entry for name, entry in changed.items() if name not in grown}, self.folder)
        for name in grown:
            _grow(self.folder / name, self.store.read(name) or b"")
        self._seen |= changed

    def follow(self) -> None:
        """Refresh every few seconds from now on."""

        def again() -> None:
            while True:
                time.sleep(_FOLLOW)
                with contextlib.suppress(StorageError):
                    self.refresh()

        threading.Thread(target=again, daemon=True).start()


def _grow(path: Path, now: bytes) -> None:
    """Make a journal what it is now: longer, so that who reads on in it goes on, or another file."""
    before = path.read_bytes()
    if now.startswith(before):
        with path.open("ab") as file:
            file.write(now[len(before) :])
    else:
        aside = path.with_name(f".{path.name}.new")
        aside.write_bytes(now)
        aside.replace(path)


def recipe(url: str) -> Recipe:
    """The winner's recipe of the run directory at a URL.

    Raises:
        ValueError: there is none, or the storage cannot be read.
    """
    there = store(url, "--retrain")
    text = asked(lambda: there.read(RECIPE), f"cannot read {url}")
    if text is None:
        raise ValueError(f"{url} holds no {RECIPE}: has the search in it finished?")
    return recipe_of(text.decode(errors="replace"), f"{url}/{RECIPE}")
