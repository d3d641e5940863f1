"""Folders of data as other people made them: circles of links, notebooks' copies, pipes and devices in them."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

_NOT_DATA = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin"}
"""Names, in small letters, of what archivers and file managers add. Hidden ones, such as `._x`, are no data either."""

_MOST_FOLDERS = 500
"""Folders after which a search ends that has found less than a file in ten of them: it is no folder of data."""


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_data(path.name)]


def files_in(folder: Path) -> list[Path]:
    """The files in a folder, by name, without hidden ones."""
    return [path for path in sorted(folder.iterdir()) if _is_data(path.name) and path.is_file()]


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, folder by folder, without hidden ones. A folder that links lead to twice counts once.

    Raises:
        ValueError: a pipe, socket or device lies there. Opening it could take for ever.
    """
    found = sorted(_places_below(folder))
    files = [Path(place, name) for place, names in found for name in sorted(names)]
    for file in files:
        check_file(file)
    return files


def check_file(path: Path) -> None:
    """Refuse a path that is neither a file nor a folder nor missing.

    Raises:
        ValueError: it is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # a link that leads nowhere or to itself: opening it is an error, and takes no time
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} is a pipe, a socket or a device, not a file")


class Search:
    """The files with some endings below one folder or several, folder by folder, without hidden ones."""

    def __init__(self, endings: Collection[str]) -> None:
        """`endings`: in small letters, with their dot."""
        self.others = Counter[str]()
        """How many files have another ending, by ending."""
        self._endings = endings
        self._folders = self._found = 0

    def below(self, folder: Path) -> list[Path]:
        """All such files. A folder that links lead to twice counts once.

        Raises:
            ValueError: there are many folders and hardly such a file, as in `/proc`; or a pipe, socket or device lies
                there. Opening it could take for ever.
        """
        return [Path(place, name) for place, names in sorted(self._walk(folder)) for name in sorted(names)]

    def _walk(self, folder: Path) -> Iterator[tuple[str, list[str]]]:
        for place, names in _places_below(folder):
            endings = {name: Path(name).suffix.lower() for name in names}
            wanted = [name for name in names if endings[name] in self._endings]
            self.others.update(ending for ending in endings.values() if ending not in self._endings)
            for name in names:
                check_file(Path(place, name))
            self._folders, self._found = self._folders + 1, self._found + len(wanted)
            if self._folders >= _MOST_FOLDERS and 10 * self._found < self._folders:
                raise ValueError(
                    f"the first {self._folders:,} folders in it hold {self._found} such files; give the folder that "
                    "the data lie in"
                )
            if wanted:
                yield place, wanted


def _places_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from `folder` on, with the names of its files, without hidden ones. One of a circle counts once."""
    seen = set[tuple[int, int]]()
    for place, folders, names in os.walk(folder, followlinks=True):
        try:
            status = Path(place).stat()
        except OSError:  # it has just gone, as those of `/proc` do
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a circle of links
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if _is_data(name)]
        yield place, [name for name in names if _is_data(name)]


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere; bytes that are not UTF-8 are read as latin-1.

    Accents that a Mac writes as letters of their own are joined with their letter.
    """
    try:
        return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8"))
    except UnicodeDecodeError:
        return os.fsencode(name).decode("latin-1")


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NOT_DATA
