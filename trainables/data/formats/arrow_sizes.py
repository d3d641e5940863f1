"""Sizes that an Arrow file declares for its compressed buffers: one of kilobytes may declare terabytes.

pyarrow allots them before anything can be checked, so they are read from the file's own descriptions, which are
FlatBuffers (https://arrow.apache.org/docs/format/Columnar.html, "Compression"; org/apache/arrow/flatbuf/Message.fbs).
"""

import struct
from dataclasses import dataclass
from typing import Any

_MAGIC = b"ARROW1"
_DICTIONARY, _ROWS = 2, 3
"""Kinds of a message."""
_KIND, _HEADER, _BUFFERS, _COMPRESSION, _INNER = 1, 2, 2, 3, 1
"""Numbers of the fields of a message, of its header if that has rows, and of the header of a dictionary."""


def declared_bytes(source: Any) -> int:
    """Bytes that all compressed buffers of an Arrow file or stream take when they are read.

    Args:
        source: the file as pyarrow or Python has opened it, at its beginning; it is left there.

    Raises:
        ValueError: it is damaged.
        pyarrow.ArrowException: it is no Arrow file, or damaged.
    """
    from pyarrow import ipc

    if source.read(len(_MAGIC)) == _MAGIC:
        source.seek(8)  # what follows is a stream
    else:
        source.seek(0)
    total = 0
    try:
        for message in ipc.MessageReader.open_stream(source):
            total += _declared(message)
    except (struct.error, IndexError) as error:
        raise ValueError("it is damaged") from error
    source.seek(0)
    return total


def _declared(message: Any) -> int:
    table = _Table.root(memoryview(message.metadata))
    kind, rows = table.number(_KIND, "<B"), table.table(_HEADER)
    if kind == _DICTIONARY and rows is not None:
        rows = rows.table(_INNER)
    if kind not in {_DICTIONARY, _ROWS} or rows is None or rows.table(_COMPRESSION) is None:
        return 0
    body, total = memoryview(message.body), 0
    for offset, length in rows.pairs(_BUFFERS):
        if length:
            total += max(struct.unpack_from("<q", body, offset)[0], 0)  # -1: it is not compressed
    return total


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer."""

    data: memoryview
    place: int

    @classmethod
    def root(cls, data: memoryview) -> "_Table":
        """The outermost table."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def _field(self, number: int) -> int | None:
        start = self.place - struct.unpack_from("<i", self.data, self.place)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, start)[0]:
            return None
        offset: int = struct.unpack_from("<H", self.data, start + 4 + 2 * number)[0]
        return self.place + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        """A field that is a number; 0 if it is not there."""
        place = self._field(number)
        return 0 if place is None else int(struct.unpack_from(kind, self.data, place)[0])

    def table(self, number: int) -> "_Table | None":
        """A field that is a table."""
        place = self._field(number)
        return None if place is None else _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """A field that is a list of two numbers each."""
        place = self._field(number)
        if place is None:
            return []
        place += struct.unpack_from("<I", self.data, place)[0]
        count = struct.unpack_from("<I", self.data, place)[0]
        if place + 4 + 16 * count > len(self.data):
            raise IndexError(count)
        return list(struct.iter_unpack("<qq", self.data[place + 4 : place + 4 + 16 * count]))
