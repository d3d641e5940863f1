"""Data as people have them, and what is right: the rows that are read, or the words of the refusal."""

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

FORMATS = [
    *(Case(name=f"a {ending}", files={f"a{ending}": content}, rows=ROWS) for ending, content in ENDINGS.items()),
    *(
        Case(name=f"a {ending}{packing}", files={f"a{ending}{packing}": pack(content)}, rows=ROWS)
        for ending, content in ENDINGS.items()
        for packing, pack in PACKERS.items()
    ),
    *(
        Case(name=f"a {ending} in a zip", files={"a.zip": zip_of({f"a{ending}": content})}, rows=ROWS)
        for ending, content in ENDINGS.items()
    ),
    *(
        Case(name=f"a .{ending} with {name}", files={f"a.{ending}": csv_of(ROWS, delimiter)}, rows=ROWS)
        for ending in ("csv", "txt", "TSV")
        for delimiter, name in {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}.items()
    ),
    Case(name="JSON lines in a .json", files={"a.json": jsonl_of(ROWS)}, rows=ROWS),
    Case(
        name="an indented list",
        files={"a.json": json.dumps(json.loads(ENDINGS[".json"]), indent=1).encode()},
        rows=ROWS,
    ),
    Case(name="a list in a .jsonl", files={"a.jsonl": ENDINGS[".json"]}, rows=ROWS),
    Case(
        name="indented objects, one after another",
        files={"a.jsonl": b'{\n "text": "a",\n "label": "x"\n}\n{\n "text": "b",\n "label": "y"\n}\n'},
        rows=[("a", "x"), ("b", "y")],
    ),
    Case(
        name="columns as pandas writes them",
        files={"a.json": b'{"text":{"0":"a","1":"b"},"label":{"0":1,"1":0}}'},
        rows=[("a", "1"), ("b", "0")],
    ),
    Case(name="a list in an object", files={"a.json": b'{"version": 1, "data": ' + ENDINGS[".json"] + b"}"}, rows=ROWS),
    Case(
        name="Windows line ends",
        files={"a.csv": b'text,label\r\na,x\r\n"b\r\nc",y\r\n'},
        rows=[("a", "x"), ("b\r\nc", "y")],
    ),
    Case(name="Excel's sep=;", files={"a.csv": b"sep=;\ntext;label\na, b;x\n"}, rows=[("a, b", "x")]),
    Case(name="a blank after each comma", files={"a.csv": b'text, label\n"a, b", x\n'}, rows=[("a, b", "x")]),
    Case(
        name="empty lines and cells at the ends",
        files={"a.csv": b"\ntext,label,\n\na,x,\n,,\nb,y,,,\n\n"},
        rows=[("a", "x"), ("b", "y")],
    ),
    Case(
        name="a second sheet",
        files={
            "a.xlsx": xlsx_of(
                [("notes",), ("x",)], [("Reviews of 2024",), (), ("text", "label"), ("a", 1), ("b", True), (2.5, "c")]
            )
        },
        rows=[("a", "1"), ("b", "TRUE"), ("2.5", "c")],
        notes="only the sheet 'Sheet2' is read",
    ),
    Case(
        name="a cell of 8 MB in a CSV",
        files={"a.csv": csv_of([("a b," * 2_000_000, "x"), ("b", "y")])},
        rows=[("a b," * 2_000_000, "x"), ("b", "y")],
    ),
    Case(
        name="a cell of 8 MB in a JSONL",
        files={"a.jsonl": jsonl_of([("a b " * 2_000_000, "x"), ("b", "y")])},
        rows=[("a b " * 2_000_000, "x"), ("b", "y")],
    ),
]

ODD_LABELS = [
    "01",
    "1",
    "02",
    "10",
    "true",
    "false",
    "True",
    "NA",
    "None",
    "null",
    "nan",
    "NaN",
    "EU",
    "1.0",
    "2.0",
    "10.0",
    "-1",
    "+1",
    "1e5",
    "12345678901234567890",
    "2020-01-01",
    "1,5",
    "0x1F",
    "inf",
]
ODD_TEXTS: list[Row] = [("null", "a"), ("NA", "b"), ("123", "a"), ("2020-01-01", "b"), ("1.50", "a"), ("-", "b")]

STRINGS = [
    *(
        Case(
            name=f"labels as written in {name}",
            files={f"a{ending}": write([(f"text {number}", label) for number, label in enumerate(ODD_LABELS)])},
            rows=[(f"text {number}", label) for number, label in enumerate(ODD_LABELS)],
            folder=folder,
        )
        for folder in (False, True)
        for name, ending, write in (
            ("a CSV", ".csv", csv_of),
            ("a TSV", ".tsv", lambda rows: csv_of(rows, "\t")),
            ("strings of JSON", ".jsonl", jsonl_of),
            ("Excel's texts", ".xlsx", lambda rows: xlsx_of([("text", "label"), *rows])),
        )
    ),
    Case(name="texts that are numbers, dates and null", files={"a.csv": csv_of(ODD_TEXTS)}, rows=ODD_TEXTS),
    Case(name="the same in a folder", files={"train.csv": csv_of(ODD_TEXTS)}, rows=ODD_TEXTS, folder=True),
    Case(
        name="numbers of JSON",
        files={
            "a.jsonl": b'{"text": 1.50, "label": 12345678901234567890}\n'
            b'{"text": true, "label": 1.0}\n{"text": "a", "label": -0}\n'
        },
        rows=[("1.50", "12345678901234567890"), ("true", "1.0"), ("a", "-0")],
    ),
    Case(
        name="halves of letters in JSON",
        files={"a.jsonl": b'{"text": "a\\ud800b \\ud83d\\ude00", "label": "x"}\n'},
        rows=[("a\ufffdb \U0001f600", "x")],
    ),
    Case(
        name="whole numbers of Parquet",
        files={"a.parquet": columns_of(text=[1, 2], label=[2**60, -1])},
        rows=[("1", str(2**60)), ("2", "-1")],
    ),
    Case(
        name="truths of Parquet",
        files={"a.parquet": columns_of(text=["a", "b"], label=[True, False])},
        rows=[("a", "True"), ("b", "False")],
    ),
    Case(
        name="small floats of Parquet",
        files={"a.parquet": columns_of(text=["a", "b"], label=pyarrow.array([0.1, 1], pyarrow.float32()))},
        rows=[("a", "0.1"), ("b", "1.0")],
    ),
    Case(
        name="categories of Parquet",
        files={"a.parquet": columns_of(text=["a", "b"], label=pyarrow.array(["x", None]).dictionary_encode())},
        rows=[("a", "x"), ("b", None)],
    ),
    Case(
        name="dates of Parquet",
        files={"a.parquet": columns_of(text=["a"], label=pyarrow.array([1], pyarrow.date32()))},
        rows=[("a", "1970-01-02")],
    ),
]

NO_LABEL = [
    Case(
        name="an empty cell of a CSV",
        files={"a.csv": b'text,label\na,x\nb,\nc,""\n,y\nd,  \n'},
        rows=[("a", "x"), ("b", None), ("c", None), (None, "y"), ("d", None)],
    ),
    Case(
        name="null, NaN, nothing and an empty text of JSON",
        files={
            "a.jsonl": b'{"text": "a", "label": null}\n{"text": "b", "label": NaN}\n{"text": "c"}\n'
            b'{"text": "d", "label": ""}\n{"text": null, "label": "NaN"}\n'
        },
        rows=[("a", None), ("b", None), ("c", None), ("d", None), (None, "NaN")],
    ),
    Case(
        name="null of Parquet",
        files={"a.parquet": columns_of(text=["a", None], label=["x", None])},
        rows=[("a", "x"), (None, None)],
    ),
    Case(
        name="NaN of Parquet",
        files={"a.parquet": columns_of(text=["a", "b", "c"], label=[1.0, float("nan"), None])},
        rows=[("a", "1.0"), ("b", None), ("c", None)],
    ),
    Case(
        name="a column of nulls",
        files={"a.parquet": columns_of(text=["a"], label=pyarrow.nulls(1))},
        rows=[("a", None)],
    ),
    Case(name="-1 of a CSV is a string", files={"a.csv": b"text,label\na,-1\nb,0\n"}, rows=[("a", "-1"), ("b", "0")]),
    Case(
        name="an empty cell of Excel",
        files={"a.xlsx": xlsx_of([("text", "label"), ("a", None), (None, None), ("b", 1)])},
        rows=[("a", None), ("b", "1")],
    ),
]

FRENCH: list[Row] = [("un café à la crème", "négatif"), ("très bon", "positif"), ("ça va", "négatif")]
RUSSIAN: list[Row] = [("Это очень хороший фильм", "хорошо"), ("Мне совсем не понравилось", "плохо")]
CHINESE: list[Row] = [("这部电影非常好看，我很喜欢", "好"), ("演员的表演很差，故事也不好", "坏")]


def encoded(rows: Sequence[Row], encoding: str, delimiter: str = ",") -> bytes:
    """A table in another encoding."""
    return csv_of(rows, delimiter).decode().encode(encoding)


LONG: list[Row] = [(f"text {number} ü", "neg" if number % 2 else "pos") for number in range(3500)]
ONE_BAD = csv_of(LONG).replace("text 3400 ü".encode(), b"text 3400 \xfc")
ASCII_BUT_ONE = csv_of([(str(text).replace(" ü", ""), label) for text, label in LONG]).replace(b"text 3400", b"caf\xe9")

ENCODINGS = [
    *(
        Case(
            name=f"{name} {suffix}",
            files={f"a.{suffix}": encoded(rows, name, "\t" if suffix == "tsv" else ",")},
            rows=rows,
            notes=note,
        )
        for suffix in ("csv", "tsv", "txt")
        for name, rows, note in (
            ("utf-8", FRENCH, ""),
            ("utf-8-sig", FRENCH, ""),
            ("utf-16", FRENCH, "a.... is UTF-16, not UTF-8"),
            ("utf-32", FRENCH, "UTF-32"),
            ("utf-16-le", FRENCH * 9, "UTF-16-LE"),
            ("utf-16-be", FRENCH * 9, "UTF-16-BE"),
            ("latin-1", FRENCH, "a.... is not UTF-8; it is read as cp1252"),
            ("cp1252", [*FRENCH, ("l’œuvre “naïve”", "négatif")], "cp1252"),
            ("cp1251", RUSSIAN, "cp1251"),
            ("koi8_r", RUSSIAN, "koi8_r"),
            ("gb18030", CHINESE, "gb18030"),
        )
    ),
    Case(name="Excel's Unicode text", files={"a.txt": encoded(FRENCH, "utf-16", "\t")}, rows=FRENCH, notes="UTF-16"),
    Case(
        name="Excel's Unicode text as .csv",
        files={"a.csv": encoded(FRENCH, "utf-16", "\t")},
        rows=FRENCH,
        notes="UTF-16",
    ),
    Case(
        name="JSON in latin-1",
        files={"a.jsonl": json.dumps({"text": "café", "label": "né"}, ensure_ascii=False).encode("latin-1")},
        rows=[("café", "né")],
        notes="cp1252",
    ),
    Case(name="JSON with a BOM", files={"a.json": b"\xef\xbb\xbf" + ENDINGS[".json"]}, rows=ROWS),
    Case(
        name="one bad byte among good ones in row 3,400",
        files={"a.csv": ONE_BAD},
        rows=[*LONG[:3400], ("text 3400 \ufffd", "pos"), *LONG[3401:]],
        notes="a.csv: line 3402 has a byte that is not UTF-8",
    ),
    Case(
        name="one byte beyond ASCII in row 3,400",
        files={"a.csv": ASCII_BUT_ONE},
        rows=[
            *((f"text {n}", label) for n, (_, label) in enumerate(LONG[:3400])),
            ("café", "pos"),
            *((f"text {n + 3401}", label) for n, (_, label) in enumerate(LONG[3401:])),
        ],
        notes="a.csv is not UTF-8; it is read as cp1252",
    ),
    Case(
        name="a latin-1 file in a folder",
        files={"train.csv": encoded(FRENCH, "latin-1")},
        rows=FRENCH,
        notes="train.csv is not UTF-8",
        folder=True,
    ),
    Case(
        name="bytes of latin-1 in Parquet",
        files={
            "a.parquet": parquet_of(
                pyarrow.table(
                    {
                        "text": pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
                        if hasattr(pyarrow.array([b"x"]), "view")
                        else ["x"],
                        "label": ["x"],
                    }
                )
            )
        },
        rows=[("caf\ufffd", "x")],
    ),
]


def with_quotes(rows: Sequence[Row], *numbers: int) -> bytes:
    """A table in which a quote that is never closed stands before these texts."""
    lines = csv_of(rows).splitlines()
    for number in numbers:
        lines[number + 1] = b'"' + lines[number + 1]
    return b"\n".join(lines) + b"\n"


def quoted(rows: Sequence[Row], *numbers: int) -> list[Row]:
    """The rows of such a table."""
    return [(f'"{text}' if number in numbers else text, label) for number, (text, label) in enumerate(rows)]


PLAIN: list[Row] = [(f"text {number}", "pos" if number % 2 else "neg") for number in range(200)]
MANY: list[Row] = [(f"text {number}", "pos" if number % 2 else "neg") for number in range(20_000)]
SWALLOWING = [(50, 150), (50, 51), (0, 199), (10,), (199,), (0, 1, 2), (5, 10, 100, 150)]

QUOTES = [
    *(
        Case(
            name=f"quotes never closed in the rows {', '.join(map(str, numbers))}",
            files={"a.csv": with_quotes(PLAIN, *numbers)},
            rows=quoted(PLAIN, *numbers),
            notes=f"a.csv: the quote in line {numbers[0] + 2} is never closed" if numbers != (199,) else "",
        )
        for numbers in SWALLOWING
    ),
    Case(
        name="quotes 2,000 rows apart in 20,000",
        files={"a.csv": with_quotes(MANY, 1000, 3000)},
        rows=quoted(MANY, 1000, 3000),
        notes=r"line 1002 is never closed; it is read as a letter \(2 lines\)",
    ),
    Case(
        name="the same in a folder",
        files={"train.csv": with_quotes(MANY, 1000, 3000)},
        rows=quoted(MANY, 1000, 3000),
        notes="line 1002",
        folder=True,
    ),
    Case(
        name="one quote that swallows the rest of 20,000 rows",
        files={"a.csv": with_quotes(MANY, 1000)},
        rows=quoted(MANY, 1000),
        notes="line 1002",
    ),
    Case(
        name="a quote that is never closed before rows in quotes",
        files={"a.csv": with_quotes([("a", "neg"), ("b", "pos")], 0) + csv_of(ROWS).split(b"\n", 1)[1]},
        rows=[('"a', "neg"), ("b", "pos"), *ROWS],
        notes="line 2",
    ),
    Case(
        name="labels before the texts",
        files={
            "a.csv": b"label,text\n"
            + b"".join(
                b"%s,%s\n" % (b"pos" if n % 2 else b"neg", b'"open' if n in {5, 20} else b"text") for n in range(30)
            )
        },
        rows=[('"open' if n in {5, 20} else "text", "pos" if n % 2 else "neg") for n in range(30)],
        notes="line 7",
    ),
    Case(
        name="a text that holds whole rows",
        files={"a.csv": b'text,label\nx,neg\ny,pos\n"See the table:\ngood,pos\nbad,neg\nend",neg\n'},
        rows=[("x", "neg"), ("y", "pos"), ("See the table:\ngood,pos\nbad,neg\nend", "neg")],
        notes="the text in line 4 contains whole rows",
    ),
    Case(
        name="texts of several lines",
        files={"a.csv": csv_of([("one,\ntwo, three\n\nfour", "neg"), ("a\nb", "pos")] * 20)},
        rows=[("one,\ntwo, three\n\nfour", "neg"), ("a\nb", "pos")] * 20,
    ),
    Case(
        name=r"\" as Spark and MySQL write it",
        files={"a.csv": b'text,label\n"he said \\"hi, you\\" to me",pos\n"a\\\\",neg\n"C:\\new\\dir",neg\nx,pos\n'},
        rows=[('he said "hi, you" to me', "pos"), ("a\\", "neg"), ("C:\\new\\dir", "neg"), ("x", "pos")],
        notes=r'\\" is read as a quote',
    ),
    Case(
        name="texts that end in a backslash",
        files={"a.csv": b'text,label\n"C:\\",pos\n"C:\\new, ""x""",neg\n'},
        rows=[("C:\\", "pos"), ('C:\\new, "x"', "neg")],
    ),
    Case(
        name="doubled quotes",
        files={"a.csv": csv_of([('he said "hi", "ho"', "x"), ('"', "y"), ('""', "x")])},
        rows=[('he said "hi", "ho"', "x"), ('"', "y"), ('""', "x")],
    ),
    Case(
        name="quotes in quotes, not doubled",
        files={"a.csv": b'text,label\n"he said "hi" to me",pos\n"Hello" he said,neg\nsize 5" x,pos\n'},
        rows=[('he said "hi" to me', "pos"), ('"Hello" he said', "neg"), ('size 5" x', "pos")],
    ),
    Case(
        name="a quote never closed in a TSV",
        files={"a.tsv": b'text\tlabel\n"a\tx\nb\ty\nc\tx\n"d\ty\ne\tx\n'},
        rows=[('"a', "x"), ("b", "y"), ("c", "x"), ('"d', "y"), ("e", "x")],
        notes="line 2",
    ),
]

LEFT_OUT = csv_of(PLAIN) + b"a,b,c,d\n"

COLUMNS = [
    *(
        Case(
            name=f"two columns of one name in {name}",
            files={f"a{ending}": content},
            refused="a[.][a-z]* has 2 columns called 'label'",
        )
        for name, ending, content in (
            ("a CSV", ".csv", b"text,label,label\na,x,y\n"),
            ("JSON", ".jsonl", b'{"text": "a", "label": "x", "label": "y"}\n'),
            ("Parquet", ".parquet", parquet_of(pyarrow.table([["a"], ["x"], ["y"]], names=["text", "label", "label"]))),
            ("Excel", ".xlsx", xlsx_of([("text", "label", "label"), ("a", "x", "y")])),
        )
    ),
    Case(name="two other columns of one name", files={"a.csv": b"text,label,x,x\na,b,c,d\n"}, rows=[("a", "b")]),
    *(
        Case(
            name=f"a {name} as {column}",
            files={f"a.{ending}": content},
            refused=f"column '{column}' holds .*{kind}.*, not one (text|class).*--columns",
        )
        for name, column, kind, ending, content in (
            ("list", "text", "a list", "jsonl", b'{"text": ["a", "b"], "label": "x"}\n'),
            ("object", "text", "an object", "jsonl", b'{"text": {"body": "x"}, "label": "x"}\n'),
            ("list", "label", "a list", "jsonl", b'{"text": "a", "label": ["x", "y"]}\n'),
            ("list", "text", "a list", "json", b'[{"text": ["a", "b"], "label": "x"}]'),
            ("list", "text", "a list", "parquet", columns_of(text=[["a"]], label=["x"])),
            ("struct", "text", "an object", "parquet", columns_of(text=[{"body": "x"}], label=["x"])),
            ("list", "label", "a list", "arrow", stream_of(pyarrow.table({"text": ["a"], "label": [[1, 0]]}))),
            ("column of bytes", "text", "bytes", "parquet", columns_of(text=[b"a"], label=["x"])),
        )
    ),
    *(
        Case(
            name=f"no such column in {ending}",
            files={f"a{ending}": content},
            columns="review,label",
            refused=r"a\.[a-z]* has no column 'review'; it has text, label \(--columns TEXT,LABEL\)",
        )
        for ending, content in ENDINGS.items()
    ),
    Case(
        name="no header",
        files={"a.csv": b"A film that I liked very much and shall see again,pos\nBad,neg\nGood,pos\n"},
        refused="a.csv has no column 'text': its first line looks like a row, not like the names of 2 columns",
    ),
    Case(
        name="no header, short texts",
        files={"a.csv": b"good,pos\nBad,neg\nGood,pos\n"},
        refused="first line looks like a row",
    ),
    Case(name="no header, numbers", files={"a.csv": b"good,1\nBad,0\n"}, refused="first line looks like a row"),
    Case(
        name="hidden characters in the header",
        files={"a.csv": b"te\x1b[31mxt,la\x00bel,\xe2\x80\xae\na,x,y\n"},
        refused=r"it has te\\x1b\[31mxt, la\\x00bel, \\u202e \(--columns",
    ),
    Case(
        name="a header with a long name",
        files={"a.csv": b"name,%s\na,b\n" % (b"x" * 50)},
        refused="it has name, xxxxx{30,40}[.]{3} ",
    ),
    Case(name="names with blanks", files={"a.csv": b" text ,label \na,x\n"}, rows=[("a", "x")]),
    Case(
        name="an unused column that changes its type",
        files={
            "a.jsonl": b'{"text": "a", "label": "x", "meta": {"k": 1}}\n' * 100
            + b'{"text": "b", "label": "y", "meta": "none"}\n'
        },
        rows=[("a", "x")] * 100 + [("b", "y")],
    ),
    Case(name="a line that is too long, among many", files={"a.csv": LEFT_OUT}, rows=PLAIN, skipped=1),
    Case(
        name="many lines that are too long",
        files={"a.csv": b"text,label\na,b,x\nc,b\nd, e,b\n"},
        refused="line 2 has 3 cells, the header has 2 .2 lines of 3.; put texts with commas in quotes",
    ),
    Case(
        name="a line that is too short",
        files={"a.csv": b"text,label\na\nc,b\n"},
        refused="line 2 has 1 cell, the header has 2",
    ),
    Case(
        name="lines without the last cells, which nobody needs",
        files={"a.csv": b"text,label,id,date\na,x\nb,y,1\n"},
        rows=[("a", "x"), ("b", "y")],
    ),
    Case(
        name="no JSON",
        files={"a.jsonl": b'{"text": "a", "label": "x"}\nnot json\n'},
        refused="cannot be read: line 2 is no JSON",
    ),
    Case(
        name="JSON of lists",
        files={"a.jsonl": b'{"text": "a", "label": "x"}\n["a", "x"]\n'},
        refused="row 2 is a list, not an object",
    ),
    Case(name="JSON of values", files={"a.json": b"[1, 2]"}, refused="row 1 is one value, not an object"),
    *(
        Case(name=f"{kind} as .csv", files={"a.csv": content}, refused=f"a.csv cannot be read: it is {kind}")
        for kind, content in (
            ("a zip", zip_of({"a.csv": csv_of(ROWS)})),
            ("a gzip file", gzip.compress(csv_of(ROWS))),
            ("a Parquet file", ENDINGS[".parquet"]),
            ("an HTML page", b"<!DOCTYPE html><html>"),
        )
    ),
    *(
        Case(
            name=f"no {ending}",
            files={f"a{ending}": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4},
            refused=f"a{ending} ",
        )
        for ending in (*ENDINGS, ".csv.gz", ".csv.zst", ".csv.xz", ".csv.bz2", ".zip")
    ),
    Case(name="another format", files={"a.pkl": b"x"}, refused="a.pkl must end in .csv, .tsv"),
    Case(name="an empty file", files={"a.csv": b""}, refused="a.csv is empty"),
    Case(name="blank lines", files={"a.csv": b"\n\n"}, refused="a.csv is empty"),
    Case(name="a header alone", files={"a.csv": b"text,label\n"}, refused="a.csv is empty: it has no rows"),
]


CARD = b"""---
configs:
- config_name: films
  data_files:
  - split: train
    path: a*.csv
  - {split: test, path: [b.csv]}
  - {split: extra, path: c.csv}
---
"""
TWO = b"""---
configs:
- {config_name: films, data_files: a.csv}
- {config_name: books, data_dir: d, data_files: '*'}
---
"""


def texts(*names: str) -> dict[str, bytes]:
    """Files that hold their own names."""
    return {name: name.encode() for name in names}


FOLDERS = [
    Case(name="shards", files={f"part-{n}.csv": csv_of(ROWS[n::2]) for n in range(2)}, rows=[*ROWS[::2], *ROWS[1::2]]),
    Case(
        name="shards of several formats",
        files={
            "a.csv": csv_of(ROWS[:9]),
            "b.jsonl.gz": gzip.compress(jsonl_of(ROWS[9:20])),
            "c.parquet": parquet_of(table_of(ROWS[20:])),
        },
        rows=ROWS,
    ),
    Case(
        name="train, dev and test",
        files={"train.csv": csv_of(ROWS[:20]), "dev.csv": csv_of(ROWS[20:30]), "test.csv": csv_of(ROWS[30:])},
        rows={"train": ROWS[:20], "validation": ROWS[20:30], "test": ROWS[30:]},
    ),
    Case(
        name="a zip of them",
        files={
            "a.zip": zip_of(
                {"d/train.csv": csv_of(ROWS[:20]), "d/val.csv": csv_of(ROWS[20:]), "__MACOSX/d/._train.csv": b"x"}
            )
        },
        rows={"train": ROWS[:20], "validation": ROWS[20:]},
    ),
    Case(
        name="a zip in a folder",
        files={"train.zip": zip_of({"a.csv": csv_of(ROWS[:20])}), "test.csv.zst": zst_of(csv_of(ROWS[20:]))},
        rows={"train": ROWS[:20], "test": ROWS[20:]},
    ),
    Case(
        name="folders of splits",
        files={
            "train/0.jsonl": jsonl_of(ROWS[:20]),
            "train/1.jsonl": jsonl_of(ROWS[20:30]),
            "eval/0.jsonl": jsonl_of(ROWS[30:]),
        },
        rows={"train": ROWS[:30], "validation": ROWS[30:]},
    ),
    Case(
        name="names of the hub",
        files={
            "data/train-00000-of-00002.parquet": parquet_of(table_of(ROWS[:20])),
            "data/train-00001-of-00002.parquet": parquet_of(table_of(ROWS[20:])),
            "README.md": b"x",
        },
        rows=ROWS,
    ),
    Case(
        name="one more column in a shard, and another order",
        files={
            "a.csv": csv_of(ROWS[:20]),
            "b.csv": csv_of([(label, 1, text) for text, label in ROWS[20:]], header=("label", "id", "text")),
        },
        rows=ROWS,
    ),
    Case(
        name="labels of another type in a shard",
        files={"a.parquet": columns_of(text=["a"], label=[1]), "b.parquet": columns_of(text=["b"], label=["one"])},
        rows=[("a", "1"), ("b", "one")],
    ),
    Case(
        name="another table beside it",
        files={"reviews.csv": csv_of(ROWS), "products.csv": b"id,price\n1,2\n"},
        refused="products.csv has no column 'text'; it has id, price",
    ),
    Case(
        name="Kaggle",
        files={
            "train.csv": csv_of(ROWS),
            "test.csv": csv_of([(text,) for text, _ in ROWS], header=("text",)),
            "sample_submission.csv": b"id,label\n1,2\n",
        },
        rows={"train": ROWS, "test": [(text, None) for text, _ in ROWS]},
        notes="sample_submission.csv is not used",
    ),
    Case(
        name="a split that is not used",
        files={"train.csv": csv_of(ROWS), "unlabeled.csv": csv_of(ROWS[:7])},
        rows=ROWS,
        notes=r"unlabeled.csv is not used \(7 rows\)",
    ),
    Case(
        name="hidden characters in the name of a file",
        files={"a\x1b[31m\u202e.csv": csv_of(ROWS), "b.csv": b"x,y\n1,2\n"},
        refused=r"b.csv has no column",
    ),
    Case(
        name="hidden characters in the name of a file that is not read",
        files={"a\x1b[31m\u202e.csv": b"x,y\n1,2\n", "b.csv": csv_of(ROWS)},
        refused=r"a\\x1b\[31m\\u202e.csv has no column",
    ),
    Case(
        name="splits that the README names, as on the hub",
        files={"README.md": CARD, "a.csv": csv_of(ROWS), "b.csv": csv_of(ROWS[:5]), "c.csv": csv_of(PLAIN)},
        rows={"train": ROWS, "test": ROWS[:5]},
        notes=r"extra is not used \(200 rows\)",
    ),
    Case(
        name="a README that names files which are not there",
        files={"README.md": CARD, "train.csv": csv_of(ROWS)},
        rows=ROWS,
    ),
    *(
        Case(
            name=f"two configurations, {config or 'none'} named",
            files={"README.md": TWO, "a.csv": csv_of(ROWS), "d/b.csv": csv_of(ROWS[:5])},
            rows=rows,
            refused=refused,
            config=config,
        )
        for config, rows, refused in (
            ("films", ROWS, ""),
            ("books", ROWS[:5], ""),
            ("", (), "has several configurations; name one, such as .*:films; it has films, books"),
            ("songs", (), "has no configuration 'songs'; it has films, books"),
        )
    ),
    Case(name="test alone", files={"test.csv": csv_of(ROWS)}, refused="has no train split, only test", folder=True),
    Case(
        name="notes beside the table", files={"train.csv": csv_of(ROWS), "notes.txt": b"x", "LICENSE": b"x"}, rows=ROWS
    ),
    Case(
        name="tables called .txt",
        files={"train.txt": csv_of(ROWS, "\t"), "test.txt": csv_of(ROWS[:5], "\t")},
        rows={"train": ROWS, "test": ROWS[:5]},
    ),
    Case(
        name="a damaged shard",
        files={"a.parquet": parquet_of(table_of(ROWS)), "b.parquet": parquet_of(table_of(ROWS))[:-50]},
        refused="b.parquet cannot be read: Parquet magic bytes not found",
    ),
    Case(
        name="no table",
        files={"a.png": b"x", "b.tar": b"x"},
        refused="cannot be read: it holds only files with .png, .tar; its format can be .csv",
    ),
    Case(
        name="texts by class",
        files=texts("neg/1.txt", "neg/2.txt", "pos/1.txt"),
        rows=[("neg/1.txt", "neg"), ("neg/2.txt", "neg"), ("pos/1.txt", "pos")],
    ),
    Case(
        name="texts by class and split, as IMDB has them",
        files=texts(
            "train/pos/1.txt",
            "train/neg/1.txt",
            "train/unsup/1.txt",
            "test/pos/1.txt",
            "test/neg/1.txt",
            "README",
            "imdb.vocab",
            "train/urls_pos.txt",
        ),
        rows={
            "train": [("train/neg/1.txt", "neg"), ("train/pos/1.txt", "pos")],
            "test": [("test/neg/1.txt", "neg"), ("test/pos/1.txt", "pos")],
        },
        notes=r"train/unsup is not used \(1 texts\)",
    ),
    Case(
        name="texts by class in a zip",
        files={
            "a.zip": zip_of(
                {f"aclImdb/{name}": text for name, text in texts("train/pos/1.txt", "train/neg/1.txt").items()}
            )
        },
        rows=[("train/neg/1.txt", "neg"), ("train/pos/1.txt", "pos")],
    ),
    Case(
        name="texts by class in latin-1",
        files={"neg/1.txt": b"caf\xe9", "pos/1.txt": b"good"},
        rows=[("café", "neg"), ("good", "pos")],
        notes="neg/1.txt is not UTF-8; it is read as cp1252",
    ),
    Case(
        name="texts without endings",
        files=texts("a.train/sci.med/123", "a.train/alt.atheism/456", "a.test/sci.med/7", "a.test/alt.atheism/8"),
        rows={
            "train": [("a.train/alt.atheism/456", "alt.atheism"), ("a.train/sci.med/123", "sci.med")],
            "test": [("a.test/alt.atheism/8", "alt.atheism"), ("a.test/sci.med/7", "sci.med")],
        },
    ),
]

CASES = [*FORMATS, *STRINGS, *NO_LABEL, *ENCODINGS, *QUOTES, *COLUMNS, *FOLDERS]
