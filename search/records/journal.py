"""A file of JSON lines that a crash or a full disk cannot spoil: each line is on disk whole, or it is not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frostline.trainables import _atomic


class Journal:
    """Appends objects to a file of JSON lines; each is on disk before `append` returns, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        _atomic.sync(path.parent)  # the file may be new
        whole = path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(whole)  # a line that a crash cut short would swallow the next one

    def append(self, fields: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            OSError: the disk is full; the file is unchanged.
        """
        whole, text = self._file.seek(0, os.SEEK_END), json.dumps(fields).encode() + b"\n"
        try:
            if self._file.write(text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(whole)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines. A line cut short by a crash is left out; no file has no lines."""
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            fields = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(fields, dict):
            yield fields
