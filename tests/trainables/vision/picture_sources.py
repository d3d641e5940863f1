"""Sources of pictures as people have them, each made in a folder, and what is right."""

import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import tiny

_TWO = {"train": {"cat": 3, "dog": 3}}
_THREE_SPLITS = {"train": {"cat": 3, "dog": 3}, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}}


def flat(folder: Path, names: list[str]) -> None:
    """Pictures that all differ, in one folder; their endings tell the formats."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = np.random.default_rng(zlib.crc32(os.fsencode(f"{folder.name}/{name}")))
        Image.fromarray(noise.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(
            folder / name, None if Path(name).suffix else "png"
        )


NAMES = [f"{number}.png" for number in range(6)]
ANIMALS = ["cat", "dog"] * 3


def csv(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def kaggle(root: Path, cell: Callable[[str], str] = lambda name: name, header: str = "file,label") -> Path:
    flat(root / "images", NAMES)
    csv(root / "train.csv", header, [f"{cell(name)},{label}" for name, label in zip(NAMES, ANIMALS, strict=True)])
    return root


def _kaggle_in(root: Path, encoding: str, delimiter: str) -> Path:
    kaggle(root)
    text = (root / "train.csv").read_text().replace(",", delimiter)
    text = text.replace("dog", "chien à poil") if encoding == "latin-1" else text
    (root / "train.csv").write_text(text, encoding=encoding)
    return root


def _kaggle_with_test(root: Path) -> Path:
    flat(root / "train", NAMES)
    flat(root / "test", NAMES)
    csv(root / "train.csv", "id,breed", [f"{n[:-4]},{c}" for n, c in zip(NAMES, ANIMALS, strict=True)])
    csv(root / "test.csv", "id", [name[:-4] for name in NAMES])
    csv(root / "sample_submission.csv", "id,breed", [f"{name[:-4]},cat" for name in NAMES])
    return root


def _lists_by_split(root: Path) -> Path:
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        flat(root / "images" / split, names := [f"{split}{number}.png" for number in range(count)])
        csv(
            root / f"{split}.csv",
            "path,class",
            [f"images/{split}/{n},{c}" for n, c in zip(names, ANIMALS, strict=False)],
        )
    return root


def _split_column(root: Path) -> Path:
    flat(root / "all", names := [f"{number}.png" for number in range(14)])
    splits = ["train"] * 6 + ["valid"] * 4 + ["test"] * 4
    rows = [f"all/{name},{('cat', 'dog')[i % 2]},{splits[i]}" for i, name in enumerate(names)]
    csv(root / "birds.csv", "filepaths,labels,data set", rows)
    return root


def _imagefolder(root: Path, kind: str) -> Path:
    for split in ("train", "test"):
        flat(root / split, NAMES)
        rows = list(zip(NAMES, ANIMALS, strict=True))
        if kind == "csv":
            csv(root / split / "metadata.csv", "file_name,label", [f"{name},{label}" for name, label in rows])
        else:
            lines = [f'{{"file_name": "{name}", "label": "{label}"}}' for name, label in rows]
            (root / split / "metadata.jsonl").write_text("\n".join(lines))
    return root


def _two_folders_and_a_list(root: Path) -> Path:
    flat(root / "images_1", NAMES[:3])
    flat(root / "images_2", NAMES[3:])
    csv(root / "labels.csv", "image_id,label", [f"{n},{c}" for n, c in zip(NAMES, ANIMALS, strict=True)])
    return root


def _table(root: Path, features: str, columns: tuple[str, str] = ("image", "label")) -> Any:
    import datasets

    flat(root, NAMES)
    encoded = [(root / name).read_bytes() for name in NAMES]
    for name in NAMES:
        (root / name).unlink()
    picture: Any = datasets.Image() if features == "image" else datasets.Value("binary")
    cells: Any = encoded
    if features == "struct":
        picture = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        cells = [{"bytes": raw, "path": None} for raw in encoded]
    elif features == "image":
        cells = [{"bytes": raw, "path": None} for raw in encoded]
    label = datasets.ClassLabel(names=["cat", "dog"])
    return datasets.Dataset.from_dict(
        {columns[0]: cells, columns[1]: [0, 1] * 3, "width": [12] * 6},
        features=datasets.Features({columns[0]: picture, columns[1]: label, "width": datasets.Value("int64")}),
    )


def _parquet(root: Path, features: str) -> Path:
    _table(root, features).to_parquet(root / "data.parquet")
    return root / "data.parquet"


def _hub_folder(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    for split in ("train", "test"):
        table = _table(root / f"made_{split}", "image")
        table.to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
        (root / f"made_{split}").rmdir()
    return root


def _hub_folder_with_test(root: Path) -> Path:
    """As a competition's: the test split has pictures and ids."""
    _hub_folder(root)
    table = _table(root / "made", "image").remove_columns("label").rename_column("width", "id")
    table.to_parquet(root / "data" / "test-00000-of-00001.parquet")
    (root / "made").rmdir()
    return root


def _saved(root: Path, columns: tuple[str, str]) -> Path:
    _table(root / "made", "image", columns).save_to_disk(root / "saved")
    return root / "saved"


def classes(root: Path, **counts: int) -> Path:
    return tiny.make_pictures(root, counts or {"cat": 3, "dog": 3})


def _by_split(root: Path, *names: str) -> Path:
    for name in names:
        classes(root / name, cat=3 if name == names[0] else 2, dog=3 if name == names[0] else 2)
    return root


def _from_a_mac(root: Path) -> Path:
    classes(root)
    for junk in ("__MACOSX/cat/._025.png", "cat/._x.png", "cat/.DS_Store", "dog/Thumbs.db", "dog/desktop.ini"):
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_bytes(b"junk")
    classes(root / ".ipynb_checkpoints")
    (root / "cat" / ".ipynb_checkpoints").mkdir()
    return root


def _test_without_classes(root: Path, below: str = "") -> Path:
    _by_split(root, "train")
    flat(root / "test" / below, NAMES)
    return root


def _beside(root: Path) -> Path:
    classes(root / "images")
    (root / "annotations").mkdir()
    (root / "annotations" / "1.xml").write_text("<a/>")
    return root


def _named(root: Path, *names: bytes) -> Path:
    for name in names:
        (root / os.fsdecode(name)).mkdir(parents=True)
        for number in range(3):
            flat(root / os.fsdecode(name), [f"{number}.png"])
    return root


def _formats(root: Path) -> Path:
    flat(root / "cat", [f"1.{ending}" for ending in ("png", "gif", "avif", "jfif", "webp", "bmp", "tif", "jp2", "ppm")])
    flat(root / "dog", ["1.PNG", "2.JPG", "3.jpeg"])
    for number in range(5):
        (root / "cat" / f"{number}.heic").write_bytes(b"\0\0\0\x18ftypheic")
        (root / "cat" / f"{number}.txt").write_text("note")
    (root / "dog" / "README").write_text("dogs")
    return root


@dataclass(frozen=True, kw_only=True)
class Read:
    """A source that is read."""

    make: Callable[[Path], Path]
    """Makes it in a folder and returns what is given as `--dataset`."""
    rows: Mapping[str, Mapping[str, int] | Mapping[None, int]]
    """Pictures of each class, by split."""
    said: tuple[str, ...] = ()
    """Parts of the sentences about it; without any nothing is said."""


_LISTED = ("pictures and classes are listed in train.csv",)
READ = {
    "Kaggle: images and train.csv (file,label)": Read(make=kaggle, rows=_TWO, said=_LISTED),
    "columns path,class": Read(
        make=lambda root: kaggle(root, "images/{}".format, "path,class"),
        rows=_TWO,
        said=(*_LISTED, "pictures are read from column 'path', classes from 'class'"),
    ),
    "ids without ending": Read(
        make=lambda root: kaggle(root, lambda name: name[:-4], "id,target"),
        rows=_TWO,
        said=(*_LISTED, "pictures are read from column 'id', classes from 'target'"),
    ),
    "a backslash, a dot": Read(make=lambda r: kaggle(r, lambda n: f".\\images\\{n}"), rows=_TWO, said=_LISTED),
    "the CSV itself": Read(make=lambda root: kaggle(root) / "train.csv", rows=_TWO, said=_LISTED),
    "the CSV of a split itself": Read(
        make=lambda root: _lists_by_split(root) / "val.csv",
        rows={"train": {"cat": 2, "dog": 2}},
        said=("listed in val.csv", "columns|column 'path'"),
    ),
    "Kaggle with test and sample_submission": Read(
        make=_kaggle_with_test,
        rows=_TWO,
        said=(*_LISTED, "test.csv has no classes: its pictures are not used", "column 'id', classes from 'breed'"),
    ),
    "a list in UTF-16 with semicolons": Read(
        make=lambda root: _kaggle_in(root, "utf-16", ";"), rows=_TWO, said=(*_LISTED, "train.csv is UTF-16")
    ),
    "a list in latin-1": Read(
        make=lambda root: _kaggle_in(root, "latin-1", ","),
        rows={"train": {"cat": 3, "chien à poil": 3}},
        said=(*_LISTED, "is not UTF-8; it is read as cp1252"),
    ),
    "a list for each split": Read(make=_lists_by_split, rows=_THREE_SPLITS, said=(*_LISTED, "listed in val.csv")),
    "a column of splits": Read(
        make=_split_column,
        rows=_THREE_SPLITS,
        said=("listed in birds.csv", "the splits are told by column 'data set'", "column 'filepaths'"),
    ),
    "imagefolder with metadata.csv": Read(
        make=lambda root: _imagefolder(root, "csv"),
        rows={**_TWO, "test": _TWO["train"]},
        said=(r"listed in train/metadata.csv", "column 'file_name', classes from 'label'"),
    ),
    "imagefolder with metadata.jsonl": Read(
        make=lambda root: _imagefolder(root, "jsonl"),
        rows={**_TWO, "test": _TWO["train"]},
        said=(r"listed in train/metadata.jsonl", "column 'file_name', classes from 'label'"),
    ),
    "two folders of pictures and a list": Read(
        make=_two_folders_and_a_list, rows=_TWO, said=("listed in labels.csv", "column 'image_id'")
    ),
    "a list one folder further down": Read(make=lambda root: kaggle(root / "data").parent, rows=_TWO, said=_LISTED),
    "Parquet of the hub": Read(
        make=lambda root: _parquet(root, "image"), rows=_TWO, said=("column 'image', classes from 'label'",)
    ),
    "Parquet of structs": Read(
        make=lambda root: _parquet(root, "struct"), rows=_TWO, said=("column 'image', classes from 'label'",)
    ),
    "Parquet of bytes": Read(
        make=lambda root: _parquet(root, "bytes"), rows=_TWO, said=("column 'image', classes from 'label'",)
    ),
    "a folder of the hub": Read(
        make=_hub_folder, rows={**_TWO, "test": _TWO["train"]}, said=("column 'image', classes from 'label'",)
    ),
    "a folder of the hub whose test split has ids only": Read(
        make=_hub_folder_with_test,
        rows={**_TWO, "test": {None: 6}},
        said=("column 'image', classes from 'label'",),
    ),
    "save_to_disk with other names": Read(
        make=lambda root: _saved(root, ("img", "fine_label")),
        rows=_TWO,
        said=("pictures are read from column 'img', classes from 'fine_label'",),
    ),
    "class folders": Read(make=classes, rows=_TWO),
    "train, dev, holdout": Read(make=lambda root: _by_split(root, "Train", "dev", "holdout"), rows=_THREE_SPLITS),
    "one folder more above": Read(
        make=lambda root: classes(root / "pets").parent, rows=_TWO, said=("the classes are read from pets",)
    ),
    "two folders more above the splits": Read(
        make=lambda root: _by_split(root / "a" / "b", "train", "val", "test").parent.parent,
        rows=_THREE_SPLITS,
        said=("the classes are read from a/b",),
    ),
    "one folder more below train": Read(
        make=lambda root: _by_split(root, "train/pets", "val/pets", "test/pets"), rows=_THREE_SPLITS
    ),
    "a folder of annotations beside": Read(
        make=_beside, rows=_TWO, said=("the classes are read from images", r"no pictures .*: 1 \(\.xml 1\)")
    ),
    "from a Mac, Windows and a notebook": Read(make=_from_a_mac, rows=_TWO),
    "test without class folders": Read(
        make=_test_without_classes, rows=_TWO, said=("test has no class folders: its pictures are not used .6.",)
    ),
    "test with one folder for all": Read(
        make=lambda root: _test_without_classes(root, "unknown"),
        rows=_TWO,
        said=("test has no class folders: its pictures are not used .6.",),
    ),
    "a class called train": Read(
        make=lambda root: classes(root, train=2, lorry=2, ship=2), rows={"train": {"train": 2, "lorry": 2, "ship": 2}}
    ),
    "odd names": Read(
        make=lambda root: classes(root, **{"①": 2, "²": 2, "--2": 2, "a b": 2, "v1.5": 2, "日本": 2, "10": 2}),
        rows={"train": dict.fromkeys(["①", "²", "--2", "a b", "v1.5", "日本", "10"], 2)},
    ),
    "a name in latin-1": Read(
        make=lambda root: _named(root, b"caf\xe9", b"the"),
        rows={"train": {"café": 3, "the": 3}},
        said=("is not UTF-8 and is read as latin-1: café",),
    ),
    "accents as a Mac writes them": Read(
        make=lambda root: _named(root, b"cafe\xcc\x81", b"the"), rows={"train": {"café": 3, "the": 3}}
    ),
    "all formats": Read(
        make=_formats,
        rows={"train": {"cat": 9, "dog": 3}},
        said=(r"no pictures that can be read here: 11 \(\.heic 5, \.txt 5, without an ending 1; convert HEIC",),
    ),
}


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pictures without classes": (
        lambda root: (flat(root / "train", NAMES), root)[1],
        "couldn't find any class folder in .*train, only pictures without a class .6.; a CSV file",
    ),
    "pictures alone": (
        lambda root: (flat(root, NAMES), root)[1],
        "couldn't find any class folder in .*, only pictures without a class .6.",
    ),
    "a class of files that cannot be read": (
        lambda root: (_formats(root), [p.unlink() for p in (root / "dog").glob("*.*")], root)[2],
        r"no valid file for the classes dog \(files that are no pictures .*: 11 \(.*convert HEIC to JPEG",
    ),
    "a list that names other files": (
        lambda root: (kaggle(root), csv(root / "train.csv", "file,label", ["x.png,cat"]), root / "train.csv")[2],
        r"does not list pictures: none of its columns \(file, label\) names pictures in ",
    ),
    "an archive": (
        lambda root: (root.mkdir(), (root / "pets.zip").write_bytes(b"PK"), root / "pets.zip")[2],
        "is a file; pictures are .*; unpack it and give the folder",
    ),
    "a list with half of its files": (
        lambda root: (kaggle(root), [(root / "images" / name).unlink() for name in NAMES[:2]], root)[2],
        r"2 of 6 pictures cannot be read: 0\.png, 1\.png",
    ),
    "a name that may be two files": (
        lambda root: (kaggle(root), flat(root / "more", NAMES), root / "train.csv")[2],
        "names '0.png', which may be images/0.png and more/0.png; write the folder before it",
    ),
    "two lists": (
        lambda root: (kaggle(root), (root / "training.csv").write_bytes((root / "train.csv").read_bytes()), root)[2],
        "has two lists of pictures, train.csv and training.csv: give one as --dataset",
    ),
    "several columns that may be classes": (
        lambda root: (kaggle(root), csv(root / "train.csv", "file,a,b", [f"{n},1,2" for n in NAMES]), root)[2],
        r"which column holds the classes\? Beside the pictures it has a, b \(--columns IMAGE,LABEL\)",
    ),
}
