"""A case, and the formats that a case is written in."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import feather, parquet

Row = tuple[str | None, str | None]

ROWS: list[Row] = [(f"text {number}, good", "pos" if number % 2 else "neg") for number in range(40)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One input."""

    name: str
    files: Mapping[str, bytes]
    """Name -> content. A single file is the data set itself; several are a folder, or one with `folder`."""
    rows: Sequence[Row] | Mapping[str, Sequence[Row]] = ()
    """The rows of `train`, or of each split."""
    notes: str = ""
    """Words of a note, as a regular expression."""
    refused: str = ""
    """Words of the error, as a regular expression."""
    columns: str = "text,label"
    group: str | None = None
    folder: bool = False
    config: str = ""
    skipped: int = 0

    def make(self, place: Path) -> Path:
        """Write it and return the data set."""
        for name, content in self.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return place if self.folder or len(self.files) != 1 else place / next(iter(self.files))


def csv_of(rows: Sequence[Sequence[Any]], delimiter: str = ",", header: Sequence[str] = ("text", "label")) -> bytes:
    """A CSV as Python writes it."""
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return made.getvalue().encode()


def jsonl_of(rows: Sequence[Row]) -> bytes:
    """An object a line."""
    return b"".join(json.dumps({"text": text, "label": label}).encode() + b"\n" for text, label in rows)


def table_of(rows: Sequence[Row]) -> Any:
    """An Arrow table."""
    return pyarrow.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})


def parquet_of(table: Any) -> bytes:
    """A Parquet file."""
    made = io.BytesIO()
    parquet.write_table(table, made)
    return made.getvalue()


def columns_of(**columns: Any) -> bytes:
    """A Parquet file of these columns."""
    return parquet_of(pyarrow.table(columns))


def stream_of(table: Any) -> bytes:
    """An Arrow stream, as the `datasets` library writes it."""
    made = io.BytesIO()
    with pyarrow.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table)
    return made.getvalue()


def feather_of(table: Any) -> bytes:
    """An Arrow file, compressed as pandas does."""
    made = io.BytesIO()
    feather.write_feather(table, made, compression="zstd")
    return made.getvalue()


def xlsx_of(*sheets: Sequence[Sequence[Any]]) -> bytes:
    """An Excel file."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet{number + 1}")
        for row in rows:
            sheet.append(list(row))
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def zst_of(content: bytes) -> bytes:
    """A zstd file."""
    made: bytes = pyarrow.compress(content, "zstd", asbytes=True)
    return made


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zst_of,
}
ENDINGS = {
    ".csv": csv_of(ROWS),
    ".tsv": csv_of(ROWS, "\t"),
    ".json": json.dumps([{"text": text, "label": label} for text, label in ROWS]).encode(),
    ".jsonl": jsonl_of(ROWS),
    ".ndjson": jsonl_of(ROWS),
    ".parquet": parquet_of(table_of(ROWS)),
    ".arrow": stream_of(table_of(ROWS)),
    ".feather": feather_of(table_of(ROWS)),
    ".xlsx": xlsx_of([("text", "label"), *ROWS]),
}
