"""The files of the frozen-prefix cache: one folder an entry, below `<cache>/features/`, shared by a node's processes.

A file is whole or absent. Locks of the kernel tell which process writes a file and which entries are in use. A process
that dies holds none.
"""

import fcntl
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from frostline.trainables import _atomic, _locks, _storage


def root() -> Path:
    """The folder of all features on this node."""
    return _storage.cache_root() / "features"


def limit(share: float = 0.2) -> float:
    """Bytes that the features may take by default: a share of the disk that is free, or taken by features already."""
    folder = next(path for path in (root(), *root().parents) if path.exists())
    return share * (shutil.disk_usage(folder).free + sum(_size(folder) for folder in _folders()))


@contextmanager
def new(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name when the `with` block ends without an error: whole or absent."""
    # A shard has one writer, the process that holds its lock. It writes over the file that a killed one left. But all
    # processes of a pass write the same `key.json`, each under a name of its own.
    aside = None if path.name == "key.json" else path.with_name(f".{path.name}")
    with _atomic.writing(path, aside) as file:
        yield file


@contextmanager
def claim(paths: Iterable[Path], wait: bool) -> Iterator[bool]:
    """Lock all paths or none; yields True if locked. All processes keep this order, so none waits for ever."""
    with ExitStack() as locks:
        try:
            for path in paths:
                fcntl.flock(locks.enter_context(path.open("ab")), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            locks.close()
            yield False
        else:
            yield True


def hold(folder: Path) -> IO[bytes]:
    """Keep an entry, made if there is none, from being removed until the returned file is closed or forgotten."""
    file = _locks.use(folder)
    os.utime(file.fileno())  # the entry that was used last is removed last
    return file


def _folders() -> list[Path]:
    return [path for path in root().glob("*") if path.is_dir()] if root().is_dir() else []


def _files(folder: Path) -> list[Path]:
    """All files below a folder; none if another process has just removed it, when `Path.glob` might raise."""
    return [Path(folder, name) for _, _, names in os.walk(folder) for name in names]


def _size(folder: Path) -> int:
    total = 0
    for path in _files(folder):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def empty(folder: Path) -> None:
    """Remove the files of an entry, but not the entry."""
    (folder / "key.json").unlink(missing_ok=True)  # first: without it the entry is not whole, should this break off
    for path in _files(folder):
        if path.suffix == ".npy":
            path.unlink(missing_ok=True)


def make_room(needed: float, most: float, but: Collection[Path] = ()) -> bool:
    """Remove the entries that were not used for longest, until there is room for `needed` bytes more.

    Entries that a trial reads or fills stay.

    Args:
        needed: bytes.
        most: bytes that all entries may take.
        but: folders that stay and are not counted: those that will be filled, perhaps half filled already.

    Returns:
        False if there is no room.
    """
    others = [folder for folder in _folders() if folder not in but]
    by_age = []
    for folder in others:
        with suppress(FileNotFoundError):
            by_age.append(((folder / "in-use").stat().st_mtime, folder))
    by_age.sort()
    total = sum(_size(folder) for _, folder in by_age) + needed
    for _, folder in by_age:
        if total <= most:
            break
        size = _size(folder)
        if _locks.remove(folder):
            total -= size
    return total <= most and not math.isnan(total)
