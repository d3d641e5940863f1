"""Files and folders in use: a lock of the kernel tells that their owner lives, and a process that dies holds none.

A process id would not tell it: containers that share a folder do not share process ids.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from frostline.trainables import _atomic

_MARK = "in-use"
"""File of a folder whose lock says that the folder is in use."""


def use(folder: Path) -> IO[bytes]:
    """Keep a folder, made if there is none, from `remove` until the returned file is closed or forgotten.

    Any number of processes may use a folder at once.
    """
    while True:
        with suppress(FileExistsError):  # it was removed when Python looked whether it is a folder
            _atomic.make_folder(folder)
        if file := _locked(folder, fcntl.LOCK_SH):
            return file


def remove(folder: Path) -> bool:
    """Remove a folder that was in use and is no more. Returns whether it did: another user's folder stays, too."""
    try:
        if not (folder / _MARK).exists() or (file := _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
            return False
        with file:
            # Under another name first: a process that comes now makes a new folder, and nothing of it is removed.
            aside = folder.rename(folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}"))
            for path in aside.iterdir():
                if path.name != _MARK:  # last, so that a removal that breaks off can be made again
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()
            shutil.rmtree(aside, ignore_errors=True)
    except OSError:
        return False
    return True


def _locked(folder: Path, how: int) -> IO[bytes] | None:
    """The locked mark of a folder; None if the folder has been removed or replaced meanwhile.

    Raises:
        BlockingIOError: another process has a lock that excludes this one (`LOCK_NB`).
    """
    try:
        file = (folder / _MARK).open("a+b")  # NFS gives a shared lock to readers only
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, how)
        if os.path.samestat(os.fstat(file.fileno()), (folder / _MARK).stat()):
            return file
    except FileNotFoundError:
        pass
    except OSError:
        file.close()
        raise
    file.close()
    return None


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder that lasts as long as the `with` block. Those of processes that were killed are removed before.

    Args:
        parent: the folder to make it in.
        prefix: how the names of such folders begin.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for folder in sorted(parent.glob(f"{prefix}*")):
        remove(folder)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with use(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def used_here(prefix: str) -> list[Path]:
    """Folders that this process uses, of those whose names begin with `prefix`."""
    folders = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            file = link.readlink()
        except FileNotFoundError:  # closed meanwhile
            continue
        if file.name == _MARK and file.parent.name.startswith(prefix):
            folders.append(file.parent)
    return folders
