"""A stand-in for the trainings of a task, made from the recorded ones: it answers for any recipe and any seed.

The mean of each measurement is a forest over recipes (extremely randomised trees, Geurts et al. 2006). The luck of a
training is that of a recorded one near by: the whole curve's distance from the mean of its recipe. So reports of one
training belong together, and good recipes may have other luck than bad ones. A search never sees the truth: only
trainings, on a validation slice whose luck is drawn once for each search.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from tests.bench.curves import recipes
from tests.bench.curves.recipes import Params

Floats = np.ndarray[Any, np.dtype[np.float64]]

METRICS = ("accuracy", "loss", "train_loss", "cpu_seconds")
_NEAR = 16
"""Recorded trainings that a new one may have its luck from."""
_TREES = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One report of a training."""

    epoch: float
    samples: int
    step: int
    accuracy: float
    """On the validation slice of the search."""
    loss: float
    """On the validation slice; NaN if the training has failed here."""
    train_loss: float
    seconds: float
    """Since the report before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """The recorded trainings of a task."""

    epochs: tuple[float, ...]
    """Epochs of the reports."""
    params: tuple[Params, ...]
    """Of each training."""
    seeds: tuple[int, ...]
    values: Floats
    """[trainings, reports, `METRICS`]; after a failure as just before it."""
    alive: Floats
    """[trainings, reports]: 1 up to a failure, 0 from there on."""


def recorded(rows: Sequence[Mapping[str, Any]], epochs: Sequence[float]) -> Recorded:
    """The recorded trainings of a table.

    Args:
        rows: a row for each report, as `record.table` has them.
        epochs: epochs of the reports. A training with few steps reports at the next step after that.
    """
    trainings: dict[tuple[str, int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        trainings.setdefault((row["origin"], row["number"], row["seed"]), []).append(row)
    params, seeds, values, alive = [], [], [], []
    for (_, _, seed), reports in trainings.items():
        good = [row for row in reports if not row["failed"] and all(math.isfinite(row[name]) for name in METRICS)]
        if not good:
            continue
        chosen = [next((i for i, row in enumerate(good) if row["epoch"] >= epoch - 1e-9), -1) for epoch in epochs]
        used, column = -1, []
        for index in chosen:
            index = len(good) - 1 if index < 0 else index
            seconds = sum(row["cpu_seconds"] for row in good[used + 1 : index + 1])
            used = max(used, index)
            row = good[index]
            column.append([row["accuracy"], row["loss"], row["train_loss"], seconds])
        params.append(json.loads(reports[0]["params"]))
        seeds.append(seed)
        values.append(column)
        alive.append([index >= 0 for index in chosen])
    return Recorded(
        epochs=tuple(epochs),
        params=tuple(params),
        seeds=tuple(seeds),
        values=np.array(values, dtype=float),
        alive=np.array(alive, dtype=float),
    )


class StandIn:
    """Trainings of any recipe."""

    def __init__(
        self,
        recorded: Recorded,
        space: Mapping[str, BaseDistribution],
        *,
        train: int,
        validation: int,
        literature: Mapping[str, Params],
        nearest: bool = False,
    ) -> None:
        """Fit the stand-in.

        Args:
            recorded: the recorded trainings.
            space: what is searched.
            train: training examples.
            validation: validation examples.
            literature: recipes that a search tries first, by label.
            nearest: whether the mean is that of the nearest recorded recipe, instead of a forest.
        """
        self.space, self.train, self.validation, self.literature = dict(space), train, validation, dict(literature)
        self.epochs = recorded.epochs
        self._whole = np.array([epoch >= 1 for epoch in self.epochs])
        logs = self._logs(recorded.values)
        keys = [json.dumps(params, sort_keys=True) for params in recorded.params]
        names = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        groups = np.array([names[key] for key in keys])
        counts = np.bincount(groups)
        means = np.stack([logs[groups == group].mean(axis=0) for group in range(len(counts))])
        alive = np.stack([recorded.alive[groups == group].mean(axis=0) for group in range(len(counts))])
        self._recipes = [recorded.params[list(groups).index(group)] for group in range(len(counts))]
        self._places = np.stack([self._place(params) for params in self._recipes])
        several = counts[groups] > 1
        scale = np.sqrt(counts[groups] / np.maximum(1, counts[groups] - 1))[:, None, None]
        self._luck = ((logs - means[groups]) * scale)[several]
        self._luck_places = self._places[groups[several]]
        self._shape = means.shape[1:]
        flat = np.concatenate([means.reshape(len(means), -1), alive], axis=1)
        if nearest:
            from sklearn.neighbors import KNeighborsRegressor

            self._model = KNeighborsRegressor(1).fit(self._places, flat)
            self._trees = None
        else:
            from sklearn.ensemble import ExtraTreesRegressor

            forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=0)
            forest.fit(self._places, flat, sample_weight=counts)
            self._model, self._trees = forest, [tree.tree_ for tree in forest.estimators_]
        self._truths: dict[str, float] = {}
        points = [*self._recipes, *recipes.sobol(self.space, 1024)]
        self.best = max(self.truth(params) for params in points)
        """The highest true score of a recipe, of the recorded ones and of 1,024 others."""
        self.full_seconds = float(np.mean([self.mean_seconds(params) for params in points[-256:]]))
        """Seconds of a whole training, mean over the space."""

    def truth(self, params: Params) -> float:
        """The mean score of the recipe over seeds: of the best report of a training from the first epoch on."""
        key = json.dumps(params, sort_keys=True)
        if key not in self._truths:
            mean, _ = self._mean(params)
            scores = _sigmoid(mean[:, 0] + self._luck[self._near(params)][:, :, 0])
            self._truths[key] = float(scores[:, self._whole].max(axis=1).mean())
        return self._truths[key]

    def mean_seconds(self, params: Params) -> float:
        """Seconds of a whole training."""
        return float(np.exp(self._mean(params)[0][:, 3]).sum())

    def training(self, params: Params, seed: int, slice_luck: float = 0.0) -> list[Point]:
        """The reports of a training; the last one has a loss of NaN if it fails there.

        Args:
            params: its recipe.
            seed: seed of its luck; the same recipe and seed always give the same training.
            slice_luck: how lucky the validation slice is, in standard deviations of a score on it.
        """
        text = json.dumps(params, sort_keys=True) + f"/{seed}"
        draw = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
        mean, alive = self._mean(params)
        near = self._near(params)
        logs = mean + self._luck[near[draw.integers(len(near))]]
        accuracy = _sigmoid(logs[:, 0])
        accuracy = accuracy + slice_luck * np.sqrt(accuracy * (1 - accuracy) / self.validation)
        accuracy = np.round(np.clip(accuracy, 0, 1) * self.validation) / self.validation
        survives, points = draw.random(), []
        for place, epoch in enumerate(self.epochs):
            failed = survives > alive[place]
            samples = math.ceil(round(epoch * self.train, 6))
            points.append(
                Point(
                    epoch=epoch,
                    samples=samples,
                    step=math.ceil(samples / params["batch_size"]),
                    accuracy=float(accuracy[place]),
                    loss=math.nan if failed else float(np.exp(logs[place, 1])),
                    train_loss=math.nan if failed else float(np.exp(logs[place, 2])),
                    seconds=float(np.exp(logs[place, 3])),
                )
            )
            if failed:
                break
        return points

    def _place(self, params: Params) -> Floats:
        place = recipes.place_of(self.space, params)
        return np.array([place[name] for name in sorted(self.space)])

    def _mean(self, params: Params) -> tuple[Floats, Floats]:
        """[reports, METRICS] on the scale of `_logs`, and the share of trainings that are alive at each report."""
        place = self._place(params)[None].astype(np.float32)
        if self._trees is None:
            flat = self._model.predict(place)[0]
        else:  # a tenth of the time that the forest takes for one recipe
            flat = np.mean([tree.predict(place)[0, :, 0] for tree in self._trees], axis=0)
        size = self._shape[0] * self._shape[1]
        return flat[:size].reshape(self._shape), flat[size:]

    def _near(self, params: Params) -> Any:
        """Indices of the trainings with luck near a recipe, `_NEAR` of them if there are that many."""
        away = np.square(self._luck_places - self._place(params)).sum(axis=1)
        return np.argsort(away, kind="stable")[:_NEAR]

    def _logs(self, values: Floats) -> Floats:
        """Measurements on a scale where luck may be added: logits of accuracies, logarithms of the rest."""
        share = (values[..., :1] * self.validation + 0.5) / (self.validation + 1)
        return np.concatenate([np.log(share / (1 - share)), np.log(np.maximum(values[..., 1:], 1e-6))], axis=-1)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def load(name: str, folder: Path, nearest: bool = False) -> StandIn:
    """The stand-in of a task, from its recorded table.

    Args:
        name: name of the task.
        folder: where `<name>.parquet` is.
        nearest: see `StandIn`.
    """
    from pyarrow import parquet

    table = parquet.read_table(folder / f"{name}.parquet")
    about = json.loads(table.schema.metadata[b"task"])
    return StandIn(
        recorded(table.to_pylist(), about["epochs"]),
        recipes.space_of(about["space"]),
        train=about["train"],
        validation=about["validation"],
        literature=about["literature"],
        nearest=nearest,
    )
