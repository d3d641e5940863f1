"""A Gaussian process over recipes: the score that a recipe is expected to have, from all trainings of a search.

Noise is large where models are fine-tuned on little data: the same recipe scores some points more or less with another
seed. So a score counts as one draw around the mean of its recipe, and how much luck a training has is estimated too.
Nothing is fitted to a single best point: the unknown numbers (length scale of each parameter, size of the luck, what
the loss says) are drawn from their prior once, and each draw counts by its marginal likelihood. With few scores the
answer is therefore close to the prior, with many it is close to what they say. numpy and scipy alone.

Optuna's own `GPSampler` sees the scores alone and fits one set of these numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_DRAWS, _KEPT = 128, 10
"""Draws of the unknown numbers, and how many of them count: those with the most weight."""
_LENGTH = 0.5
"""Length scale that is expected of a parameter, as a share of its range. Longer ones make the process too sure of
itself: with 1 a search soon tried nothing but neighbours of its first good recipes (tests/bench/README.md)."""
_HEIGHT, _LUCK = 0.8, 0.3
"""Standard deviations that are expected of the recipes and of a training's luck, in units of the distance from the
median to the best score."""
_OWN = 0.02
"""The same of what a recipe has that its neighbours have not, however near they are."""
_CENTER = 1.0
"""Variance of the mean of all recipes, in the same unit."""
_UNSURE = 0.25
"""Variance of the score of a training that was stopped, in the same unit squared."""
_JITTER = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What is expected at some places, in units of the process: a row a draw of the unknown numbers."""

    means: Array
    """[draws, places]"""
    deviations: Array
    """[draws, places]: standard deviation of the recipe's mean, without the luck of a training."""
    weights: Array
    """[draws]: they add up to 1."""

    @property
    def mean(self) -> Array:
        """[places]: expected score."""
        return np.asarray(self.weights @ self.means)


class Surrogate:
    """The process after some trainings.

    A training shows two things of its recipe, its score and its validation loss: two functions of the recipe that
    belong together more or less (intrinsic coregionalisation, Bonilla, Chai, Williams 2008), each with the luck of the
    training, which belongs together too. On little data the loss often says more of another seed's score than the
    score itself does, since a score counts right answers alone.
    """

    def __init__(
        self, places: Array, scores: Sequence[float], losses: Sequence[float], sure: Sequence[bool], least: float
    ) -> None:
        """Take in trainings.

        Args:
            places: [trainings, axes] in the unit cube.
            scores: objectives, larger is better.
            losses: validation losses; NaN where there is none.
            sure: False of a training that was stopped, whose score says less.
            least: standard deviation that the luck of a training has at least, in units of the score.
        """
        self._places, objectives, shown_losses = places, np.array(scores), np.array(losses)
        self.median = float(np.median(objectives))
        """The score that is 0 in units of the process."""
        self.unit = max(float(objectives.max()) - self.median, 1.5 * least, 1e-9)
        """One unit of the process, as a difference of scores."""
        shown = np.isfinite(shown_losses) & (shown_losses > 0)
        self._place_of = np.concatenate([np.arange(len(objectives)), np.flatnonzero(shown)])
        """Of each number that was seen, the training."""
        self._view = np.repeat([0, 1], [len(objectives), int(shown.sum())])
        """0 for a score, 1 for a loss."""
        values = [_warped((objectives - self.median) / self.unit)]
        if shown.any():
            low = -np.log(shown_losses[shown])
            middle = float(np.median(low))
            values.append(_warped((low - middle) / max(float(low.max()) - middle, 1e-9)))
        self._fit(np.concatenate(values), np.where(np.array(sure), 0.0, _UNSURE)[self._place_of], least / self.unit)

    def _fit(self, values: Array, noise: Array, least: float) -> None:
        drawn = _prior(self._places.shape[1])
        luck = np.exp(drawn.luck)
        luck[:, 0] = np.maximum(luck[:, 0], least)
        self._draws = _Draws(
            lengths=np.exp(drawn.lengths),
            height=np.exp(drawn.height) ** 2,
            own=np.exp(drawn.own) ** 2,
            luck=luck,
            together=drawn.together,
            shared=drawn.shared,
        )
        lower = np.linalg.cholesky(self._covariance(noise))
        solved = _solved(lower, np.broadcast_to(values, (len(lower), len(values))))
        fits = -0.5 * (solved**2).sum(axis=1) - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        weights = np.exp(fits - fits.max())
        kept = np.argsort(-weights, kind="stable")[:_KEPT]
        self._draws = _Draws(*(getattr(self._draws, name)[kept] for name in _Draws.__slots__))
        self._lower, self._solved, self.weights = lower[kept], solved[kept], weights[kept] / weights[kept].sum()

    def _covariance(self, noise: Array) -> Array:
        """[draws, numbers seen, numbers seen]: how they vary together."""
        draws, count = self._draws, len(self._places)
        between = self._kernel(self._places, self._places)
        together, shared = draws.together[:, None, None], draws.shared[:, None, None]
        shown, index = self._place_of[count:], np.arange(count)
        own = np.zeros_like(between)
        own[:, index, index] = 1.0
        first, second = draws.luck[:, 0][:, None, None], draws.luck[:, 1][:, None, None]
        scores = between + _CENTER + first**2 * own
        losses = (between + _CENTER + second**2 * own)[:, shown][:, :, shown]
        across = (together * between + shared * first * second * own)[:, :, shown]
        whole = np.concatenate(
            [np.concatenate([scores, across], axis=2), np.concatenate([across.swapaxes(1, 2), losses], axis=2)], axis=1
        )
        index = np.arange(len(noise))
        whole[:, index, index] += noise + _JITTER
        return whole

    def _kernel(self, some: Array, others: Array) -> Array:
        """[draws, some, others]: Matern 5/2, and what the same recipe alone has."""
        draws, axes = self._draws.lengths.shape
        squares = np.square(some[:, None] - others[None]).reshape(len(some) * len(others), axes)
        away = ((1 / np.square(self._draws.lengths)) @ squares.T).reshape(draws, len(some), len(others))
        distance = np.sqrt(5 * away)
        smooth = self._draws.height[:, None, None] * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return np.asarray(smooth + np.where(away == 0, self._draws.own[:, None, None], 0.0))

    def _across(self, places: Array) -> Array:
        """[draws, numbers seen, places]: covariance of what was seen with the scores of recipes at these places."""
        across = self._kernel(self._places, places)[:, self._place_of]
        score = self._view[None, :, None] == 0
        return np.asarray(np.where(score, across + _CENTER, self._draws.together[:, None, None] * across))

    def expect(self, places: Array, running: Array | None = None) -> Expected:
        """What recipes at these places score.

        Args:
            places: [places, axes].
            running: places of trainings that run: they lower the uncertainty as if they had scored what is expected.
        """
        lower, solved, across = self._lower, self._solved, self._across(places)
        if running is not None and len(running):
            below = _solved(lower, self._across(running))
            own = self._kernel(running, running) + _CENTER
            own += (self._draws.luck[:, 0] ** 2 + _JITTER)[:, None, None] * np.eye(len(running))
            corner = np.linalg.cholesky(own - np.swapaxes(below, 1, 2) @ below)
            count, more = solved.shape[1], len(running)
            bigger = np.zeros((len(lower), count + more, count + more))
            bigger[:, :count, :count], bigger[:, count:, count:] = lower, corner
            bigger[:, count:, :count] = np.swapaxes(below, 1, 2)
            lower, across = bigger, np.concatenate([across, self._kernel(running, places) + _CENTER], axis=1)
            # Their scores are the expected ones, so they add nothing to the means.
            solved = np.concatenate([solved, np.zeros((len(solved), more))], axis=1)
        across = _solved(lower, across)
        means = np.einsum("dk,dkp->dp", solved, across)
        prior = (self._draws.height + self._draws.own)[:, None] + _CENTER
        variance = np.maximum(prior - np.square(across).sum(axis=1), 1e-10)
        return Expected(means=means, deviations=np.sqrt(variance), weights=self.weights)

    def joint(self, places: Array) -> tuple[Array, Array]:
        """Mean scores of recipes at these places, in units of the process: [draws, places] what is expected, and
        [draws, places, places] how they vary together.
        """
        across = _solved(self._lower, self._across(places))
        means = np.einsum("dk,dkp->dp", self._solved, across)
        return means, self._kernel(places, places) + _CENTER - np.swapaxes(across, 1, 2) @ across

    @property
    def luck(self) -> Array:
        """[draws]: standard deviation of a training's score around the mean of its recipe, in units of the process."""
        return self._draws.luck[:, 0]

    @property
    def spread(self) -> Array:
        """[draws]: standard deviation of the recipes, in the same unit."""
        return np.sqrt(self._draws.height)

    def scores(self, values: Array) -> Array:
        """Values of the process as scores."""
        away = np.where(values < 0, -np.expm1(-np.minimum(values, 0.0)), values)
        return np.asarray(self.median + self.unit * away)


def _solved(lower: NDArray[Any], right: NDArray[Any]) -> Array:
    """[draws, ...]: the solutions of a triangular system for each draw. numpy has none that makes use of the zeros."""
    from scipy.linalg import solve_triangular

    pairs = zip(lower, right, strict=True)
    return np.array([solve_triangular(one, side, lower=True, check_finite=False) for one, side in pairs])


def _warped(away: Array) -> Array:
    """Far below 0 values lie closer: how bad a bad recipe is says little of the good ones."""
    return np.where(away < 0, -np.log1p(-np.minimum(away, 0.0)), away)


@dataclass(frozen=True, slots=True)
class _Draws:
    lengths: Array
    height: Array
    own: Array
    luck: Array
    """[draws, 2]: of score and loss."""
    together: Array
    """Correlation of a recipe's score and loss."""
    shared: Array
    """Correlation of their luck."""


@functools.cache
def _prior(axes: int) -> _Draws:
    """The same draws each time: so a decision follows from the scores alone. Sizes are logarithms."""
    from scipy.stats import norm, qmc

    shares = qmc.Sobol(axes + 6, rng=0).random(_DRAWS).clip(1e-6, 1 - 1e-6)
    numbers = norm.ppf(shares)
    return _Draws(
        lengths=math.log(_LENGTH) + 0.7 * numbers[:, :axes],
        height=math.log(_HEIGHT) + 0.4 * numbers[:, axes],
        luck=math.log(_LUCK) + 0.8 * numbers[:, axes + 1 : axes + 3],
        own=math.log(_OWN) + 0.7 * numbers[:, axes + 5],
        together=0.98 * np.sqrt(shares[:, axes + 3]),
        shared=0.9 * shares[:, axes + 4],
    )


def improvement(expected: Expected, best: Array) -> Array:
    """[places]: expected improvement on the best expected mean of each draw (Mockus 1978), over all draws.

    Args:
        expected: at the places.
        best: [draws]: the mean to improve on.
    """
    from scipy.special import ndtr

    gap = (expected.means - best[:, None]) / expected.deviations
    density = np.exp(-0.5 * gap**2) / math.sqrt(2 * math.pi)
    return np.asarray(expected.weights @ (expected.deviations * (gap * ndtr(gap) + density)))
