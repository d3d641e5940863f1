"""Appends each fsync, rename, link and new folder to the file `$FROSTLINE_RECORD` while it exists, one JSON line each.

Python imports a module of this name in each process whose PYTHONPATH holds its folder: also in Ray's workers.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "FROSTLINE_RECORD"


def install(place: str) -> None:
    """Record the calls of this process from now on, in the file `place` while it exists."""
    fsync, mkdir = os.fsync, os.mkdir
    before = {name: getattr(os, name) for name in ("replace", "rename", "link")}

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        # Taken after the call: if a byte was written meanwhile, the file is counted as synced with it. No part of the
        # program writes to a file in one thread while another one syncs it.
        _append(place, "fsync", f"/proc/self/fd/{descriptor}", "")

    def record_mkdir(path: Any, *more: Any, **words: Any) -> None:
        mkdir(path, *more, **words)
        _append(place, "mkdir", path, path)

    def recorder(name: str) -> Any:
        def record(source: Any, target: Any, **words: Any) -> None:
            _append(place, "rename", source, target)
            before[name](source, target, **words)

        return record

    for name in before:
        setattr(os, name, recorder(name))
    os.fsync, os.mkdir = record_fsync, record_mkdir


def _append(place: str, call: str, source: Any, target: Any) -> None:
    try:
        record = os.open(place, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return
    named = [] if call == "mkdir" else [Path(source)]
    if call == "rename" and named[0].is_dir():
        named = [Path(folder, name) for folder, _, names in os.walk(source) for name in ("", *names)]
    fields = {
        "pid": os.getpid(),
        "call": call,
        "path": os.path.realpath(source),
        "target": os.path.abspath(os.fspath(target)) if target else "",  # noqa: PTH100
        "states": [state_of(path) for path in named],
    }
    os.write(record, json.dumps(fields).encode() + b"\n")
    os.close(record)


def state_of(path: str | Path) -> list[int]:
    """What changes when a file's bytes or a folder's names change: inode, size, time of the last change."""
    status = os.stat(path)  # noqa: PTH116
    return [status.st_ino, status.st_size, status.st_mtime_ns]


if os.environ.get(VARIABLE) and "pytest" not in sys.modules:
    install(os.environ[VARIABLE])
