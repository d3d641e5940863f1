"""Budget -> ASHA: where a trial may be stopped, and the scheduler that stops it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from spaces import Budget

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler


def rungs(budget: Budget) -> tuple[float, ...]:
    """Epochs at which ASHA may stop a trial: `first_rung`, times `reduction_factor` each, below `epochs`."""
    found, at = [], budget.first_rung
    while at < budget.epochs:
        found.append(float(at))
        at *= budget.reduction_factor
    return tuple(found)


def report_points(budget: Budget) -> tuple[float, ...]:
    """Epochs at which a trial is measured: every rung and every whole epoch."""
    return tuple(sorted({*rungs(budget), *map(float, range(1, budget.epochs + 1))}))


def worst_case_epochs(budget: Budget) -> float:
    """Epochs of training if ASHA stopped nothing."""
    return float(budget.trials * budget.epochs)


def expected_epochs(budget: Budget) -> float:
    """Epochs of training if exactly one trial in `reduction_factor` passes each rung."""
    points, alive, total = (0.0, *rungs(budget), float(budget.epochs)), float(budget.trials), 0.0
    for start, stop in itertools.pairwise(points):
        total += math.ceil(alive) * (stop - start)
        alive /= budget.reduction_factor
    return total


def asha(budget: Budget) -> AsyncHyperBandScheduler:
    """Ray's ASHA on epochs as we count them, deciding by the report's `objective` (larger is better)."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="objective",
        mode="max",
        grace_period=budget.first_rung,
        max_t=budget.epochs,
        reduction_factor=budget.reduction_factor,
    )
