"""Excel's `.xlsx`: the first sheet that has the wanted columns, every cell as Excel writes it into a CSV file."""

import datetime
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from frostline.trainables.data.formats.entries import Entry, check_growth
from frostline.trainables.data.formats.wanted import Wanted, shown
from frostline.trainables.data.rows import Rows

_HEADER = 20
"""Rows of a sheet among which the names of the columns are looked for: a title may stand above them."""


def read(entry: Entry, wanted: Wanted) -> Rows:
    """The rows of a file.

    Raises:
        ValueError: no sheet has the columns, or the file holds far more than its size tells.
        Exception: whatever openpyxl raises for a damaged file.
    """
    import openpyxl

    source = entry.source()
    with zipfile.ZipFile(source) as archive:
        infos = archive.infolist()
    check_growth(sum(info.compress_size for info in infos), sum(info.file_size for info in infos), entry.where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and of other parts that are not read
        book = openpyxl.load_workbook(source, read_only=True, data_only=True)
        try:
            return _first_table(book, entry, wanted)
        finally:
            book.close()


def _first_table(book: Any, entry: Entry, wanted: Wanted) -> Rows:
    problem: ValueError | None = None
    sheets = book.worksheets
    for sheet in sheets:
        rows = sheet.iter_rows(values_only=True)
        for header in _headers(rows):
            try:
                places = wanted.places(header, entry.where)
            except ValueError as error:
                if problem is None or "columns called" in str(error):
                    problem = error
                continue
            texts, labels, groups = list[str | None](), list[str | None](), list[str | None]()
            for row in rows:
                cells = [*map(_string, row)]
                if any(cell is not None for cell in cells):
                    cells += [None] * (places.last + 1 - len(cells))
                    texts.append(cells[places.text])
                    labels.append(None if places.label is None else cells[places.label])
                    groups.append(None if places.group is None else cells[places.group])
            others = f"{entry.title}: only the sheet {shown(sheet.title)!r} is read" if len(sheets) > 1 else ""
            notes = tuple(filter(None, (others,)))
            return Rows(inputs=texts, labels=labels, groups=groups if wanted.group else None, notes=notes)
    raise problem or ValueError(f"{entry.where} is empty: it has no rows")


def _headers(rows: Iterator[Iterable[Any]]) -> Iterator[list[str]]:
    """The rows of a sheet that may hold the names of its columns."""
    for row, _ in zip(rows, range(_HEADER), strict=False):
        names = [(_string(cell) or "").strip() for cell in row]
        if any(names):
            yield names


def _string(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return str(value.date())
    text = str(value)
    return None if not text or text.isspace() else text
