"""The last use of the winner's weights: export them, and read the test set."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frostline.spaces import Recipe
from frostline.trainables import _freezing
from frostline.trainables._errors import first_line
from frostline.trainables._family import Family
from frostline.trainables._task import Setup, WeightsLostError
from frostline.trainables.data.corpus import Array
from frostline.trainables.slot.attempt import home_of
from frostline.trainables.slot.node import entry_of
from frostline.trainables.slot.process import Slot
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training.evaluation import predict


def finish(
    setup: Setup,
    recipe: Recipe,
    checkpoint: str,
    out: str,
    reads_test: bool = True,
    baseline: Array | None = None,
) -> dict[str, Any]:
    """Load the winner from its checkpoint, export it, and measure it on the test set.

    Args:
        setup: of the search.
        recipe: of the winner.
        checkpoint: its weights, a path of the run directory.
        out: folder for the export, a path of the run directory.
        reads_test: False for the export alone.
        baseline: what another model answers to the first examples of the test slice, as logits [examples, classes].

    Returns:
        `metrics` of the exported weights on the test slice, and `interval`: the bootstrap 95 % interval
        of the metric that decides (1,000 resamples of the examples, percentiles; Efron 1979), empty where it is
        undefined. With a `baseline` also `difference`: the interval of this metric minus that of the baseline, both on
        the same resamples. Nothing if the test set is not read.

    Raises:
        WeightsLostError: the checkpoint is missing or damaged.
    """
    with Slot().trial(setup, recipe) as (family, model, device), home_of(setup) as home:
        _freezing.freeze(model, family.blocks(model), recipe.frozen_layers)
        try:
            checkpoints.load(model, home.get(Path(checkpoint)))
        except ValueError as error:
            raise WeightsLostError(f"the winner's weights are lost: {first_line(error)}") from error
        entry = entry_of(setup, recipe, family)
        examples = family.open(entry, "test")
        scores = predict(model, family, examples, device) if reads_test else None
        family.export(model, family.model_folder(recipe.model), recipe.data, setup.classes, home.path(Path(out)))
        family.complete_export(entry, home.path(Path(out)))
        home.put(Path(out))
    if scores is None:
        return {}
    found, decides = measured(family, setup.metric.name, *scores), _deciding(family, setup.metric.name)
    if baseline is None:
        return found
    logits, labels = scores
    places = torch.from_numpy(np.argsort(examples.lengths, kind="stable"))  # `predict` gives the shortest first
    answered = places < len(baseline)
    other = torch.from_numpy(baseline)[places[answered]]
    return {**found, "difference": bootstrap_difference(decides, logits[answered], other, labels[answered])}


def measured(family: Family, decides: str, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """All metrics on the test slice, and the interval of the one that decides, as `finish` returns them."""
    score = _deciding(family, decides)
    others = [name for name in family.names(logits.shape[1]) if name != decides]
    metrics = {**family.score(logits, labels, others), decides: score(logits, labels)}
    ordered = {metric.name: metrics[metric.name] for metric in family.metrics if metric.name in metrics}
    return {"metrics": ordered, "interval": bootstrap_interval(score, logits, labels)}


def _deciding(family: Family, decides: str) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """The metric that decides, of logits [examples, classes] and labels [examples].

    A user's function that fails here does not lose the result: where it fails it is undefined.
    """

    def score(logits: torch.Tensor, labels: torch.Tensor) -> float:
        try:
            return family.score(logits, labels, [decides])[decides]
        except Exception:  # it may divide by the examples of a class, which a resample lacks
            if decides not in family.own_metrics:
                raise
            return math.nan

    return score


def bootstrap_interval(
    score: Callable[[torch.Tensor, torch.Tensor], float], logits: torch.Tensor, labels: torch.Tensor
) -> tuple[float, ...]:
    """The 95 % interval of `score` over resamples of the examples. Those that leave it undefined do not count.

    Args:
        score: of logits [examples, classes] and labels [examples].
        logits: of all examples.
        labels: of all examples.

    Returns:
        Low and high end; nothing if the score is undefined. A single example gives its score twice.
    """
    return _interval(lambda chosen: score(logits[chosen], labels[chosen]), len(labels))


def bootstrap_difference(
    score: Callable[[torch.Tensor, torch.Tensor], float],
    logits: torch.Tensor,
    other: torch.Tensor,
    labels: torch.Tensor,
) -> tuple[float, ...]:
    """The 95 % interval of `score` of `logits` minus that of `other` over resamples of the examples, both on the same.

    Args:
        score: of logits [examples, classes] and labels [examples].
        logits: of all examples.
        other: another model's of the same examples.
        labels: of all examples.

    Returns:
        Low and high end; nothing if a score is undefined.
    """
    return _interval(
        lambda chosen: score(logits[chosen], labels[chosen]) - score(other[chosen], labels[chosen]), len(labels)
    )


def _interval(statistic: Callable[[Array], float], count: int) -> tuple[float, ...]:
    """The 95 % interval of a statistic of the numbers of resampled examples; nothing if it is undefined."""
    from scipy import stats

    if math.isnan(whole := statistic(np.arange(count))):
        return ()
    if count < 2:
        return (whole, whole)
    before = torch.get_num_threads()
    # A score takes 0.1 ms. With a thread for each core, and other work beside, it waits 6 ms for a core that is busy.
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of undefined resamples
            result = stats.bootstrap(
                (np.arange(count),),
                statistic,
                vectorized=False,
                n_resamples=1000,
                batch=10,  # resamples in memory at once
                method="percentile",
                rng=np.random.default_rng(0),
            )
    finally:
        torch.set_num_threads(before)
    low, high = result.confidence_interval
    if math.isnan(low):
        low, high = np.nanpercentile(result.bootstrap_distribution, (2.5, 97.5))
    return float(low), float(high)
