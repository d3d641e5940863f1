"""JSON: an object a line, a list of objects, or an object of columns. Numbers are strings, as written."""

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from frostline.trainables.data.formats.encoding import encoding_of
from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.formats.wanted import Wanted, shown
from frostline.trainables.data.rows import Rows

_TOO_DEEP = "nests lists and objects more than 200 times"
"""Python's reader gives up at some 1,000, and never crashes."""


def read(entry: Entry, wanted: Wanted) -> Rows:
    """The rows of a file.

    Raises:
        ValueError: no JSON, no such columns, or a column of lists or objects.
    """
    encoding = encoding_of(entry)
    columns = _Columns(entry, wanted)
    with encoding.open(entry) as file:
        try:
            for number, row in _objects(file, columns):
                columns.add(number, row)
        except RecursionError:
            raise ValueError(f"{entry.where} {_TOO_DEEP}") from None
    return columns.rows(tuple(filter(None, (encoding.note,))))


def _objects(file: Iterable[str], columns: "_Columns") -> Iterator[tuple[int, Any]]:
    """Each row with the number of its line, or of its place in a list."""
    load = json.JSONDecoder(
        strict=False,  # a tab in a text, not written as \\t
        parse_int=str,
        parse_float=str,
        parse_constant=lambda word: None if word == "NaN" else word,
        object_pairs_hook=columns.once,
    )
    lines = enumerate(file, 1)
    number, first = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    if not first.lstrip().startswith("["):
        try:
            row = load.decode(first)
        except json.JSONDecodeError:
            pass  # an object on many lines
        else:
            following = next(((number, line) for number, line in lines if line.strip()), None)
            if following is None:
                yield from enumerate(_unfolded(row, columns.wanted), 1)
                return
            yield number, row
            for number, line in itertools.chain([following], lines):
                if not line.isspace():
                    try:
                        yield number, load.decode(line)
                    except json.JSONDecodeError as error:
                        raise columns.no_json(number, error) from None
            return
    yield from _whole("\n" * (number - 1) + "".join([first, *(line for _, line in lines)]), load, columns)


def _whole(text: str, load: json.JSONDecoder, columns: "_Columns") -> Iterator[tuple[int, Any]]:
    values, place = list[Any](), 0
    try:
        while place < len(text):
            if text[place].isspace():
                place += 1
            else:
                value, place = load.raw_decode(text, place)
                values.append(value)
    except json.JSONDecodeError as error:
        raise columns.no_json(error.lineno, error) from None
    if len(values) == 1:
        values = values[0] if isinstance(values[0], list) else _unfolded(values[0], columns.wanted)
    yield from enumerate(values, 1)


def _unfolded(value: Any, wanted: Wanted) -> list[Any]:
    """The rows of a document that is one object: a list in it, or its columns as lists or as pandas writes them."""
    if not isinstance(value, dict):
        return [value]
    if wanted.text not in value:
        lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        return lists[0] if len(lists) == 1 else [value]
    columns = [value[name] for name in wanted.names if name in value]
    if all(isinstance(column, dict) for column in columns) and len({tuple(column) for column in columns}) == 1:
        columns = [list(column.values()) for column in columns]
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
    if len(columns) < 2 or len(lengths) > 1 or -1 in lengths:
        return [value]
    names = [name for name in wanted.names if name in value]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


class _Columns:
    """The wanted values of all rows."""

    def __init__(self, entry: Entry, wanted: Wanted) -> None:
        self.where, self.wanted = entry.where, wanted
        self._values: tuple[list[str | None], ...] = tuple([] for _ in wanted.names)
        self._names: dict[str, None] = {}
        self._wanted = frozenset(wanted.names)

    def no_json(self, line: int, error: json.JSONDecodeError) -> ValueError:
        """The error about a line that is no JSON."""
        return ValueError(f"{self.where} cannot be read: line {line} is no JSON: {error.msg}")

    def once(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object in which no wanted column stands twice.

        Raises:
            ValueError: one does.
        """
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            for name in self.wanted.names:
                if names.count(name) > 1:
                    raise ValueError(f"{self.where} has {names.count(name)} columns called {shown(name)!r} in one row")
        return row

    def add(self, number: int, row: Any) -> None:
        """Take the next row.

        Raises:
            ValueError: it is no object, or has a list or an object where a string belongs.
        """
        if not isinstance(row, dict):
            kind = {list: "a list", type(None): "null"}.get(type(row), "one value")
            raise ValueError(f"{self.where} cannot be read: row {number} is {kind}, not an object with names")
        if not self._wanted <= self._names.keys() and len(self._names) < 1000:
            self._names.update(dict.fromkeys(row))
        for name, values in zip(self.wanted.names, self._values, strict=True):
            value = row.get(name)
            if isinstance(value, str):
                values.append(_clean(value) or None)
            elif value is None:
                values.append(None)
            elif isinstance(value, bool):
                values.append("true" if value else "false")
            else:
                kind = "a list" if isinstance(value, list) else "an object"
                raise self.wanted.refusal(name, kind, f"{self.where}: row {number}")

    def rows(self, notes: tuple[str, ...]) -> Rows:
        """All of them.

        Raises:
            ValueError: a column is not there.
        """
        if self._names or self._values[0]:
            self.wanted.places(list(self._names), self.where)
        inputs, labels, *groups = self._values
        return Rows(inputs=inputs, labels=labels, groups=groups[0] if groups else None, notes=notes)


def _clean(text: str) -> str:
    """A text without halves of letters, which JSON can write and nothing else can; empty if it is of spaces."""
    if text.isascii():
        return "" if text.isspace() else text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "" if text.isspace() else text
