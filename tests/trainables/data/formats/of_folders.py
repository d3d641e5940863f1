"""Folders and zips of several files."""

import gzip

from tests.trainables.data.formats.makers import (
    ROWS,
    Case,
    columns_of,
    csv_of,
    jsonl_of,
    parquet_of,
    table_of,
    zip_of,
    zst_of,
)
from tests.trainables.data.formats.of_quotes import PLAIN

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
