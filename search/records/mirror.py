"""Uploads a run directory's working copy to its URL while a search works in it, one whole file at a time.

Journals are uploaded first, and files that they no longer need are removed after that. So at every moment the URL holds
a search that can go on. If the storage does not answer for a while, the uploads wait and the search does not.
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
"""Journals, which only grow, in the order of their upload: a training that has ended has begun, and is in the log."""

RECIPE = "best/recipe.json"
"""The last file of `best/`: if it is there, the folder is whole."""

_SHARE = 20.0
"""A file is uploaded again after this many times the seconds of its last upload, and after a second at least."""

_PATIENCE = 60.0
"""Seconds without progress after which the end of a search no longer waits."""

_SLOWEST = 0.5e6
"""Bytes per second that count as progress for a file that is uploaded in one piece."""

Stamp = tuple[int, int, int]
"""A file's modification time in ns, its size in bytes and its inode: if they are the same, so is the file."""


def again_at(done: float, took: float) -> float:
    """When an upload may be repeated, so that it takes a twentieth of the time at most.

    Args:
        done: when it ended, in seconds.
        took: how long it took, in seconds.
    """
    return done + max(1.0, _SHARE * took)


def is_recorded(needed: Mapping[str, int], sent: Mapping[str, int]) -> bool:
    """Whether the uploaded journals are at least as long as they were when a file was no longer needed."""
    return all(sent.get(name, 0) >= size for name, size in needed.items())


def files(run: Path) -> Iterator[tuple[str, Stamp]]:
    """Name and stamp of each file of a working copy that belongs to the URL, except the journals and `best/`.

    Left out are half-written files, Tune's own records, weights (slots upload those), and links.
    """
    for folder, folders, names in os.walk(run):
        relative = Path(folder).relative_to(run)
        top = relative == Path()
        folders[:] = [
            name
            for name in folders
            if not (name.startswith(".") or name.endswith(".part") or (top and name in {"tune", "best"}))
        ]
        for name in names:
            if name.startswith(".") or name.endswith((".part", ".lock")) or (top and name in RECORDS):
                continue
            if relative.parts[:1] in {("trials",), ("confirm",)} and name.endswith(".safetensors"):
                continue
            if (stamp := _stamp(Path(folder, name))) is not None:
                yield (relative / name).as_posix(), stamp


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return None if path.is_symlink() else (status.st_mtime_ns, status.st_size, status.st_ino)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def whole_lines(path: Path) -> bytes:
    """A journal up to its last whole line."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


class Mirror:
    """Two threads of the process that holds the lease: one uploads, one renews the lease."""

    def __init__(self, store: Store, run: Path, lease: Lease, sent: Mapping[str, int]) -> None:
        """Start both threads.

        Args:
            store: the storage of the run directory.
            run: the working copy.
            lease: the lock, which this process has taken.
            sent: sizes of the files at the URL that are the same as here, by name.
        """
        self._store, self._run, self._lease = store, run, lease
        self._sent_records = {name: sent[name] for name in RECORDS if name in sent}
        """Bytes of each journal at the URL."""
        self._sent_files = {name: stamp for name, stamp in files(run) if sent.get(name) == stamp[1]}
        self._sent_best = _stamp(run / RECIPE) if RECIPE in sent else None
        self._polled_sizes: dict[str, int] = {}
        """Bytes of each journal here when the journals were last uploaded."""
        self._unneeded: list[tuple[str, dict[str, int]]] = []
        """Files to remove at the URL, each with the lengths that the journals must have there first."""
        self._next: dict[str, float] = {}
        """When each file may be uploaded again, by the monotonic clock."""
        self._notes: list[str] = []
        self._taken: TakenOverError | None = None
        self._failing: dict[str, str] = {}
        """Reason of failure by activity (`uploads`, `lease`), for those that fail now."""
        self._progress, self._closing = time.monotonic(), threading.Event()
        self._lock, self._done = threading.Lock(), False
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._keeper.start()
        self._thread.start()

    # --- called by the search --------------------------------------------------------------------

    def remove(self, path: Path) -> None:
        """Remove a file at the URL, once the journals there say that nobody needs it. `path`: in the working copy."""
        needed = {name: _size(self._run / name) for name in RECORDS}
        with self._lock:
            self._unneeded.append((path.relative_to(self._run).as_posix(), needed))

    def news(self) -> list[str]:
        """Messages for the user since the last call.

        Raises:
            TakenOverError: another process works at the URL; nothing more is uploaded from here.
        """
        if self._taken is not None:
            raise self._taken
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def close(self, patience: float = _PATIENCE) -> str:
        """Upload the rest and release the lease; returns why that failed, empty if it did not.

        Args:
            patience: seconds without progress after which it gives up.
        """
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

    # --- the threads -----------------------------------------------------------------------------

    def _work(self) -> None:
        wait = 0.25
        while True:
            closing = self._closing.is_set()
            try:
                if self._taken is not None or self._ended.is_set():
                    return
                if self._upload(closing) and closing:
                    self._ended.set()
                    self._keeper.join()
                    self._lease.release()
                    self._done = True
                    return
                self._note("uploads")
                wait = 0.25
            except Exception as error:  # of the storage or of this disk: what is not uploaded now is uploaded later
                self._note("uploads", str(error) or type(error).__name__)
                wait = min(max(1.0, 2 * wait), 2.0 if closing else 30.0)
            (self._ended if closing else self._closing).wait(wait)

    def _keep_lease(self) -> None:
        wait = EVERY
        while not self._ended.wait(wait):
            try:
                self._lease.renew()
                self._note("lease")
                wait = EVERY
            except TakenOverError as error:
                self._taken = error
                return
            except Exception as error:  # of the storage; a lease that is not renewed is lost to another process
                self._note("lease", str(error) or type(error).__name__)
                wait = 2.0

    def _note(self, activity: str, failure: str = "") -> None:
        """Record whether an activity fails now, and tell the user when the first begins to or none does any more."""
        with self._lock:
            before = bool(self._failing)
            self._failing.pop(activity, None)
            if failure:
                self._failing[activity] = failure
            if before == bool(self._failing):
                return
            self._notes.append(
                f"Storage {self._store.url}: {failure}. The search goes on, and all is kept in {self._run} meanwhile"
                if failure
                else f"Storage {self._store.url} answers again"
            )

    def _moves(self) -> None:
        self._progress = time.monotonic()

    def _upload(self, closing: bool) -> bool:
        """Upload what is due; True if nothing is left."""
        whole = self._upload_records(closing)
        self._remove_unneeded()
        if not self._is_due("", closing):
            return False
        began = time.monotonic()
        current = dict(files(self._run))
        self._postpone("", began)
        for name, stamp in current.items():
            if self._sent_files.get(name) != stamp:
                whole &= self._upload_file(name, stamp, closing)
        for name in self._sent_files.keys() - current.keys():
            self._store.remove(name)
            del self._sent_files[name]
        return self._upload_best() and whole and not self._unneeded

    def _is_due(self, name: str, closing: bool) -> bool:
        """Whether a file may be uploaded now; `records` are the journals, "" the list of all files."""
        return closing or time.monotonic() >= self._next.get(name, 0.0)

    def _postpone(self, name: str, began: float) -> None:
        now = time.monotonic()
        self._next[name] = again_at(now, now - began)

    def _upload_records(self, closing: bool) -> bool:
        if not self._is_due("records", closing):
            return False
        began, sizes = time.monotonic(), {name: _size(self._run / name) for name in RECORDS}
        if sizes == self._polled_sizes:
            return True
        # Read from the last to the first, uploaded from the first to the last: the log is never behind the others.
        journals = {name: whole_lines(self._run / name) for name in reversed(RECORDS)}
        changed = [name for name in RECORDS if len(journals[name]) != self._sent_records.get(name, 0)]
        for name in changed:
            self._store.write(name, journals[name])
            self._sent_records[name] = len(journals[name])
            self._moves()
        self._polled_sizes = sizes
        if changed:
            self._postpone("records", began)
        return True

    def _remove_unneeded(self) -> None:
        with self._lock:
            ready = [entry for entry in self._unneeded if is_recorded(entry[1], self._sent_records)]
        for entry in ready:
            self._store.remove(entry[0])
            self._moves()
            with self._lock:
                self._unneeded.remove(entry)

    def _upload_file(self, name: str, stamp: Stamp, closing: bool) -> bool:
        if not self._is_due(name, closing):
            return False
        began = time.monotonic()
        if self._put(name):
            self._sent_files[name] = stamp
            self._postpone(name, began)
        return True

    def _put(self, name: str) -> bool:
        """Upload a file; False if it has gone meanwhile."""
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

    def _upload_best(self) -> bool:
        """Upload `best/` if it is new: remove the recipe at the URL, upload all other files, then the recipe."""
        stamp = _stamp(self._run / RECIPE)
        if stamp == self._sent_best or stamp is None:
            return True
        self._store.remove(RECIPE)
        folders = ((Path(folder).relative_to(self._run), names) for folder, _, names in os.walk(self._run / "best"))
        current = {(folder / name).as_posix() for folder, names in folders for name in names}
        for name in self._store.files("best").keys() - current:
            self._store.remove(name)
        if not all(self._put(name) for name in sorted(current - {RECIPE})) or not self._put(RECIPE):
            return False
        self._sent_best = stamp
        return _stamp(self._run / RECIPE) == stamp
