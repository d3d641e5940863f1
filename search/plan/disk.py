"""How much disk a search needs at most. Pure, in bytes."""

from __future__ import annotations

from frostline.search.plan.budget import report_points, trainings
from frostline.spaces import Budget

KEPT_CHECKPOINTS = 3
"""Best trials of a search whose weights stay on disk."""

_RECORDS = 12_000_000
"""Bytes of plan, summary, model card and report.html, twice while they are replaced."""
_RECORDS_PER_TRAINING = 3_500
"""Bytes of one training's lines in all journals and its share of the report, per report and for its end."""
_WANDB_PER_TRAINING = 150_000
"""Bytes of a run's files that W&B's client keeps (measured: 48 kB), for a run that was opened three times."""


def disk_bound(largest: int, slots: int, budget: Budget, other_bytes: int, wandb: bool) -> int:
    """Bytes that the run directory can hold at most.

    Weights are float32. The run directory holds: the best weights of the kept trials and of the confirmed recipes; for
    each running training its best weights and its snapshot (weights and Adam's two moments), both twice while they
    are replaced; the export, twice while it is replaced; the records. A search without a number of trials counts
    the records of 1,000.

    Args:
        largest: parameters of the largest model.
        slots: trainings at once, or interrupted and waiting to go on.
        budget: trials and confirmation.
        other_bytes: bytes of a model's other files, which the export has too.
        wandb: whether W&B's client keeps files.
    """
    weights = 4 * largest
    races = 1 if budget.seconds is None else 2  # time that a race leaves goes to trials, which may begin another
    kept = KEPT_CHECKPOINTS + (races * budget.confirm_recipes if budget.confirm_seeds else 0)
    records = _RECORDS + trainings(budget) * _RECORDS_PER_TRAINING * (1 + len(report_points(budget)))
    runs = trainings(budget) * _WANDB_PER_TRAINING if wandb else 0
    return (kept + 1) * weights + slots * 2 * (1 + 3) * weights + 2 * (weights + other_bytes) + records + runs
