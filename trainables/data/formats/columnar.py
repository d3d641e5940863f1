"""Parquet, Arrow and Feather: only the wanted columns are read, and every value becomes a string."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from frostline.trainables.data import limits
from frostline.trainables.data.formats.arrow_sizes import declared_bytes
from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.formats.wanted import Wanted
from frostline.trainables.data.rows import Rows


def read(entry: Entry, wanted: Wanted) -> Rows:
    """The rows of a file.

    Raises:
        ValueError: no such columns, columns of lists, objects or bytes, or rows that would take far more memory than
            the file tells.
        pyarrow.ArrowException: another format, or damaged.
    """
    opened = _parquet if entry.format == ".parquet" else _arrow
    schema, batches, count = opened(entry, wanted)
    size = entry.path.stat().st_size
    checked = limits.checked(batches, size, count, f"{entry.where} cannot be read")
    return rows_of(checked, wanted, class_names(schema))


def _parquet(entry: Entry, wanted: Wanted) -> tuple[Any, Iterator[Any], int | None]:
    from pyarrow import parquet

    file = parquet.ParquetFile(entry.source())
    schema = file.schema_arrow
    columns = check(schema, wanted, entry.where)
    texts = [name for name in columns if _is_text(schema.field(name).type)]
    file = parquet.ParquetFile(entry.source(), read_dictionary=texts)
    return schema, file.iter_batches(columns=columns), file.metadata.num_rows


def _arrow(entry: Entry, wanted: Wanted) -> tuple[Any, Iterator[Any], int | None]:
    import pyarrow
    from pyarrow import ipc

    source = entry.source()
    opened = pyarrow.memory_map(source) if isinstance(source, str) else pyarrow.PythonFile(source, mode="r")
    size = entry.path.stat().st_size
    limits.check_size(declared_bytes(opened), size, f"{entry.where} cannot be read: its {size} bytes hold rows")
    try:
        file = ipc.open_file(opened)
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
    except pyarrow.ArrowInvalid:  # the other of its two forms, which the `datasets` library writes
        opened.seek(0)
        file = ipc.open_stream(opened)
        batches = iter(file)
    columns = check(file.schema, wanted, entry.where)
    return file.schema, (_validated(batch.select(columns)) for batch in batches), None


def _validated(batch: Any) -> Any:
    """A record batch whose offsets lie in its buffers. Arrow's readers do not look at them, and crash later."""
    batch.validate(full=True)
    return batch


def check(schema: Any, wanted: Wanted, where: str) -> list[str]:
    """Names of the columns to read.

    Raises:
        ValueError: one is not there, or holds no single values.
    """
    wanted.places(schema.names, where)
    columns = [name for name in wanted.names if name in schema.names]
    for name in columns:
        if kind := _refused(schema.field(name).type):
            raise wanted.refusal(name, kind, where)
    return columns


def _refused(kind: Any) -> str:
    """The name of a type that is no single value; empty for any other."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _refused(kind.value_type)
    if types.is_nested(kind):
        return "a list or an object"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "bytes"
    plain = (types.is_primitive(kind), types.is_decimal(kind), types.is_null(kind), _is_text(kind))
    return "" if any(plain) else f"a value of type {str(kind)[:40]}"


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def class_names(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of each `ClassLabel` that the `datasets` library has described in a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: list(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def rows_of(batches: Iterable[Any], wanted: Wanted, classes: dict[str, list[str]]) -> Rows:
    """Rows of record batches that have the wanted columns.

    Args:
        batches: `pyarrow.RecordBatch`es.
        wanted: the columns.
        classes: names of the classes of columns that hold their numbers.
    """
    values: dict[str, list[str | None]] = {name: [] for name in wanted.names}
    for batch in batches:
        for name, column in values.items():
            if name in batch.schema.names:
                column += _strings(batch.column(name), classes.get(name))
            else:
                column += [None] * batch.num_rows
    inputs, labels, *groups = values.values()
    return Rows(inputs=inputs, labels=labels, groups=groups[0] if groups else None)


def _strings(column: Any, classes: Sequence[str] | None) -> list[str | None]:
    """Values as strings. None for null, NaN and an empty text, and for -1 among the numbers of classes."""
    import numpy as np
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        known = _strings(column.dictionary, None)
        return [None if index is None else known[index] for index in column.indices.to_pylist()]
    if types.is_integer(kind) and classes is not None:
        names = dict(enumerate(classes))
        return [names.get(number) for number in column.to_pylist()]
    if types.is_floating(kind):
        numbers = column.to_numpy(zero_copy_only=False)
        return [None if np.isnan(number) else str(number) for number in numbers]
    if types.is_temporal(kind):
        column = column.cast(pyarrow.string())
    if _is_text(column.type):
        return [value or None for value in _texts(column)]
    return [None if value is None else str(value) for value in column.to_pylist()]


def _texts(column: Any) -> list[str | None]:
    import pyarrow

    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in raw]
