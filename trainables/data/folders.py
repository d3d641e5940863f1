"""Folders of data as other people made them: circles of links, notebooks' copies, pipes and devices in them."""

import os
import stat
from pathlib import Path

_NOT_DATA = {"__MACOSX"}
"""Folders that archivers add; hidden folders, such as `.ipynb_checkpoints`, are no data either."""


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_data(path.name)]


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, folder by folder, without hidden ones. A folder that links lead to twice counts once.

    Raises:
        ValueError: a pipe, socket or device lies there. Opening it could take for ever.
    """
    seen, found = set[tuple[int, int]](), list[tuple[str, list[str]]]()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a circle of links
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if _is_data(name)]
        found.append((place, sorted(name for name in names if _is_data(name))))
    files = [Path(place, name) for place, names in sorted(found) for name in names]
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


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name not in _NOT_DATA
