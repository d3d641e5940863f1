"""Decisions of the ledger as pure functions: when to give up, which micro-batch fits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Outcome, Trial

FAST_FAILURES = 5
"""Failures in a row, each before the first report, that mean that something is wrong with more than the recipes."""


def headed(plan: Plan, params: Mapping[str, Any]) -> str | None:
    """The model of a training that runs no block, since the prefix cache has the inputs of its head; else None."""
    recipe = plan.recipe(params, plan.search.seed)
    return recipe.model if recipe.cached_layers == plan.search.models[recipe.model].blocks else None


def hopeless(ended: Sequence[Trial]) -> str | None:
    """The last reason of `FAST_FAILURES` fast failures in a row, after which going on would waste the budget.

    A recipe that did not fit the device counts only while no trial has fitted.

    Args:
        ended: trials in the order in which they ended in this session.
    """
    fitted = any(trial.reports for trial in ended)
    counted = (trial for trial in reversed(ended) if not (fitted and trial.outcome == Outcome.INFEASIBLE))
    last = list(itertools.islice(counted, FAST_FAILURES))
    failed = {Outcome.FAILED, Outcome.INFEASIBLE}
    fast = [trial for trial in last if not trial.reports and trial.outcome in failed]
    return last[0].reason if len(fast) == FAST_FAILURES else None


def fitting_micro_batches(trials: Iterable[Trial], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """By device, the smallest micro-batch that one of the trials had to shrink to.

    Memory depends on model, input length, frozen depth and device. The length is the same in a whole search.

    Args:
        trials: trials of one model, frozen at one depth.
        known: result for other such trials.
    """
    fitting = dict(known or {})
    for trial in trials:
        for line in trial.reports:
            if 0 < line.micro_batch < trial.params.get("batch_size", 0):
                fitting[line.device] = min(line.micro_batch, fitting.get(line.device, line.micro_batch))
    return fitting
