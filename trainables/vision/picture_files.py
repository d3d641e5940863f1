"""Pictures in files of their own."""

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from frostline.trainables.data.folders import printable
from frostline.trainables.vision.pictures import Picture

_LARGEST = 256 * 2**20
"""Bytes of the largest file that is read as a picture."""

_LONGEST = 200
"""Characters of a picture's name in messages."""


def pictures_of(paths: Sequence[Path], root: Path) -> list[Picture]:
    """The pictures of files, named by their way from `root`."""

    def read(path: Path) -> Picture:
        name = printable(os.path.relpath(path, root))
        return picture(
            name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...", functools.partial(bytes_in, path)
        )

    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(read, paths))


def picture(name: str, read: Callable[[], bytes]) -> Picture:
    """A picture that `read` gives. One that cannot be read is left out later, with those that cannot be decoded."""
    try:
        digest = hashlib.sha256(read()).hexdigest()
    except OSError as error:  # a broken link or no permission
        digest = hashlib.sha256(f"{name}: {error}".encode()).hexdigest()
    return Picture(digest=digest, name=name, read=read)


def bytes_in(path: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        OSError: it cannot be read, or is too large for a picture.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a list may name a device, which never ends
            raise OSError(errno.EINVAL, "no file", str(path))
        if status.st_size > _LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return path.read_bytes()
    except ValueError as error:  # a name with a NUL, from a list
        raise OSError(str(error)) from error


def workers() -> int:
    """Threads that decode pictures: one a core that this process may use."""
    return len(os.sched_getaffinity(0))
