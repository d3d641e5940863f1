"""Batches of examples of about the same length."""

import numpy as np

from frostline.trainables.data.corpus import Array

_BATCHES_PER_POOL = 100
"""Enough for batches of nearly equal lengths: padding on IMDB at 512 tokens stays below 3 %."""


def batches(lengths: Array, batch_size: int, rng: np.random.Generator) -> list[Array]:
    """One epoch of batches in random order, each of examples of about the same length.

    The shuffled epoch is cut into pools of 100 batches, and each pool is sorted by length and cut into batches. Random
    pools make the batches of every epoch different; sorting within a pool keeps the padding small.

    Args:
        lengths: int, shape [examples].
        batch_size: examples per batch. The last batch of the epoch may hold fewer; a single example left over joins
            the batch before it, since batch norm needs two.
        rng: decides the pools and the order.

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
