"""Formats, delimiters and compressions."""

import json

from tests.trainables.data.formats.makers import (
    ENDINGS,
    PACKERS,
    ROWS,
    Case,
    csv_of,
    jsonl_of,
    xlsx_of,
    zip_of,
)

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
