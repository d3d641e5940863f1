"""Batches of examples of about the same length."""

import numpy as np

from frostline.trainables.data.corpus import Array

_BATCHES_PER_POOL = 100


def batches(lengths: Array, batch_size: int, rng: np.random.Generator) -> list[Array]:
    """One epoch of batches, each of examples of about the same length, in random order.

    The shuffled epoch is cut into pools of 100 batches; each pool is sorted by length and cut into
    batches. Random pools keep the batches of every epoch different; sorting in a pool keeps the
    padding small.

    Args:
        lengths: int, shape [examples].
        batch_size: examples per batch; the last batch of the epoch may hold fewer. A single one that is left over
            joins the batch before: batch norm can make nothing of it.
        rng: decides pools and order.

    Returns:
        Index arrays that together hold every example once.
    """
    order = rng.permutation(len(lengths))
    cut_batches = []
    for start in range(0, len(order), batch_size * _BATCHES_PER_POOL):
        pool = order[start : start + batch_size * _BATCHES_PER_POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        cut_batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    if len(cut_batches) > 1 and batch_size > 1 and len(cut_batches[-1]) == 1:
        cut_batches[-2:] = [np.concatenate(cut_batches[-2:])]
    return [cut_batches[i] for i in rng.permutation(len(cut_batches))]


def by_length(lengths: Array, batch_size: int) -> list[Array]:
    """Batches for evaluation: all examples once, shortest first."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
