"""Files and folders that are whole or absent, even after a power cut: write aside, fsync, rename, fsync the parent.

The first fsync comes before the rename, else the new name could stand for an empty file after a power cut. The second
one, of the parent folder, makes the rename itself last. The umask decides who may read a file, whatever wrote it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Error numbers of a disk that takes no more data. No recipe causes them, and another trial would meet them too."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""Error numbers of a file system without hard links."""


def write(path: Path, data: bytes | str) -> None:
    """Write a whole file: afterwards `path` holds `data`, or after an error what it held before. Text is UTF-8.

    Raises:
        OSError: the disk is full, or the folder is missing or not writable.
    """
    with writing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def create(path: Path, data: bytes | str) -> None:
    """Write a whole file that must be new. Of several processes that create it, one succeeds. Text is UTF-8.

    Raises:
        FileExistsError: the file exists.
        OSError: the disk is full, or the folder is missing or not writable.
    """
    aside = aside_of(path)
    try:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
        sync(aside)
        try:
            path.hardlink_to(aside)  # a rename would replace another process's file
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            path.touch(exist_ok=False)
            aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if there are none; their names are on disk.

    Raises:
        OSError: the disk is full or the place is not writable.
    """
    if not path.is_dir():
        if not path.parent.exists():
            make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


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


ASIDES = ".*." + 8 * "[0-9a-f]"
"""Pattern of the names that `aside_of` gives."""


def aside_of(path: Path) -> Path:
    """A hidden name beside `path` that nobody else writes to: containers that share a cache share process ids too."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def place(aside: Path, path: Path) -> None:
    """Give a finished file or folder its name, with everything in it on disk first.

    Args:
        aside: the file or folder, in the same file system as `path`.
        path: its name. A file replaces an older file; a folder needs the name to be free (or an empty folder).

    Raises:
        OSError: the name is taken by a folder that is not empty, or the disk failed. `aside` stays.
    """
    mode = _usual_mode(path.parent)
    for folder, _, names in os.walk(aside, topdown=False):  # of a file, nothing
        for name in names:
            _finish(Path(folder, name), mode)
        sync(Path(folder))
    if not aside.is_dir():
        _finish(aside, mode)
    aside.replace(path)
    sync(path.parent)


def _usual_mode(folder: Path) -> int:
    """The permissions that a new file gets in a folder. Libraries that write with a temporary file of their own give
    its owner alone permission to read it."""
    probe = aside_of(folder / "mode")
    try:
        with probe.open("wb") as file:
            return stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    finally:
        probe.unlink(missing_ok=True)


def _finish(file: Path, mode: int) -> None:
    if not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) != mode:
        with suppress(PermissionError):  # another user wrote it, on another machine
            file.chmod(mode)
    sync(file)


def sync(path: Path) -> None:
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
