"""Encodings."""

import json
from collections.abc import Sequence

import pyarrow

from tests.trainables.data.formats.makers import (
    ENDINGS,
    ROWS,
    Case,
    Row,
    csv_of,
    parquet_of,
)

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
