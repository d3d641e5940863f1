"""Files and folders that are whole or absent, even after a power cut: write aside, fsync, rename, fsync the parent.

The first fsync comes before the rename, else the new name could stand for an empty file after a power cut. The second
one, of the parent folder, makes the rename itself last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Error numbers of a disk that takes no more data. No recipe causes them, and another trial would meet them too."""


def write(path: Path, data: bytes | str) -> None:
    """Write a whole file: afterwards `path` holds `data`, or after an error what it held before. Text is UTF-8.

    Raises:
        OSError: the disk is full, or the folder is missing or not writable.
    """
    with writing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def writing(path: Path, aside: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name when the `with` block ends without an error.

    Args:
        path: the file's name; an older file of that name is replaced.
        aside: name until then, in the same folder; by default one of this process's own.

    Raises:
        OSError: the disk is full, or the folder is missing or not writable. The older file stays.
    """
    aside = aside or aside_of(path)
    try:
        with aside.open("wb") as file:
            yield file
        place(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """A hidden name beside `path` that no other process writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def place(aside: Path, path: Path) -> None:
    """Give a finished file or folder its name, with everything in it on disk first.

    Args:
        aside: the file or folder, in the same file system as `path`.
        path: its name. A file replaces an older file; a folder needs the name to be free (or an empty folder).

    Raises:
        OSError: the name is taken by a folder that is not empty, or the disk failed. `aside` stays.
    """
    for folder, _, names in os.walk(aside, topdown=False):  # of a file, nothing
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))
    if not aside.is_dir():
        _sync(aside)
    aside.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's list of names, are on disk."""
    if path.is_symlink():  # its target belongs to others; the link is part of its folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for folders: there the server decides.
        if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
            raise
    finally:
        os.close(descriptor)
