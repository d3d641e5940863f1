"""Files that are small on disk and too much for memory or for a parser's stack: refused before they are read."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ROOM = 2**30
"""Bytes that a small file may take in memory."""
_GROWTH = 100
"""How many times its own size a larger file may take. Text compresses to a tenth; copies of one text to nothing."""
_STRING = 49
"""Bytes of an empty `str` in CPython."""
_DEPTH = 200
"""Brackets inside one another. pyarrow's reader of JSON recurses, and crashes at some 10,000."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def check_holes(path: Path) -> None:
    """Refuse a file that is made of holes, such as `truncate --size 1T` makes.

    Raises:
        ValueError: it is.
    """
    status = path.stat()
    if status.st_size > _ROOM and 512 * status.st_blocks * _GROWTH < status.st_size:
        raise ValueError(f"{path} is {status.st_size / 1e9:.0f} GB of nothing")


def check_nesting(path: Path) -> None:
    """Refuse JSON, or lines of it, whose lists and objects lie too deep in one another.

    Raises:
        ValueError: they do.
    """
    with path.open("rb") as file:
        if all(line.lstrip()[:1] in {b"{", b""} and line.count(b"[") + line.count(b"{") <= _DEPTH for line in file):
            return  # rows of their own, as most files are; no row can nest deeper than it has brackets
    brackets = np.frombuffer(_TEXT.sub(b"", path.read_bytes()), dtype=np.uint8)
    steps = np.isin(brackets, list(b"[{")).astype(np.int64) - np.isin(brackets, list(b"]}"))
    height = np.cumsum(steps[steps != 0])
    if len(height) and int((height - np.minimum.accumulate(np.minimum(height, 0))).max()) > _DEPTH:
        raise ValueError(f"{path} nests lists and objects more than {_DEPTH} times")


def read_parquet(path: Path, columns: Sequence[str]) -> Any:
    """Some columns of a Parquet file as a `pyarrow.Table`, its texts as dictionaries. No rows if it lacks a column.

    Raises:
        ValueError: the rows would take far more memory than the file tells.
        pyarrow.ArrowException: no Parquet file, or a damaged one.
    """
    import pyarrow
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
    if not set(columns) <= set(schema.names):
        return schema.empty_table()
    for column in columns:
        if pyarrow.types.is_nested(schema.field(column).type):
            raise ValueError(f"column {column!r} holds a list or an object in each row, not one text")
    return pyarrow.Table.from_batches(_batches(path, columns))


def check_parquet(path: Path) -> None:
    """Refuse a Parquet file whose rows would take far more memory than the file tells.

    Raises:
        ValueError: they would.
        pyarrow.ArrowException: no Parquet file, or a damaged one.
    """
    import pyarrow
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        flat = [field.name for field in file.schema_arrow if not pyarrow.types.is_nested(field.type)]
    for _ in _batches(path, flat):
        pass


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    from pyarrow import parquet

    size, total = path.stat().st_size, 0
    with parquet.ParquetFile(path, read_dictionary=list(columns)) as file:
        for batch in file.iter_batches(columns=list(columns)):
            total += sum(map(_bytes_of, batch.columns))
            if total > max(_ROOM, _GROWTH * size):
                raise ValueError(f"its {size} bytes hold {file.metadata.num_rows} rows of over {total / 1e9:.1f} GB")
            yield batch


def _bytes_of(column: Any) -> int:
    """Bytes of a column's values in Python. A dictionary holds each different value once."""
    import pyarrow
    from pyarrow import compute

    if not pyarrow.types.is_dictionary(column.type) or pyarrow.types.is_primitive(column.type.value_type):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary)
    return _STRING * len(column) + int(compute.sum(lengths.take(column.indices)).as_py() or 0)
