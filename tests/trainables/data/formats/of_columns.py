"""Columns and lines that are not as they should be, and files that are something else."""

import gzip

import pyarrow

from tests.trainables.data.formats.makers import (
    ENDINGS,
    ROWS,
    Case,
    columns_of,
    csv_of,
    parquet_of,
    stream_of,
    xlsx_of,
    zip_of,
)
from tests.trainables.data.formats.of_quotes import PLAIN

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
        name="no such group",
        files={"a.csv": b"text,label\na,x\n"},
        group="user",
        refused=r"has no column 'user'; it has text, label \(--group COLUMN\)",
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
        refused="line 2 has 3 cells, the header has 2 .2 lines of 3.; put texts with commas or line ends in quotes",
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
