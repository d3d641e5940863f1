"""What the trials of a search run on, and what protects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from frostline.search.cluster import capacity, limits
from frostline.search.plan.disk import disk_bound
from frostline.search.plan.models import Sources
from frostline.search.plan.options import Options, size
from frostline.search.plan.plan import Place, Resources
from frostline.search.records import folder as run_folder
from frostline.spaces import Budget

if TYPE_CHECKING:
    from frostline.trainables._family import ModelInfo

_RETRIES, _CHECKPOINT_EVERY = 2, 30.0
"""Defaults of `--retries`, and of `--checkpoint-every` in seconds."""


def check_numbers(options: Options) -> None:
    for label, value in (
        ("--retries", options.retries),
        ("--checkpoint-every", options.checkpoint_every),
        ("--price-per-hour", options.price_per_hour),
    ):
        if value is not None and not value >= 0:
            raise ValueError(f"{label} must not be negative, got {value:g}")


def resources(
    options: Options, budget: Budget, place: Place, offer: capacity.Offer, sources: Sources, *, wandb: bool
) -> Resources:
    """Resources of each trial, how many fit, and the bounds of the disk.

    Args:
        options: what was asked for.
        budget: of the search.
        place: where it works.
        offer: what the machines have.
        sources: its models and data.
        wandb: whether W&B keeps files of its own.

    Raises:
        ValueError: a trial fits on no machine, or a model cannot be trained by several workers.
    """
    from frostline.trainables.prefix import store

    workers = 1 if options.workers_per_trial is None else options.workers_per_trial
    need = capacity.trial_need(offer, options.cpus_per_trial, options.gpus_per_trial, sources.largest, workers)
    check_batch_norm(sources.infos, workers)
    places = capacity.places(offer, need, options.concurrent, budget.trials)
    if place.address is None:
        limits.check(places.now)
    at_once = places.grown if places.most is None else min(places.grown, places.most)
    return Resources(
        need=need,
        slots=places.now,
        most=places.most,
        concurrent=options.concurrent,
        price_per_hour=options.price_per_hour,
        slots_reason=places.reason,
        cache_limit=int(store.limit() if options.cache_size is None else size(options.cache_size)),
        disk=disk_bound(
            sources.largest,
            max(at_once, run_folder.snapshots(place.run)),
            budget,
            sources.other_bytes,
            wandb=wandb,
        ),
        retries=_RETRIES if options.retries is None else options.retries,
        checkpoint_every=_CHECKPOINT_EVERY if options.checkpoint_every is None else options.checkpoint_every,
    )


def check_batch_norm(infos: Mapping[str, ModelInfo], workers: int) -> None:
    """Refuse several workers where each would take its own share of a batch for all of it.

    Raises:
        ValueError: names the model.
    """
    for model, info in infos.items():
        if workers > 1 and info.batch_norm:
            raise ValueError(
                f"--workers-per-trial {workers}: {model} has batch norm, which looks at a whole batch; each worker "
                "would count its share of it alone. Take a model without (a transformer, ConvNeXt), or one worker"
            )
