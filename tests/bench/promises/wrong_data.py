"""Data that is none: tables, folders of tables, pictures."""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests import tiny
from tests.bench.promises.case import PICKLE, Case, Place

_ROWS = [(text, label) for text, label in tiny.rows(120)]


def _csv(rows: Sequence[Sequence[str]], header: str = "text,label") -> str:
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


def _jsonl(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


_TABLES: dict[str, str | bytes] = {
    "empty.csv": "",
    "blank.csv": "\n\n\n",
    "header.csv": "text,label\n",
    "one-row.csv": "text,label\na good film,pos\n",
    "one-class.csv": _csv([(text, "pos") for text, _ in _ROWS]),
    "other-columns.csv": _csv(_ROWS, "review,sentiment"),
    "one-column.csv": "text\n" + "\n".join(text for text, _ in _ROWS),
    "no-labels.csv": _csv([(text, "") for text, _ in _ROWS]),
    "no-texts.csv": _csv([("", label) for _, label in _ROWS]),
    "binary.csv": random.Random(1).randbytes(20_000),
    "NULs.csv": b"\0" * 4096,
    "html.csv": "<!doctype html><html><body>Not found</body></html>\n",
    "a-zip-inside.csv": b"PK\3\4" + random.Random(1).randbytes(5000),
    "jagged.csv": _csv([(text, label, *["x"] * (i % 3)) for i, (text, label) in enumerate(_ROWS)]),
    "empty.jsonl": "",
    "blank.jsonl": "\n\n",
    "torn.jsonl": _jsonl([{"text": t, "label": la} for t, la in _ROWS])[:-5],
    "lists.jsonl": _jsonl([[t, la] for t, la in _ROWS]),
    "numbers.jsonl": "1\n2\n3\n",
    "nulls.jsonl": "null\n" * 50,
    "100,000-brackets.jsonl": "[" * 100_000,
    "100,000-objects.jsonl": '{"text":' * 100_000,
    "deep-label.jsonl": '{"text": "a", "label": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    "text-lists.jsonl": _jsonl([{"text": [t], "label": la} for t, la in _ROWS]),
    "text-objects.jsonl": _jsonl([{"text": {"body": t}, "label": la} for t, la in _ROWS]),
    "label-objects.jsonl": _jsonl([{"text": t, "label": {"a": la}} for t, la in _ROWS]),
    "label-lists.jsonl": _jsonl([{"text": t, "label": [la, "x"]} for t, la in _ROWS]),
    "text-nulls.jsonl": _jsonl([{"text": None, "label": la} for _, la in _ROWS]),
    "label-nulls.jsonl": _jsonl([{"text": t, "label": None} for t, _ in _ROWS]),
    "label-NaN.jsonl": _jsonl([{"text": t, "label": float("nan")} for t, _ in _ROWS]),
    "other-fields.jsonl": _jsonl([{"review": t, "stars": la} for t, la in _ROWS]),
    "one-class.jsonl": _jsonl([{"text": t, "label": "pos"} for t, _ in _ROWS]),
    "binary.jsonl": random.Random(1).randbytes(20_000),
    "empty.parquet": b"",
    "text.parquet": "hello",
    "magic.parquet": b"PAR1PAR1",
    "torn.parquet": b"PAR1" + random.Random(1).randbytes(5000),
    "huge-footer.parquet": b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1",
    "table.xlsx": random.Random(1).randbytes(5000),
    "table.pkl": PICKLE,
    "table.txt": "a good film\n",
    "table": "a good film\n",
    "table.arrow": b"ARROW1\0\0" + b"\0" * 100,
    "table.sqlite": b"SQLite format 3\0",
    ".csv": "text,label\n",
}


def cases() -> list[Case]:
    """All of them."""
    return [*_tables(), *_folders(), *_pictures()]


def _tables() -> Iterator[Case]:
    for name, text in _TABLES.items():
        yield Case(name=f"table: {name}", make=lambda p, n=name, t=text: p.text_search(dataset=p.file(n, t)))
    yield Case(name="table: a Parquet bomb", make=lambda p: p.text_search(dataset=_bomb(p)))
    yield Case(name="table: Parquet with lists", make=lambda p: p.text_search(dataset=_parquet_of_lists(p)))
    yield Case(name="table: Parquet cut", make=lambda p: p.text_search(dataset=_cut_parquet(p)))
    yield Case(name="table: pictures' options", make=lambda p: p.picture_search(dataset=p.materials.table))
    yield Case(name="table: a folder called t.csv", make=lambda p: p.text_search(dataset=_folder(p, "t.csv")))


def _folders() -> Iterator[Case]:
    made: dict[str, dict[str, str | bytes]] = {
        "empty": {},
        "of a text file": {"notes.txt": "x"},
        "of an empty train.csv": {"train.csv": ""},
        "of other columns": {"train.csv": _csv(_ROWS, "review,sentiment")},
        "of binary files": {"train.csv": random.Random(1).randbytes(5000)},
        "of test alone": {"test.csv": _csv(_ROWS)},
        "of one class": {"train.csv": _csv([(text, "pos") for text, _ in _ROWS])},
        "of different columns": {"train-1.csv": _csv(_ROWS), "train-2.csv": _csv(_ROWS, "a,b")},
        "of a loading script": {"d.py": "import os\nos.system('touch pwned')\n", "notes.txt": "x"},
        "saved, with a torn state.json": {"state.json": "{"},
        "saved, with an empty dataset_dict.json": {"dataset_dict.json": ""},
        "saved, with null": {"dataset_dict.json": "null"},
        "saved, with splits that are missing": {"dataset_dict.json": '{"splits": ["train"]}'},
        "saved, with a split that leads out": {"dataset_dict.json": '{"splits": ["../../etc"]}'},
        "saved, with a state.json of lists": {"state.json": "[]", "dataset_info.json": "[]"},
        "of a README with a wrong head": {"README.md": "---\nconfigs: 5\n---\n", "train.csv": _csv(_ROWS[:1])},
        "of a README that names an address": {
            "README.md": "---\nconfigs:\n- config_name: default\n  data_files: http://127.0.0.1:9/x.csv\n---\n"
        },
        "of 100,000 brackets": {"train.jsonl": "[" * 100_000},
        "of a torn zip": {"train.zip": b"PK\3\4" + b"\0" * 100},
    }
    for name, files in made.items():
        yield Case(name=f"folder: {name}", make=lambda p, f=files: p.text_search(dataset=_folder(p, "d", f)))
    yield Case(name="folder: with a FIFO", make=lambda p: p.text_search(dataset=_with_fifo(p, "train.csv")))
    yield Case(name="folder: with a link to itself", make=lambda p: p.text_search(dataset=_with_loop(p, "train.csv")))
    yield Case(
        name="folder: with a device", make=lambda p: p.text_search(dataset=_with_link(p, "train.csv", "/dev/zero"))
    )
    yield Case(name="folder: with a link to above", make=lambda p: p.text_search(dataset=_with_link(p, "x", "..")))


def _pictures() -> Iterator[Case]:
    made: dict[str, Callable[[Path], None]] = {
        "empty": _emptied,
        "one class": lambda root: _remove_class(root, "red"),
        "no picture in a class": lambda root: _replace_class(root, "red", b""),
        "text in a class": lambda root: _replace_class(root, "red", b"hello"),
        "torn in a class": lambda root: _replace_class(root, "red", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "a FIFO in a class": lambda root: os.mkfifo(root / "red" / "fifo.png"),
        "a link to itself in a class": lambda root: (root / "red" / "x.png").symlink_to("x.png"),
        "a device in a class": lambda root: (root / "red" / "x.png").symlink_to("/dev/zero"),
        "a terminal in a class": lambda root: (root / "red" / "x.png").symlink_to("/dev/tty"),
        "a link to the folder above in a class": lambda root: (root / "red" / "up").symlink_to(".."),
        "a class that links to itself": lambda root: (root / "green").symlink_to("green"),
        "a class that is a FIFO": lambda root: os.mkfifo(root / "green"),
        "an empty class": lambda root: (root / "green").mkdir(),
        "a folder called x.png": lambda root: (root / "red" / "x.png").mkdir(),
        "a name that is not UTF-8": lambda root: _copy_class(root, os.fsdecode(b"caf\xe9")),
    }
    may_pass = {name for name in made if name.startswith(("a ", "an "))}
    for name, spoil in made.items():
        make = _spoilt(spoil)
        yield Case(name=f"pictures: {name}", make=make, may_pass=name in may_pass)
    yield Case(name="pictures: a zip bomb", make=lambda p: p.picture_search(dataset=_zip_bomb(p)))
    yield Case(name="pictures: a .pth in a tar", make=lambda p: p.picture_search(dataset=_tar(p)))
    yield Case(name="pictures: a huge PNG", make=_spoilt(_huge_png), may_pass=True)


def _folder(place: Place, name: str, files: dict[str, str | bytes] | None = None) -> Path:
    folder = place.folder / name
    folder.mkdir()
    for file, text in (files or {}).items():
        place.file(f"{name}/{file}", text)
    return folder


def _with_fifo(place: Place, name: str) -> Path:
    folder = _folder(place, "d")
    os.mkfifo(folder / name)
    return folder


def _with_loop(place: Place, name: str) -> Path:
    return _with_link(place, name, name)


def _with_link(place: Place, name: str, target: str) -> Path:
    folder = _folder(place, "d")
    (folder / name).symlink_to(target)
    return folder


def _bomb(place: Place) -> Path:
    """A few hundred kilobytes that are 300 million rows."""
    import pyarrow as pa
    from pyarrow import parquet

    path, count = place.folder / "bomb.parquet", 10_000_000
    indices = pa.array(memoryview(bytes(4 * count)).cast("i"), pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["a good film " * 20]))
    table = pa.table({"text": column, "label": column})
    with parquet.ParquetWriter(path, table.schema) as writer:
        for _ in range(30):
            writer.write_table(table)
    return path


def _parquet(place: Place, texts: Sequence[object]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    path = place.folder / "t.parquet"
    parquet.write_table(pa.table({"text": texts, "label": [label for _, label in _ROWS]}), path)
    return path


def _parquet_of_lists(place: Place) -> Path:
    return _parquet(place, [[text] for text, _ in _ROWS])


def _cut_parquet(place: Place) -> Path:
    path = _parquet(place, [text for text, _ in _ROWS])
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _spoilt(spoil: Callable[[Path], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        pictures = place.pictures()
        spoil(pictures)
        return place.picture_search(dataset=pictures)

    return make


def _emptied(root: Path) -> None:
    for name in ("blue", "red"):
        _remove_class(root, name)


def _remove_class(root: Path, name: str) -> None:
    for path in (root / name).iterdir():
        path.unlink()
    (root / name).rmdir()


def _replace_class(root: Path, name: str, content: bytes) -> None:
    for path in (root / name).iterdir():
        path.write_bytes(content)


def _copy_class(root: Path, name: str) -> None:
    (root / name).mkdir()
    for path in (root / "red").iterdir():
        (root / name / path.name).write_bytes(path.read_bytes() + b" ")


def _zip_bomb(place: Place) -> Path:
    """10 GB of zeros in 10 MB, in one picture."""
    folder = _folder(place, "d")
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("red/a.png", "blue/b.png"):
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range(500):
                    file.write(b"\0" * 1_000_000)
    return folder


def _tar(place: Place) -> Path:
    import io
    import tarfile

    folder, pickle = (
        _folder(place, "d"),
        PICKLE,
    )
    with tarfile.open(folder / "train.tar", "w") as archive:
        for number in range(4):
            for suffix, content in ((".pth", pickle), (".cls", b"0")):
                entry = tarfile.TarInfo(f"{number:04}{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return folder


def _huge_png(root: Path) -> None:
    """One-bit PNG of 30,000 x 30,000 pixels."""
    from PIL import Image

    Image.new("1", (30_000, 30_000)).save(root / "red" / "huge.png")
