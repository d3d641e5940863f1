"""The cache of prepared data: folders named by the hash of everything that decides what is in them."""

import hashlib
import inspect
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frostline.trainables import _atomic, _sizes
from frostline.trainables._storage import cache_root
from frostline.trainables.data.corpus import Array


def code_version(*functions: Callable[..., Any] | type) -> str:
    """Hash of the functions' source. As part of a key it keeps an edited function from reading its old entries."""
    return hashlib.sha256("".join(inspect.getsource(f) for f in functions).encode()).hexdigest()[:16]


def entry_of(key: Mapping[str, Any]) -> Path:
    """The folder in which `cached` keeps the files of `key`. It may not exist yet."""
    text = json.dumps(key, sort_keys=True)
    return cache_root() / "data" / hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(key: Mapping[str, Any], make: Callable[[Path], Mapping[str, Array]]) -> Path:
    """The folder with the files of `key`. `make` fills it if there is none yet, or if one of its files is damaged.

    An entry is built aside and renamed when it is whole. So two searches may build the same entry at once (the first
    rename wins and the other build is deleted), and a killed build leaves no entry.

    Args:
        key: everything that decides the files; JSON values.
        make: writes files into the folder it is given and returns name -> array, each saved as `<name>.npy`.

    Raises:
        ValueError: the cache folder cannot be written.
    """
    entry = entry_of(key)
    if is_whole(entry):
        return entry
    try:
        _atomic.make_folder(entry.parent)
        aside = entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}")
        aside.mkdir()  # not by `tempfile`, whose folders are closed to other users of a shared cache
    except OSError as error:
        raise ValueError(f"cannot write the data cache {entry.parent}: {error.strerror}") from error
    try:
        for name, array in make(aside).items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
        (aside / "key.json").write_text(json.dumps(key, sort_keys=True))
        _sizes.write(aside)
        if entry.is_dir() and not is_whole(entry):
            shutil.rmtree(entry)
        _atomic.place(aside, entry)
    except OSError as error:
        if not is_whole(entry):  # otherwise another search has just finished the same entry
            raise ValueError(f"cannot write the data cache {entry}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return entry


def is_whole(entry: Path, thorough: bool = True) -> bool:
    """True if an entry has all its files as they were written; with `thorough` all bytes of them are read."""
    return not _sizes.damage(entry, thorough)


def open_array(entry: Path, name: str) -> Array:
    """One array of an entry, memory-mapped and read-only."""
    array: Array = np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array
