"""Files that are small on disk and too much for memory: refused before their rows are made."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_ROOM = 2**30
"""Bytes that a small file may take in memory."""
_GROWTH = 100
"""How many times its own size a larger file may take. Text compresses to a tenth; copies of one text to nothing."""
_STRING = 49
"""Bytes of an empty `str` in CPython."""
_POINTER = 8
"""Bytes of a row in a list of CPython."""


def check_holes(path: Path) -> None:
    """Refuse a file that is made of holes, such as `truncate --size 1T` makes.

    Raises:
        ValueError: it is.
    """
    status = path.stat()
    if status.st_size > _ROOM and 512 * status.st_blocks * _GROWTH < status.st_size:
        raise ValueError(f"{path} is {status.st_size / 1e9:.0f} GB of nothing")


def checked(batches: Iterable[Any], size: int, count: int | None, problem: str) -> Iterator[Any]:
    """The record batches of a file, as long as they take no more memory than the file tells.

    Args:
        batches: `pyarrow.RecordBatch`es.
        size: bytes of the file.
        count: rows of the file; None if it does not tell.
        problem: the beginning of the message.

    Raises:
        ValueError: they take far more.
    """
    total, rows = 0, 0
    for batch in batches:
        rows += batch.num_rows
        total += sum(map(_bytes_of, batch.columns))
        check_size(total, size, f"{problem}: its {size} bytes hold {count or rows} rows")
        yield batch


def check_size(total: int, size: int, problem: str) -> None:
    """Refuse a file that would take far more memory than it tells.

    Args:
        total: bytes in memory.
        size: bytes of the file.
        problem: the beginning of the message.

    Raises:
        ValueError: it would.
    """
    if total > max(_ROOM, _GROWTH * size):
        raise ValueError(f"{problem} of over {total / 1e9:.1f} GB")


def _bytes_of(column: Any) -> int:
    """Bytes of a column's values in Python. A dictionary holds each different value once."""
    import pyarrow
    from pyarrow import compute

    if not pyarrow.types.is_dictionary(column.type) or pyarrow.types.is_primitive(column.type.value_type):
        return max(int(column.nbytes), _POINTER * len(column))
    lengths = compute.binary_length(column.dictionary)
    return _STRING * len(column) + int(compute.sum(lengths.take(column.indices)).as_py() or 0)
