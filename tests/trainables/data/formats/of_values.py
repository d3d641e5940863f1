"""Values that a reader must not change, and rows without a label."""

import pyarrow

from tests.trainables.data.formats.makers import (
    Case,
    Row,
    columns_of,
    csv_of,
    jsonl_of,
    xlsx_of,
)

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
