"""About how long a search will take, from the measured speed of its models. Pure, no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from frostline.search.plan import budget as budgets
from frostline.search.plan import prefix
from frostline.search.plan.plan import Plan
from frostline.trainables._task import Speed

_HEAD = 0.02
"""A step of a head alone, as part of one with nothing frozen, at least: its optimizer, and reading from the cache."""
_FRESH = 6.0
"""Trainings with fresh seeds that a race takes on average (search/README.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Seconds."""

    shortest: float
    """Of a trial of the cheapest recipe, trained whole."""
    longest: float
    """Of a trial of the dearest one."""
    training: float
    """Of a trial on average."""
    search: float
    """Of the whole search: its time budget, or what its trials, their confirmation and the test score take."""


def forecast(plan: Plan) -> Forecast | None:
    """What a search takes if no trial is stopped early; None where the speed of a model is not known."""
    costs: dict[tuple[str, int], float] = {}
    weights: dict[tuple[str, int], float] = {}
    for name, model in plan.search.models.items():
        if model.speed is None:
            return None
        shares = prefix.depth_shares(plan.search.distributions, model.blocks) or {plan.search.base.frozen_layers: 1.0}
        for depth, share in shares.items():
            start = model.prefix.start(depth, plan.search.base.pooling, model.blocks)
            costs[name, depth] = _training(plan, model.speed, model.blocks, depth, start)
            weights[name, depth] = share
    mean = float(np.average(list(costs.values()), weights=list(weights.values())))
    return Forecast(
        shortest=min(costs.values()), longest=max(costs.values()), training=mean, search=_search(plan, mean, costs)
    )


def _search(plan: Plan, mean: float, costs: Mapping[tuple[str, int], float]) -> float:
    budget, slots = plan.budget, max(1, plan.resources.slots)
    if budget.trials is None:
        return budget.seconds or 0.0
    first = [plan.complete(recipe) for recipe in list(plan.search.recipes.values())[: budget.trials]]
    known = [
        costs.get((recipe.get("model", plan.search.base.model), recipe.get("frozen_layers", 0)), mean)
        for recipe in first
    ]
    fresh = min(_FRESH, budget.confirm_recipes * budget.confirm_seeds)
    trained = sum(known) + (budget.trials - len(known) + fresh) * mean
    speed = next(model.speed for model in plan.search.models.values() if model.speed)
    passes = sum(
        speed.evaluated * max(model.prefix.kept, default=0) / model.blocks for model in plan.search.models.values()
    )
    once = passes * (plan.data.sizes["train"] + plan.data.sizes["validation"])
    total = budgets.AROUND + (trained + once + plan.data.sizes["test"] * speed.evaluated) / slots
    return total if budget.seconds is None else min(total, budget.seconds)


def _training(plan: Plan, speed: Speed, blocks: int, depth: int, start: int) -> float:
    """Seconds of a whole training.

    Args:
        plan: of the search.
        speed: of the model.
        blocks: of the model.
        depth: frozen ones.
        start: blocks that are not run, since the prefix cache has their outputs.
    """
    skipped = speed.evaluated * start / blocks
    step = max(_HEAD * speed.trained[0], float(np.interp(depth, speed.depths, speed.trained)) - skipped)
    evaluated = max(0.0, speed.evaluated - skipped)
    return plan.budget.epochs * plan.data.sizes["train"] * step + sum(plan.schedule.validate_on) * evaluated
