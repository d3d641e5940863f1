r"""Tables whose cells are separated by `,`, `;`, a tab or `|`: every cell is a string, as written.

Python's `csv` reads the rows. It knows nothing of a quote that is never closed, which swallows the rows up to the
next quote. So a record of several lines is looked at again where these lines are rows of the table themselves.
"""

import csv
import itertools
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from frostline.trainables.data.formats.encoding import Encoding, encoding_of
from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.formats.wanted import Places, Wanted
from frostline.trainables.data.rows import Rows

_DELIMITERS = ",;\t|"
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_BAD_SHARE = 0.01
"""Largest share of lines with too many or too few cells that is left out; more are an error."""
_SURE = 1000
"""Rows whose labels are enough to tell a row from other text."""
_REREAD = 20
"""How many times the lines of a file may be read again before its quotes are given up."""
_NUMBER = r"-?\d+([.,]\d+)?"
_LONGEST_NAME = 60
"""Characters that a column's name has at most in the first line of a table."""


def read(entry: Entry, wanted: Wanted) -> Rows:
    """The rows of a file.

    Raises:
        ValueError: no text, no such columns, or more than 1 % of its lines have too many or too few cells.
    """
    # One cell may be longer than 131,072 letters, the limit of the module. It has no limit for one reader.
    csv.field_size_limit(sys.maxsize)
    encoding = encoding_of(entry)
    dialect, hint = _dialect(entry, encoding, wanted)
    table = _table(entry, encoding, dialect, hint, wanted)
    if encoding.escaped_quotes:
        escaped = _table(entry, encoding, {**dialect, "escapechar": "\\"}, hint, wanted)
        if escaped.odd < table.odd:
            table = escaped
    return table.rows(tuple(filter(None, (encoding.note,))))


def _table(entry: Entry, encoding: Encoding, dialect: dict[str, Any], hint: bool, wanted: Wanted) -> "_Table":
    known = Counter[str]()
    while True:
        with encoding.open(entry) as file:
            if hint:
                file.readline()
            lines = _Lines(_unescaped(file) if "escapechar" in dialect else file, number=int(hint))
            table = _Table(entry=entry, wanted=wanted, dialect=dialect, lines=lines, known=known)
            table.read()
        if not table.early or known:
            return table
        known = table.labels  # what follows tells what the first lines are
        if not known:
            return table


def _unescaped(file: IO[str]) -> Iterator[str]:
    r"""Lines in which a backslash escapes quotes alone: all others are doubled, since `csv` would drop them."""
    return (
        re.sub(r'(\\+)("?)', lambda run: run[0] if run[2] else run[1] * 2, line) if "\\" in line else line
        for line in file
    )


def _dialect(entry: Entry, encoding: Encoding, wanted: Wanted) -> tuple[dict[str, Any], bool]:
    """The delimiter that gives the wanted columns and lines of one length; and whether `sep=;` stands before them."""
    with encoding.open(entry) as file:
        lines = list(itertools.islice(file, 50))
    if told := re.fullmatch(r"sep=(.)", lines[0].strip("\r\n")):
        return {"delimiter": told[1]}, True
    scores = {}
    for delimiter in "\t,;|" if entry.format in {".tsv", ".tab"} else _DELIMITERS:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row] or [[]]
        columns = [name.strip() for name in rows[0]]
        alike = sum(len(row) == len(columns) for row in rows) / len(rows) if len(columns) > 1 else 0
        scores[delimiter] = (sum(name in columns for name in wanted.names), alike)
    delimiter = max(scores, key=lambda one: scores[one])
    spaced = re.search(re.escape(delimiter) + r"(?! )", lines[0]) is None and delimiter in lines[0]
    return {"delimiter": delimiter, "skipinitialspace": spaced}, False


@dataclass(slots=True)
class _Lines:
    """The lines of a file. Those of a record can be given back, to be read in another way."""

    file: Iterator[str]
    number: int = 0
    """Lines that were taken."""
    taken: list[str] = field(default_factory=list)
    """Lines of the record that is being read."""
    returned: int = 0
    _back: deque[str] = field(default_factory=deque)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self.file)
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self, kept: int) -> None:
        """Give back the lines of the record but the first `kept`."""
        back = self.taken[kept:]
        self._back.extendleft(reversed(back))
        self.number -= len(back)
        self.returned += len(back)
        del self.taken[kept:]


@dataclass(slots=True, kw_only=True)
class _Table:
    """The rows of a file while it is read."""

    entry: Entry
    wanted: Wanted
    dialect: dict[str, Any]
    lines: _Lines
    columns: list[str] = field(default_factory=list)
    places: Places = field(init=False)
    read_cells: tuple[list[str], list[str], list[str]] = field(default_factory=lambda: ([], [], []))
    """Texts, labels and groups of all rows."""
    labels: Counter[str] = field(default_factory=Counter)
    """Labels of the rows that are sure."""
    known: Counter[str] = field(default_factory=Counter)
    """Labels that a first reading has met."""
    early: bool = False
    """Whether a record of several lines came before the labels were known."""
    unclosed: list[int] = field(default_factory=list)
    """Lines that begin a text with a quote that is never closed."""
    inner: list[int] = field(default_factory=list)
    """Lines at which a text begins that holds whole rows of the table."""
    bad: list[tuple[int, int]] = field(default_factory=list)
    """Lines that are no rows, and the cells that they have."""
    odd: int = 0
    """Records whose quotes or cells are not as they should be."""

    def read(self) -> None:
        """Read all of them.

        Raises:
            ValueError: the columns are not there, or the quotes cannot be told.
        """
        reader = csv.reader(self.lines, strict=True, **self.dialect)
        self._read_header()
        lines, width, labels = self.lines, len(self.columns), self.labels
        text, label, group = self.places.text, self.places.label, self.places.group
        texts, names, groups = self.read_cells
        while True:
            lines.taken.clear()
            cells: list[str] | None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                cells = None
            if cells is None or len(cells) != width or len(lines.taken) > 1:
                cells = self._mended(cells)
                if cells is None:
                    continue
            if not any(cells):
                continue
            texts.append(cells[text])
            names.append("" if label is None else cells[label])
            groups.append("" if group is None else cells[group])
            labels[names[-1]] += 1

    def _read_header(self) -> None:
        reader = csv.reader(self.lines, **self.dialect)
        self.columns = next(([name.strip() for name in row] for row in reader if any(map(str.strip, row))), [])
        try:
            self.places = self.wanted.places(self.columns, self.entry.where)
        except ValueError:
            if self._is_headless():
                raise ValueError(
                    f"{self.entry.where} has no column {self.wanted.text!r}: its first line looks like a row, not like "
                    f"the names of {len(self.columns)} columns; write them in a line above it"
                ) from None
            raise

    def _is_headless(self) -> bool:
        """True if the first line is a row: long or empty cells, numbers, or cells that stand below themselves."""
        rows = csv.reader(itertools.islice(self.lines, 200), **self.dialect)
        below = {cell for row in itertools.islice(rows, 100) for cell in enumerate(row)}
        return len(self.columns) > 1 and any(
            len(name) > _LONGEST_NAME or len(name.split()) > 6 or re.fullmatch(_NUMBER, name) or (place, name) in below
            for place, name in enumerate(self.columns)
        )

    def _mended(self, cells: list[str] | None) -> list[str] | None:
        """The cells of a record that is not one line with a cell a column. None if it is left out."""
        first = self.lines.number - len(self.lines.taken) + 1
        if cells is None:
            self.odd += 1
            if len(self.lines.taken) == 1 and (literal := self._literal(self.lines.taken[0])) is not None:
                return literal
            cells = self._read_again(first)
        if not any(map(str.strip, cells)):
            return None
        cells = self._of_width(cells)
        if self._has_rows():
            self.early = self.early or len(self.read_cells[0]) < _SURE
            literal, labels, others, inner = self._rows_within()
            if literal and others * 2 >= len(self.lines.taken) - 1 and self._is_row(literal, labels):
                self._give_back(first)
                self.odd += 1
                self.unclosed.append(first)
                return literal
            if inner and len(cells) == len(self.columns):
                self.inner.append(first)
        if len(cells) == len(self.columns):
            return cells
        if (literal := self._literal(self.lines.taken[0])) is None:
            self.bad.append((first, len(cells)))
        self.odd += 1
        self._give_back(first)
        return literal

    def _has_rows(self) -> bool:
        """True if two lines of the record have as many delimiters as a row: the first look, since it is quick."""
        delimiter, most = self.dialect["delimiter"], len(self.columns) - 1
        return len(self.lines.taken) > 1 and sum(line.count(delimiter) >= most for line in self.lines.taken) > 1

    def _read_again(self, first: int) -> list[str]:
        """The record with its quotes as they come."""
        self.lines.give_back(0)
        self._check_effort(first)
        return next(csv.reader(self.lines, **self.dialect), [])

    def _give_back(self, first: int) -> None:
        self.lines.give_back(1)
        self._check_effort(first)

    def _check_effort(self, first: int) -> None:
        if self.lines.returned > _REREAD * self.lines.number + 10**6:
            raise ValueError(f"{self.entry.where}: the quotes from line {first} on are not closed")

    def _of_width(self, cells: list[str]) -> list[str]:
        """A record without empty cells beyond the last column, and with those that it lacks beyond the wanted ones."""
        width = len(self.columns)
        if len(cells) > width and not any(map(str.strip, cells[width:])):
            return cells[:width]
        if self.places.last < len(cells) < width:
            return cells + [""] * (width - len(cells))
        return cells

    def _literal(self, line: str) -> list[str] | None:
        """The cells of a line where quotes are letters. None if it has another number of them."""
        cells = next(csv.reader([line], quoting=csv.QUOTE_NONE, **self.dialect), [])
        if len(cells) != len(self.columns):
            return None
        return [
            cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells
        ]

    def _rows_within(self) -> tuple[list[str] | None, Counter[str], int, int]:
        """The record's first line as a row, the labels of the others, and how many of them are rows.

        The last number leaves out the last line, which holds the end of a text and its label in any case.
        """
        rows = [self._alone(line) for line in self.lines.taken]
        place = self.places.label
        if place is None:
            return None, Counter(), 0, 0
        labels = Counter(row[place] for row in rows if row)
        whole = [row is not None and self._is_row(row, labels) for row in rows[1:]]
        return rows[0], labels, sum(whole), sum(whole[:-1])

    def _alone(self, line: str) -> list[str] | None:
        """The cells of one line, its quotes as letters where they do not end in it. None if they are no row."""
        try:
            cells = next(csv.reader([line], strict=True, **self.dialect), [])
        except csv.Error:
            return self._literal(line)
        return cells if len(cells) == len(self.columns) else None

    def _is_row(self, cells: list[str], labels: Counter[str]) -> bool:
        """True if a line that has the cells of a row has a label that others have."""
        label = cells[self.places.label or 0]
        return bool(label.strip()) and self.labels[label] + self.known[label] + (labels[label] > 1) > 0

    def rows(self, notes: tuple[str, ...]) -> Rows:
        """What was read, and what was assumed.

        Raises:
            ValueError: too many lines are no rows.
        """
        entry, count = self.entry, len(self.read_cells[0])
        if len(self.bad) > _BAD_SHARE * count:
            line, cells = self.bad[0]
            found = f"line {line} has {cells} cell{'s' * (cells != 1)}, the header has {len(self.columns)}"
            delimiters = _NAMES.get(self.dialect["delimiter"], repr(self.dialect["delimiter"]))
            raise ValueError(
                f"{entry.where} cannot be read: {found} ({_lines(len(self.bad))} of {count + len(self.bad)}); "
                f"put texts with {delimiters} or line ends in quotes"
            )
        own = [*notes]
        if "escapechar" in self.dialect:
            own.append(f'{entry.title}: \\" is read as a quote')
        if self.unclosed:
            own.append(
                f"{entry.title}: the quote in line {self.unclosed[0]} is never closed; it is read as a letter"
                + (f" ({_lines(len(self.unclosed))})" if len(self.unclosed) > 1 else "")
            )
        if self.inner:
            own.append(f"{entry.title}: the text in line {self.inner[0]} contains whole rows of the table")
        return Rows(
            inputs=list(map(_filled, self.read_cells[0])),
            labels=list(map(_filled, self.read_cells[1])),
            groups=None if self.wanted.group is None else list(map(_filled, self.read_cells[2])),
            skipped=tuple(f"line {line} of {entry.title}" for line, _ in self.bad),
            notes=tuple(own),
        )


def _filled(cell: str | None) -> str | None:
    """A cell; None if it is empty."""
    return cell if cell and not cell.isspace() else None


def _lines(count: int) -> str:
    return "one line" if count == 1 else f"{count} lines"
