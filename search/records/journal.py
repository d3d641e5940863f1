"""A file of JSON lines that a crash or a full disk cannot spoil: each line is on disk whole, or it is not there.

The last field of a line, `crc`, is the CRC-32 of the line without it. A line that does not fit its checksum is damaged.
A last line without a line break was cut short by a crash, or is being written. A person may write a line, or change
one, without `crc`; the lines of earlier versions have none either.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.trainables import _atomic

_CHECKED = re.compile(rb'(?P<text>\{.*), "crc": "(?P<crc>[0-9a-f]{8})"\}', re.DOTALL)


class Journal:
    """Appends objects to a file of JSON lines; each is on disk before `append` returns, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        _atomic.sync(path.parent)  # the file may be new
        self._file.truncate(whole_length(path.read_bytes()))  # a torn line would swallow the next one

    def append(self, fields: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            OSError: the disk is full; the file is unchanged.
        """
        whole, text = self._file.seek(0, os.SEEK_END), checked(fields) + b"\n"
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


def checked(fields: Mapping[str, Any]) -> bytes:
    """One line with its checksum, without a line break."""
    text = json.dumps(fields)
    return f'{text[:-1]}, "crc": "{zlib.crc32(text.encode()):08x}"}}'.encode()


def whole_length(data: bytes) -> int:
    """Bytes of a journal without a torn last line: one without a line break, or with NULs, as a power cut leaves."""
    whole = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(0, whole - 1)) + 1
    return last if b"\0" in data[last:whole] else whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One whole line of a journal."""

    line: int
    """Number of the line in the file, from 1."""
    fields: dict[str, Any]
    """Its object without the checksum; empty if the line is damaged."""
    damage: str = ""
    """Why the line cannot be used; empty if it can."""


def entries(path: Path) -> Iterator[Entry]:
    """The lines of a journal, damaged ones too. A torn last line and empty lines are left out; no file has no lines.

    Raises:
        ValueError: the path is no file.
    """
    if not is_file(path):
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    for number, text in enumerate(data[: whole_length(data)].split(b"\n"), start=1):
        if text.strip():
            fields, damage = _read(text.strip())
            yield Entry(line=number, fields=fields, damage=damage)


def is_file(path: Path) -> bool:
    """True if there is a file, False if there is nothing.

    Raises:
        ValueError: something else is there, such as a folder, a pipe, or a link to itself.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    raise ValueError(f"{path} is not a file")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a journal; damaged lines are left out too.

    Raises:
        ValueError: the path is no file.
    """
    return (entry.fields for entry in entries(path) if not entry.damage)


def _read(text: bytes) -> tuple[dict[str, Any], str]:
    """The object of a line, and its damage."""
    match = _CHECKED.fullmatch(text)
    if match and zlib.crc32(match["text"] + b"}") != int(match["crc"], 16):
        return {}, "its checksum does not fit"
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}, "it is not JSON"
    if not isinstance(fields, dict):
        return {}, "it is not a JSON object"
    if fields.pop("crc", None) is not None and not match:
        return {}, "its checksum is not its last field"
    return fields, ""
