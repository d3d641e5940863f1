"""Appends each fsync, rename, link and new folder to the file `$FROSTLINE_RECORD`, one JSON line each.

Python imports a module of this name in each process whose PYTHONPATH holds its folder: also in Ray's workers.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "FROSTLINE_RECORD"


def install() -> None:
    """Record the calls of this process from now on."""
    fsync, mkdir = os.fsync, os.mkdir
    before = {name: getattr(os, name) for name in ("replace", "rename", "link")}

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        # Taken after the call: if a byte was written meanwhile, the file is counted as synced with it. No part of the
        # program writes to a file in one thread while another one syncs it.
        _append("fsync", f"/proc/self/fd/{descriptor}", "")

    def record_mkdir(path: Any, *more: Any, **words: Any) -> None:
        mkdir(path, *more, **words)
        _append("mkdir", path, path)

    def recorder(name: str) -> Any:
        def record(source: Any, target: Any, **words: Any) -> None:
            _append("rename", source, target)
            before[name](source, target, **words)

        return record

    for name in before:
        setattr(os, name, recorder(name))
    os.fsync, os.mkdir = record_fsync, record_mkdir


def _append(call: str, source: Any, target: Any) -> None:
    place = os.environ.get(VARIABLE)
    if not place:
        return
    named = [Path(source)]
    if call == "rename" and named[0].is_dir():
        named = [Path(folder, name) for folder, _, names in os.walk(source) for name in ("", *names)]
    fields = {
        "pid": os.getpid(),
        "call": call,
        "path": os.path.realpath(source),
        "target": os.path.abspath(os.fspath(target)) if target else "",  # noqa: PTH100
        "states": [state_of(path) for path in named],
    }
    with open(place, "ab", buffering=0) as file:  # noqa: PTH123
        file.write(json.dumps(fields).encode() + b"\n")


def state_of(path: str | Path) -> list[int]:
    """What changes when a file's bytes or a folder's names change: inode, size, time of the last change."""
    status = os.stat(path)  # noqa: PTH116
    return [status.st_ino, status.st_size, status.st_mtime_ns]


if os.environ.get(VARIABLE) and "pytest" not in sys.modules:
    install()
