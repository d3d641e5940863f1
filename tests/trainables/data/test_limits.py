"""Files that are small on disk and large in memory, or deeper than a parser's stack: refused before they are read."""

import bz2
import gzip
import lzma
import multiprocessing
import os
import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from frostline.spaces import Data
from frostline.trainables.data.tables import read_rows


def rows_of_one_text(path: Path) -> None:
    """300 million rows in a few MB."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1_000_000, pyarrow.int32()), ["x" * 100])
    table = pyarrow.table({"text": texts, "label": pyarrow.array([1] * 1_000_000)})
    with parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(table)


def one_long_text(path: Path) -> None:
    """A terabyte in 2 kB."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000, pyarrow.int32()), ["a" * 10_000_000])
    parquet.write_table(pyarrow.table({"text": texts, "label": [1] * 100_000}), path, compression="zstd")


def lists(path: Path) -> None:
    texts = [["a"] * 100_000] * 100
    parquet.write_table(pyarrow.table({"text": texts, "label": [1] * 100}), path, compression="zstd")


def nested_lists(path: Path) -> None:
    path.write_text('{"text": ' + "[" * 100_000 + "]" * 100_000 + ', "label": 1}\n')


def nested_objects(path: Path) -> None:
    path.write_text('{"a": ' * 100_000 + "1" + "}" * 100_000 + "\n")


def nested_on_many_lines(path: Path) -> None:
    path.write_text('{"text": "]]]]", "a":\n' + "[\n" * 100_000)


def nested_behind_closing_brackets(path: Path) -> None:
    path.write_text(f'{{"text": "{"]" * 200_000}", "label": "x"}}\n{{"text": {"[" * 100_000}\n')


def holes(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


_TEXT = 1_000_003
"""Letters of a text of an Arrow file: a number that stands nowhere else in it."""
_LINE = b"a good film,pos\n"
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}


def packed(path: Path) -> None:
    """A gigabyte of rows in a megabyte or less."""
    write_packed(path, _LINE * (2**20 // len(_LINE)))


def packed_cell(path: Path) -> None:
    """One cell of a gigabyte."""
    write_packed(path, b"a" * 2**20)


def write_packed(path: Path, megabyte: bytes) -> None:
    pack = _PACKERS[path.suffix]
    path.write_bytes(pack(b"text,label\n") + 1000 * pack(megabyte))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/train.csv", "w") as file:
        file.write(b"text,label\n")
        for _ in range(100):
            file.write(_LINE * (2**20 // len(_LINE)))


def sheet(path: Path) -> None:
    """An Excel file with 100 MB of blanks."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["text", "label"])
    book.save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/x.xml", "w") as file:
        for _ in range(100):
            file.write(b" " * 2**20)


def packed_parquet(path: Path) -> None:
    write_packed(path, b"\0" * 2**20)


def compressed_arrow(path: Path) -> None:
    """One text that takes four terabytes, as its file declares."""
    write_arrow(path, 1)
    path.write_bytes(path.read_bytes().replace(struct.pack("<q", _TEXT), struct.pack("<q", 2**42)))


def many_arrow(path: Path) -> None:
    """A hundred batches of 40 megabytes."""
    write_arrow(path, 40, batches=100)


def write_arrow(path: Path, megabytes: int, batches: int = 1) -> None:
    texts = pyarrow.array(["a" * _TEXT], pyarrow.large_string()).take(pyarrow.array([0] * megabytes))
    table = pyarrow.record_batch({"text": texts, "label": ["x"] * megabytes})
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.ipc.new_file(str(path), table.schema, options=options) as writer:
        for _ in range(batches):
            writer.write_batch(table)


BOMBS: list[tuple[str, Callable[[Path], None], str]] = [
    ("a.parquet", rows_of_one_text, r"its \d+ bytes hold 30000000 rows of over 1.\d GB"),
    ("a.parquet", one_long_text, r"its \d+ bytes hold 100000 rows of over"),
    ("a.parquet", lists, "column 'text' holds a list or an object in each row, not one text"),
    ("a.jsonl", nested_lists, "nests lists and objects more than 200 times"),
    ("a.jsonl", nested_objects, "nests lists and objects more than 200 times"),
    ("a.jsonl", nested_on_many_lines, "nests lists and objects more than 200 times"),
    ("a.jsonl", nested_behind_closing_brackets, "nests lists and objects more than 200 times"),
    *((f"a.csv{ending}", packed, r"its \d+ bytes hold over \d+ MB") for ending in _PACKERS),
    *((f"a.csv{ending}", packed_cell, r"its \d+ bytes hold over \d+ MB") for ending in _PACKERS),
    ("a.jsonl.gz", packed, r"its \d+ bytes hold over \d+ MB"),
    ("a.parquet.gz", packed_parquet, r"its \d+ bytes hold over \d+ MB"),
    ("a.zip", zipped, r"its \d+ bytes hold over \d+ MB"),
    ("a.xlsx", sheet, r"its \d+ bytes hold over \d+ MB"),
    ("a.arrow", compressed_arrow, r"its \d+ bytes hold .* of over"),
    ("a.feather", many_arrow, r"its \d+ bytes hold .* of over"),
    ("a.csv", holes, "is 1000 GB of nothing"),
    ("a.jsonl", holes, "is 1000 GB of nothing"),
    ("a.parquet", holes, "is 1000 GB of nothing"),
]


def _read(path: Path, answers: "multiprocessing.Queue[str]") -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + 2 * 2**30, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    try:
        read_rows(Data(source=str(path)))
    except ValueError as error:
        answers.put(str(error))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("in_folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(("name", "make", "problem"), BOMBS, ids=[f"{make.__name__} {name}" for name, make, _ in BOMBS])
def test_a_bomb_is_refused_with_2_gb_and_little_time(
    name: str, make: Callable[[Path], None], problem: str, in_folder: bool, tmp_path: Path
) -> None:
    """In a process of its own with limits, since the readers would crash or fill the memory."""
    make(tmp_path / name)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_read, args=(tmp_path if in_folder else tmp_path / name, answers))
    process.start()
    process.join()
    assert process.exitcode == 0
    message = answers.get()
    assert re.search(problem, message), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "[[[[", "label": "x"}\n' * 1000,
        '{"text": "' + "[" * 100_000 + '", "label": "x"}\n',
        '{"text": "\\"' + "{" * 100_000 + '", "label": "x"}\n',
        '[{"text": "a", "label": "x", "tags": [[["x"]]]}\n' + ', {"text": "b", "label": "x"}\n' * 1000 + "]",
    ],
)
def test_brackets_in_texts_and_shallow_ones_pass(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert set(read_rows(Data(source=str(tmp_path / "a.json")))["train"].labels) == {"x"}


def test_a_parquet_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Texts that repeat come as dictionaries, and other columns are not looked at."""
    texts = [f"text {number % 7}" for number in range(1000)]
    table = pyarrow.table({"extra": [[1]] * 1000, "text": texts, "label": [number % 2 for number in range(1000)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    rows = read_rows(Data(source=str(tmp_path / "a.parquet")))["train"]
    assert rows.inputs == texts
    assert rows.labels == [str(number % 2) for number in range(1000)]
