"""A stand-in for the trainings of a task, made from the recorded ones: it answers for any recipe and any seed.

The mean of each measurement is that of two models over recipes: extremely randomised trees (Geurts et al. 2006), which
are rough, and a Gaussian process, which is smooth. Of recipes left out, the two together know more than the
forest alone and somewhat less than the process alone (see tests/bench/README.md). The forest stays, since a search by a
Gaussian process would otherwise meet a truth of its own kind. Each can be had alone. The luck of a
training is that of a recorded one near by: the whole curve's distance from the mean of its recipe. So reports of one
training belong together, and good recipes may have other luck than bad ones. A search never sees the truth: only
trainings, on a validation slice whose luck is drawn once for each search.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution

from tests.bench.curves import recipes
from tests.bench.curves.recipes import Params

Floats = np.ndarray[Any, np.dtype[np.float64]]

Kind = Literal["both", "forest", "process", "nearest"]
Mean = Callable[[Floats], Floats]
"""From the place of a recipe, [1, axes], to all that is measured there."""

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
        kind: Kind = "both",
    ) -> None:
        """Fit the stand-in.

        Args:
            recorded: the recorded trainings.
            space: what is searched.
            train: training examples.
            validation: validation examples.
            literature: recipes that a search tries first, by label.
            kind: what the mean follows.
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
        self._means = [fitted(self._places, flat, counts) for fitted in _MODELS[kind]]
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
        place = self._place(params)[None]
        flat = np.mean([mean(place) for mean in self._means], axis=0)
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


def _forest(places: Floats, values: Floats, counts: Floats) -> Mean:
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=0).fit(places, values, sample_weight=counts)
    trees = [tree.tree_ for tree in forest.estimators_]

    def mean(place: Floats) -> Floats:  # a tenth of the time that the forest takes for one recipe
        return np.asarray(np.mean([tree.predict(place.astype(np.float32))[0, :, 0] for tree in trees], axis=0))

    return mean


def _process(places: Floats, values: Floats, counts: Floats) -> Mean:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    # One kernel for all measurements; those that never change say nothing about it.
    kernel = ConstantKernel(0.5) * Matern(np.full(places.shape[1], 0.5), (0.05, 20), nu=2.5) + WhiteKernel(0.3)
    vary = values.std(axis=0) > 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound: the axis does not matter
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(places, values[:, vary])
    low, high = values.min(axis=0), values.max(axis=0)

    def mean(place: Floats) -> Floats:
        flat = values[0].copy()
        flat[vary] = process.predict(place).ravel()
        return np.clip(flat, low, high)

    return mean


def _nearest(places: Floats, values: Floats, counts: Floats) -> Mean:
    def mean(place: Floats) -> Floats:
        return np.asarray(values[np.square(places - place).sum(axis=1).argmin()])

    return mean


_MODELS: dict[Kind, tuple[Callable[[Floats, Floats, Floats], Mean], ...]] = {
    "both": (_forest, _process),
    "forest": (_forest,),
    "process": (_process,),
    "nearest": (_nearest,),
}
"""What the mean follows: makers of functions from places, values and numbers of trainings."""
KINDS = tuple(_MODELS)


def load(name: str, folder: Path, kind: Kind = "both") -> StandIn:
    """The stand-in of a task, from its recorded table.

    Args:
        name: name of the task.
        folder: where `<name>.parquet` is.
        kind: see `StandIn`.
    """
    known, about = _read(name, folder)
    return _made(known, about, kind)


def left_out(name: str, folder: Path, kind: Kind, folds: int = 10) -> tuple[float, float]:
    """How well a stand-in knows recipes that it was not made of.

    Args:
        name: name of the task.
        folder: where `<name>.parquet` is.
        kind: see `StandIn`.
        folds: parts of the recipes, each of which is left out once.

    Returns:
        The root mean squared difference, in points, between the stand-in's score of a recipe and the recorded mean; and
        how large it would be through the luck of the recorded trainings alone.
    """
    known, about = _read(name, folder)
    keys = np.array([json.dumps(params, sort_keys=True) for params in known.params])
    names = np.array(list(dict.fromkeys(keys)))
    whole = np.array([epoch >= 1 for epoch in known.epochs])
    scores = known.values[:, whole, 0].max(axis=1)
    errors, lucks = [], []
    for fold in range(folds):
        out = set(names[fold::folds])
        rows = np.array([key not in out for key in keys])
        stand_in = _made(_part(known, rows), about, kind)
        for key in sorted(out):
            own = scores[keys == key]
            errors.append(stand_in.truth(json.loads(key)) - own.mean())
            if len(own) > 1:
                lucks.append(own.var(ddof=1) / len(own))
    luck = math.sqrt(float(np.mean(lucks))) if lucks else 0.0
    return 100 * math.sqrt(float(np.mean(np.square(errors)))), 100 * luck


def _part(known: Recorded, rows: Any) -> Recorded:
    places = np.flatnonzero(rows)
    return Recorded(
        epochs=known.epochs,
        params=tuple(known.params[place] for place in places),
        seeds=tuple(known.seeds[place] for place in places),
        values=known.values[places],
        alive=known.alive[places],
    )


def _read(name: str, folder: Path) -> tuple[Recorded, Mapping[str, Any]]:
    from pyarrow import parquet

    table = parquet.read_table(folder / f"{name}.parquet")
    about = json.loads(table.schema.metadata[b"task"])
    return recorded(table.to_pylist(), about["epochs"]), about


def _made(known: Recorded, about: Mapping[str, Any], kind: Kind) -> StandIn:
    return StandIn(
        known,
        recipes.space_of(about["space"]),
        train=about["train"],
        validation=about["validation"],
        literature=about["literature"],
        kind=kind,
    )
