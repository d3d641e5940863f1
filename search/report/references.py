"""Scores to compare the winner with: baselines that need no training, and the space's own recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from frostline.search.records.trials import Trial
from frostline.spaces import Metric

if TYPE_CHECKING:
    from frostline.trainables._family import Baseline


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A baseline or a recipe to compare the winner with. Scores are values of the deciding metric."""

    name: str
    validation: float | None
    """Best validation score; None if the recipe never reported."""
    first_rung: float | None = None
    """Score at its first report."""
    epoch: float | None = None
    """Epochs of the best report."""
    test: float | None = None
    """Test score; known for baselines only, since no other recipe than the winner's reads the test set."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of a recipe; empty for a baseline."""


def baseline_row(baseline: Baseline, metric: Metric) -> Reference:
    """A family's baseline in the metric that decides."""
    scores = {split: values[metric.name] for split, values in baseline.scores.items()}
    return Reference(name=baseline.name, validation=scores["validation"], test=scores["test"])


def references(trials: Iterable[Trial], metric: Metric) -> list[Reference]:
    """The space's own recipes, in the order in which they were tried."""
    rows = []
    for trial in trials:
        if trial.label:
            best, first = trial.best, trial.reports[0].objective if trial.reports else None
            rows.append(
                Reference(
                    name=trial.label,
                    validation=metric.value(trial.objective) if best else None,
                    first_rung=None if first is None else metric.value(first),
                    epoch=best.epoch if best else None,
                    params=trial.params,
                )
            )
    return rows
