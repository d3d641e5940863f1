"""Carries a run directory's working copy to its URL while a search works in it, file by file, each as a whole.

Records go first and what they no longer need is removed after that, so that at every moment what is there is a search
that can go on. Storage that does not answer for a while is waited for, and the search is not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from frostline.search.records.lease import EVERY, Lease, TakenOverError
from frostline.trainables._storage import StorageError, Store

RECORDS = ("log.jsonl", "trials.jsonl", "confirm.jsonl")
"""Journals, which only grow. In the order in which they go up: what has ended has begun, and is in the log."""

RECIPE = "best/recipe.json"
"""The last file of `best/`: it is whole where this is."""

_SHARE = 20.0
"""A file goes up again after so many times the seconds that this took last, and a second at least."""

_PATIENCE = 60.0
"""Seconds without progress after which the end of a search no longer waits."""

_SLOWEST = 0.5e6
"""Bytes per second that count as progress where a file goes up in one piece."""

Stamp = tuple[int, int, int]


def again_at(done: float, took: float) -> float:
    """When what took so many seconds may be done again, so that it takes a twentieth of the time at most."""
    return done + max(1.0, _SHARE * took)


def is_recorded(needed: Mapping[str, int], sent: Mapping[str, int]) -> bool:
    """Whether the journals have gone up at least as far as they were long when a file was no longer needed."""
    return all(sent.get(name, 0) >= size for name, size in needed.items())


def files(run: Path) -> Iterator[tuple[str, Stamp]]:
    """What of a working copy is to be at the URL: name and stamp of each file but the records and `best/`.

    Not what is half written, Tune's own records, weights (the slots put those), and links.
    """
    for folder, folders, names in os.walk(run):
        here = Path(folder).relative_to(run)
        top = here == Path()
        folders[:] = [
            name
            for name in folders
            if not (name.startswith(".") or name.endswith(".part") or (top and name in {"tune", "best"}))
        ]
        for name in names:
            if name.startswith(".") or name.endswith((".part", ".lock")) or (top and name in RECORDS):
                continue
            if here.parts[:1] in {("trials",), ("confirm",)} and name.endswith(".safetensors"):
                continue
            if (stamp := _stamp(Path(folder, name))) is not None:
                yield (here / name).as_posix(), stamp


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return None if path.is_symlink() else (found.st_mtime_ns, found.st_size, found.st_ino)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def whole_lines(path: Path) -> bytes:
    """A journal as far as its last line is whole."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


class Mirror:
    """One thread that carries; made by the process that holds the lease."""

    def __init__(self, store: Store, run: Path, lease: Lease, sent: Mapping[str, int]) -> None:
        """`sent`: names and sizes of the files that are at the URL as they are here."""
        self._store, self._run, self._lease = store, run, lease
        self._records = {name: sent[name] for name in RECORDS if name in sent}
        self._known = {name: stamp for name, stamp in files(run) if sent.get(name) == stamp[1]}
        self._best = _stamp(run / RECIPE) if RECIPE in sent else None
        self._looked: dict[str, int] = {}
        """How long the journals were when they were last carried."""
        self._unneeded: list[tuple[str, dict[str, int]]] = []
        self._next: dict[str, float] = {}
        self._notes: list[str] = []
        self._taken: TakenOverError | None = None
        self._failing: dict[str, str] = {}
        """What of the two threads fails now, and why."""
        self._progress, self._closing = time.monotonic(), threading.Event()
        self._lock, self._done = threading.Lock(), False
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._keeper.start()
        self._thread.start()

    # --- the search's side -----------------------------------------------------------------------

    def remove(self, path: Path) -> None:
        """A file that nobody needs any more, by its path in the working copy; it goes when the records say so."""
        needed = {name: _size(self._run / name) for name in RECORDS}
        with self._lock:
            self._unneeded.append((path.relative_to(self._run).as_posix(), needed))

    def news(self) -> list[str]:
        """What has happened since the last time that a user should know.

        Raises:
            TakenOverError: another process works at the URL; nothing goes there any more from here.
        """
        if self._taken is not None:
            raise self._taken
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self, patience: float = _PATIENCE) -> str:
        """Wait until everything is there, and let go of the lease; else why not, after so long without progress."""
        self._progress = time.monotonic()
        self._closing.set()
        try:
            while self._thread.is_alive() and time.monotonic() < self._progress + patience:
                self._thread.join(0.1)
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            self._ended.set()
        if self._taken is not None:
            return str(self._taken)
        return "" if self._done else next(iter([*self._failing.values()]), f"no progress for {patience:.0f} s")

    # --- the thread's side -----------------------------------------------------------------------

    def _work(self) -> None:
        wait = 0.25
        while True:
            closing = self._closing.is_set()
            try:
                if self._taken is not None or self._ended.is_set():
                    return
                if self._carry(closing) and closing:
                    self._ended.set()
                    self._keeper.join()
                    self._lease.release()
                    self._done = True
                    return
                self._said("carrying")
                wait = 0.25
            except Exception as error:  # the storage's, or this disk's: what is not carried now is carried later
                self._said("carrying", str(error) or type(error).__name__)
                wait = min(max(1.0, 2 * wait), 2.0 if closing else 30.0)
            (self._ended if closing else self._closing).wait(wait)

    def _keep_lease(self) -> None:
        wait = EVERY
        while not self._ended.wait(wait):
            try:
                self._lease.renew()
                self._said("lease")
                wait = EVERY
            except TakenOverError as error:
                self._taken = error
                return
            except Exception as error:  # as above; who does not renew it loses it
                self._said("lease", str(error) or type(error).__name__)
                wait = 2.0

    def _said(self, doing: str, reason: str = "") -> None:
        """Note that something begins to fail, or that nothing does any more."""
        with self._lock:
            before = bool(self._failing)
            self._failing.pop(doing, None)
            if reason:
                self._failing[doing] = reason
            if before == bool(self._failing):
                return
            self._notes.append(
                f"Storage {self._store.url}: {reason}. The search goes on, and all is kept in {self._run} meanwhile"
                if reason
                else f"Storage {self._store.url} answers again"
            )

    def _moves(self) -> None:
        self._progress = time.monotonic()

    def _carry(self, closing: bool) -> bool:
        """Carry what is to be carried now; whether nothing is left."""
        whole = self._carry_records(closing)
        self._carry_removals()
        if not self._due("", closing):
            return False
        began = time.monotonic()
        found = dict(files(self._run))
        self._paced("", began)
        for name, stamp in found.items():
            if self._known.get(name) != stamp:
                whole &= self._carry_file(name, stamp, closing)
        for name in self._known.keys() - found.keys():
            self._store.remove(name)
            del self._known[name]
        return self._carry_best() and whole and not self._unneeded

    def _due(self, name: str, closing: bool) -> bool:
        return closing or time.monotonic() >= self._next.get(name, 0.0)

    def _paced(self, name: str, began: float) -> None:
        now = time.monotonic()
        self._next[name] = again_at(now, now - began)

    def _carry_records(self, closing: bool) -> bool:
        if not self._due("records", closing):
            return False
        began, sizes = time.monotonic(), {name: _size(self._run / name) for name in RECORDS}
        if sizes == self._looked:
            return True
        # Read from the last to the first, put from the first to the last: the log is never behind the others.
        read = {name: whole_lines(self._run / name) for name in reversed(RECORDS)}
        changed = [name for name in RECORDS if len(read[name]) != self._records.get(name, 0)]
        for name in changed:
            self._store.write(name, read[name])
            self._records[name] = len(read[name])
            self._moves()
        self._looked = sizes
        if changed:
            self._paced("records", began)
        return True

    def _carry_removals(self) -> None:
        with self._lock:
            ready = [one for one in self._unneeded if is_recorded(one[1], self._records)]
        for one in ready:
            self._store.remove(one[0])
            self._moves()
            with self._lock:
                self._unneeded.remove(one)

    def _carry_file(self, name: str, stamp: Stamp, closing: bool) -> bool:
        if not self._due(name, closing):
            return False
        began = time.monotonic()
        if self._put(name):
            self._known[name] = stamp
            self._paced(name, began)
        return True

    def _put(self, name: str) -> bool:
        """Put a file; False where it has gone meanwhile."""
        path = self._run / name
        try:
            if not self._failing:
                self._progress = time.monotonic() + path.stat().st_size / _SLOWEST
            self._store.put(path, name, self._moves)
        except (StorageError, FileNotFoundError):
            if path.exists():
                raise
            return False
        self._moves()
        return True

    def _carry_best(self) -> bool:
        """`best/`, if it is another: not there first, then all of it but the recipe, then that."""
        now = _stamp(self._run / RECIPE)
        if now == self._best or now is None:
            return True
        self._store.remove(RECIPE)
        best = ((Path(folder).relative_to(self._run), names) for folder, _, names in os.walk(self._run / "best"))
        here = {(folder / name).as_posix() for folder, names in best for name in names}
        for name in self._store.files("best").keys() - here:
            self._store.remove(name)
        if not all(self._put(name) for name in sorted(here - {RECIPE})) or not self._put(RECIPE):
            return False
        self._best = now
        return _stamp(self._run / RECIPE) == now
