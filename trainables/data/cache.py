"""The cache of prepared data: folders named by the hash of everything that decides what is in them."""

import hashlib
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frostline.trainables import _atomic
from frostline.trainables._storage import cache_root
from frostline.trainables.data.corpus import Array

_SIZES = "sizes.tsv"
"""File of an entry that lists its other files: name and bytes, one a line. No loader of models reads `*.tsv`."""


def code_version(*functions: Callable[..., Any] | type) -> str:
    """Hash of the functions' source. As part of a key it keeps an edited function from reading its old entries."""
    return hashlib.sha256("".join(inspect.getsource(f) for f in functions).encode()).hexdigest()[:16]


def entry_of(key: Mapping[str, Any]) -> Path:
    """The folder in which `cached` keeps the files of `key`. It may not exist yet."""
    text = json.dumps(key, sort_keys=True)
    return cache_root() / "data" / hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(key: Mapping[str, Any], make: Callable[[Path], Mapping[str, Array]]) -> Path:
    """The folder with the files of `key`. `make` fills it if there is none yet, or if one of its files is cut short.

    An entry is built aside and renamed when it is whole. So two searches may build the same entry at once (the first
    rename wins and the other build is deleted), and a killed build leaves no entry.

    Args:
        key: everything that decides the files; JSON values.
        make: writes files into the folder it is given and returns name -> array, each saved as `<name>.npy`.

    Raises:
        ValueError: the cache folder cannot be written.
    """
    entry = entry_of(key)
    if _is_whole(entry):
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    except OSError as error:
        raise ValueError(f"cannot write the data cache {entry.parent}: {error.strerror}") from error
    try:
        for name, array in make(aside).items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
        (aside / "key.json").write_text(json.dumps(key, sort_keys=True))
        _write_sizes(aside)
        if entry.is_dir() and not _is_whole(entry):
            shutil.rmtree(entry)
        _atomic.place(aside, entry)
    except OSError as error:
        if not _is_whole(entry):  # otherwise another search has just finished the same entry
            raise ValueError(f"cannot write the data cache {entry}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return entry


def _write_sizes(folder: Path) -> None:
    lines = [f"{path.name}\t{path.stat().st_size}\n" for path in sorted(folder.iterdir()) if path.is_file()]
    (folder / _SIZES).write_text("".join(lines), encoding="utf-8")


def _is_whole(entry: Path) -> bool:
    """True if every file of the entry has the size it was written with.

    Entries written without an fsync can hold empty files after a power cut.
    """
    try:
        lines = (entry / _SIZES).read_text(encoding="utf-8").splitlines()
        sizes = [line.split("\t") for line in lines]
        return bool(sizes) and all((entry / name).stat().st_size == int(size) for name, size in sizes)
    except (OSError, ValueError):
        return False


def open_array(entry: Path, name: str) -> Array:
    """One array of an entry, memory-mapped and read-only."""
    array: Array = np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array
