"""Whole files at a URL (s3://bucket/prefix, or another protocol of fsspec), for a run directory in no shared folder.

A slot trains in a folder of its own machine, and uploads the files that others need as a whole: nobody ever sees half
a file. fsspec's implementations take credentials and endpoint from the environment.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from frostline.trainables import _atomic, _locks
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._errors import first_line
from frostline.trainables._task import NodeError

_T = TypeVar("_T")

PATIENCE = 900.0
"""Seconds that a slot waits for storage that does not answer; then its trial goes on elsewhere."""


def cache_root() -> Path:
    """The folder of all that this machine keeps from search to search.

    It is `$FROSTLINE_CACHE`, else `frostline` in the user's cache folder. A user who has no such folder, or may not
    write there, has one in the folder for temporary files.
    """
    if own := os.environ.get("FROSTLINE_CACHE"):
        return Path(own)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no HOME, and the user is unknown to the system
        return _temporary_cache()
    folder = Path(base) / "frostline"
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return folder if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else _temporary_cache()


def _temporary_cache() -> Path:
    """A folder that is this user's alone.

    Raises:
        ValueError: another user has taken its name.
    """
    folder = Path(tempfile.gettempdir()) / f"frostline-cache-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode):
        raise ValueError(f"{folder} belongs to another user: FROSTLINE_CACHE names another folder for the cache")
    return folder


class StorageError(Exception):
    """The storage has failed; the message is one line of its error."""

    def __init__(self, reason: str, lasting: bool) -> None:
        """`lasting`: waiting does not help (no credentials or no permission, say)."""
        super().__init__(reason)
        self.lasting = lasting


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file in a listing."""

    size: int
    modified: datetime.datetime | None
    """By the storage's clock; None if it does not tell."""


class Store:
    """The files below one URL, by their names relative to it."""

    def __init__(self, url: str) -> None:
        """Open a URL, without reaching the storage yet.

        Raises:
            ValueError: no such protocol.
            ImportError: its package is not installed.
        """
        import fsspec

        self.url = url
        # Not `fsspec.url_to_fs`: that reads `::` in a path as a chain of file systems.
        kind = fsspec.get_filesystem_class(url.partition("://")[0])
        self._fs = kind(**kind._get_kwargs_from_urls(url))
        self._root = str(kind._strip_protocol(url)).rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def write(self, name: str, data: bytes, new: bool = False) -> None:
        """Write a file. With `new` it must not exist, so that only one of several writers succeeds.

        Raises:
            FileExistsError: the file exists already (`new`).
            StorageError: it could not be written.
        """
        with _said():
            self._fs.pipe_file(self._path(name), data, mode="create" if new else "overwrite")

    def put(self, local: Path, name: str, progress: Callable[[], None] | None = None) -> None:
        """Upload a file; `progress` is called meanwhile.

        Raises:
            StorageError: it could not be uploaded.
        """
        from fsspec.callbacks import Callback

        hooks = {"progress": lambda size, value: value and progress()} if progress else {}
        with _said():
            self._fs.put_file(str(local), self._path(name), callback=Callback(hooks=hooks))

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it does not exist.

        Raises:
            StorageError: it could not be read.
        """
        with _said(missing=True):
            data: bytes = self._fs.cat_file(self._path(name))
            return data
        return None

    def get(self, names: Iterable[str], folder: Path) -> None:
        """Fetch files to their names below a folder. Files that do not exist are left out.

        Raises:
            StorageError: they could not be read.
        """
        for name in names:
            local = folder / name
            local.parent.mkdir(parents=True, exist_ok=True)
            aside = _atomic.aside_of(local)
            try:
                with _said(missing=True):
                    self._fs.get_file(self._path(name), str(aside))
                    _atomic.place(aside, local)
            finally:
                aside.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists.

        Raises:
            StorageError: it could not be removed.
        """
        with _said(missing=True):
            self._fs.rm_file(self._path(name))

    def files(self, below: str = "") -> dict[str, Entry]:
        """Name -> entry of all files, or those below a folder. Names that would lead out of a folder are left out.

        Raises:
            StorageError: they could not be listed.
        """
        with _said(missing=True):
            self._fs.invalidate_cache()
            infos = self._fs.find(self._path(below) if below else self._root, detail=True)
            names = {path[len(self._root) + 1 :]: info for path, info in infos.items()}
            return {name: _entry(info) for name, info in names.items() if _leads_inside(name)}
        return {}

    def modified(self, name: str) -> datetime.datetime | None:
        """When a file was written, by the storage's clock; None if it does not exist.

        Raises:
            StorageError: it did not answer.
        """
        with _said(missing=True):
            self._fs.invalidate_cache()
            time: datetime.datetime = self._fs.modified(self._path(name))
            return time
        return None

    def try_out(self) -> None:
        """Write, list, read and remove a file.

        Raises:
            StorageError: one of these fails.
        """
        mark = f".frostline-{uuid.uuid4().hex}"
        self.write(mark, b"frostline", new=True)
        try:
            if self.read(mark) != b"frostline" or mark not in self.files(mark):
                raise StorageError("what was written there cannot be read", lasting=True)
        finally:
            self.remove(mark)


def _entry(info: dict[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("created")
    return Entry(
        size=int(info.get("size") or 0), modified=modified if isinstance(modified, datetime.datetime) else None
    )


def _leads_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and "\\" not in name and "\0" not in name


@contextlib.contextmanager
def _said(missing: bool = False) -> Iterator[None]:
    """Turn the errors of fsspec's implementations into `StorageError`. With `missing`, a missing file is no error."""
    try:
        yield
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        if not missing or _lacks_bucket(error):
            raise StorageError(first_line(error), lasting=True) from error
    except Exception as error:  # each implementation has types of its own, beside OSError
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise  # the disk of this machine, to which a file was fetched
        lasting = isinstance(error, PermissionError) or "Credential" in type(error).__name__
        raise StorageError(first_line(error), lasting=lasting) from error


def _lacks_bucket(error: FileNotFoundError) -> bool:
    """Whether a bucket is missing, and not only a file in it. s3fs keeps the server's answer as the cause."""
    answer = getattr(error.__cause__, "response", None)
    return isinstance(answer, dict) and answer.get("Error", {}).get("Code") == "NoSuchBucket"


def patiently(do: Callable[[], _T], url: str, patience: float = PATIENCE) -> _T:
    """Call `do`, again and again for up to `patience` seconds while the storage does not answer.

    Raises:
        NodeError: it did not answer in time, or waiting does not help: this machine cannot use the storage.
    """
    until, wait = time.monotonic() + patience, 1.0
    while True:
        try:
            return do()
        except StorageError as error:
            if error.lasting or time.monotonic() + wait > until:
                raise NodeError(f"{socket.gethostname()}: storage {url}: {error}") from error
        time.sleep(wait)
        wait = min(2 * wait, 30.0)


def blind(url: str, mark: str) -> str:
    """Why this machine cannot read the file `mark` that another has written, or write itself; empty if it can."""
    try:
        store = Store(url)
        if store.read(mark) is None:
            return "it does not see what the driver writes there"
        store.try_out()
    except (StorageError, ImportError, ValueError) as error:
        return str(error)
    return ""


class Home:
    """The files of a run directory for a slot: in the folder itself, or for a URL in a folder of this machine."""

    def __init__(self, run: str, url: str, scratch: Path) -> None:
        """Make a folder below `scratch`, a folder of this machine, if the run directory is at a URL."""
        self._run, self._url = Path(run), url
        self._store = Store(url) if url else None
        self._here, self._stack = self._run, contextlib.ExitStack()
        if url:
            self._here = self._stack.enter_context(_locks.scratch(scratch, f"{socket.gethostname()}-"))

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def path(self, path: Path) -> Path:
        """The path on this machine of a path of the run directory."""
        return self._here / path.relative_to(self._run) if self._store else path

    def get(self, path: Path) -> Path:
        """Fetch a file of the run directory, if it exists; returns its path on this machine.

        Raises:
            NodeError: the storage cannot be used from here.
        """
        if self._store:
            store, name = self._store, self._name(path)
            patiently(functools.partial(store.get, [name], self._here), self._url)
        return self.path(path)

    def put(self, path: Path) -> None:
        """Upload a file of this machine, or all files of a folder.

        Raises:
            NodeError: the storage cannot be used from here.
        """
        if self._store:
            store, here = self._store, self.path(path)
            for file in sorted(here.rglob("*")) if here.is_dir() else [here]:
                if file.is_file():
                    name = file.relative_to(self._here).as_posix()
                    patiently(functools.partial(store.put, file, name), self._url)

    def offer(self, path: Path) -> None:
        """Upload a file if the storage answers now. If it does not, a newer file follows soon."""
        if self._store:
            with contextlib.suppress(StorageError):
                self._store.put(self.path(path), self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._run).as_posix()

    def close(self) -> None:
        """Remove the folder of this machine."""
        self._stack.close()
