"""Which rows are in which slice: official splits, stratified cuts of the train pool, and groups that stay together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.spaces import Data
from frostline.trainables.data.rows import Labelled

SPLITS = ("train", "validation", "test")

_SHARE, _FEWEST, _MOST_OF_FEW = 10, 200, 5
"""A slice whose size is open is a tenth of the rows. Where it has an upper bound, it has a lower one as well: 200
examples, or a fifth of the rows if that is less, since a score on fewer says little."""

Chosen = dict[str, tuple[str, list[int]]]
"""Slice -> the pool that it comes from, and its rows in that pool, in order."""


def chosen(data: Data, pools: Mapping[str, Labelled]) -> Chosen:
    """The rows of each slice. Every slice has about the class shares of its pool.

    Args:
        data: the sizes of the slices, the seed of the cut and the column of groups.
        pools: rows of each split that the source has, `train` last.

    Raises:
        ValueError: a pool holds fewer rows than asked for, or fewer groups than it has slices.
    """
    rngs = {split: np.random.default_rng([data.seed, number]) for number, split in enumerate(pools)}
    orders = {split: _stratified(rows.labels, rngs[split]) for split, rows in pools.items()}
    ranges = cut(data, {split: len(order) for split, order in orders.items()})
    slices = {split: (pool, orders[pool][start:stop]) for split, (pool, start, stop) in ranges.items()}
    of_train = [split for split, (pool, _) in slices.items() if pool == "train"]
    if data.group is None or len(of_train) < 2:
        return slices
    train, sizes = pools["train"], {split: len(slices[split][1]) for split in of_train}
    rng = np.random.default_rng([data.seed, len(pools)])
    parts = _by_groups(_numbered(train), train.labels, sizes, data.group, rng)
    place = {row: number for number, row in enumerate(orders["train"])}
    for split, rows in parts.items():
        asked = getattr(data, split)
        slices[split] = ("train", sorted(rows, key=place.__getitem__)[:asked])
    return slices


def _stratified(labels: Sequence[str], rng: np.random.Generator) -> list[int]:
    """A shuffled order of the rows in which every stretch has about the class shares of the whole."""
    order = rng.permutation(len(labels))
    shuffled = np.array(labels)[order]
    place = np.empty(len(order))
    for name in sorted(set(labels)):
        where = np.flatnonzero(shuffled == name)
        place[where] = (np.arange(len(where)) + 0.5) / len(where)
    return [int(i) for i in order[np.argsort(place, kind="stable")]]


def cut(data: Data, available: Mapping[str, int]) -> dict[str, tuple[str, int, int]]:
    """The pool of each slice, and its range [start, stop) in that pool.

    A split that the source has is the pool of its slice. The other slices are taken from the train pool, test first.
    A size that `data` leaves open is all of the source's own split, else about a tenth of the train pool, both within
    `data.most`; train takes the rest.

    Raises:
        ValueError: a pool holds fewer rows than asked for.
    """
    slices: dict[str, tuple[str, int, int]] = {}
    taken, pool = 0, available["train"]
    for split in ("test", "validation"):
        size = getattr(data, split)
        if split in available:
            size = min(available[split], data.most or available[split]) if size is None else size
            if size > available[split]:
                raise ValueError(f"{data.source} has {available[split]} different {split} rows, {size} asked for")
            slices[split] = (split, 0, size)
        else:
            size = _carved(pool, data.most) if size is None else size
            slices[split] = ("train", taken, taken + size)
            taken += size
    size = pool - taken if data.train is None else data.train
    if size < 1 or taken + size > pool:
        need = f"{taken} for validation and test and {max(size, 1)} for training"
        way = "--profile full takes what is there" if data.most is None else "without --train-rows all others are taken"
        hint = "" if data.train is None else f" ({way})"
        raise ValueError(f"{data.source} has {pool} different training rows; the slices need {need}{hint}")
    slices["train"] = ("train", taken, taken + size)
    return slices


def _carved(pool: int, most: int | None) -> int:
    """Examples of the validation or of the test slice that is cut from a train pool of this many rows."""
    tenth = pool // _SHARE
    return max(1, tenth if most is None else min(max(tenth, _FEWEST), pool // _MOST_OF_FEW, most))


def _numbered(rows: Labelled) -> npt.NDArray[Any]:
    """Number of each row's group, int [rows]. A row without a group is one of its own."""
    numbers: dict[Any, int] = {}
    assert rows.groups is not None
    keys = [("row", i) if group is None else ("group", group) for i, group in enumerate(rows.groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _by_groups(
    groups: npt.NDArray[Any], labels: Sequence[str], sizes: Mapping[str, int], column: str, rng: np.random.Generator
) -> dict[str, list[int]]:
    """Rows of each slice; rows of one group are in one slice, and sizes and class shares are near what is wanted.

    The largest groups are placed first, as scikit-learn's StratifiedGroupKFold does, each where it brings the class
    counts nearest to those wanted.

    Args:
        groups: number of each row's group, int [rows], from 0 without a gap.
        labels: label of each row.
        sizes: rows wanted in each slice; what is left over goes to train.
        column: name of the column of groups in messages.
        rng: decides the order of groups of one size.

    Raises:
        ValueError: there are fewer groups than slices.
    """
    count = int(groups.max()) + 1
    if count < len(sizes):
        have = "one value" if count == 1 else f"{count} different values"
        raise ValueError(f"--group {column}: it has {have}, and {', '.join(sorted(sizes))} need a group each at least")
    classes = {name: number for number, name in enumerate(sorted(set(labels)))}
    counts = np.zeros((count, len(classes)))
    np.add.at(counts, (groups, np.array([classes[label] for label in labels])), 1)
    others = sum(size for split, size in sizes.items() if split != "train")
    wanted = {**sizes, "train": len(labels) - others}
    names = sorted(wanted, key=SPLITS.index)
    targets = np.array([wanted[split] for split in names])[:, None] * counts.sum(0) / len(labels)
    filled, slice_of = np.zeros_like(targets), np.zeros(count, dtype=np.int64)
    order = rng.permutation(count)
    for group in order[np.argsort(-counts[order].sum(1), kind="stable")]:
        # By how much the squared distance from the targets grows, relative to the targets.
        growth = (counts[group] * (2 * (filled - targets) + counts[group]) / targets).sum(1)
        slice_of[group] = int(growth.argmin())
        filled[slice_of[group]] += counts[group]
    for number in range(1, len(names)):  # few groups: a slice that got none takes train's smallest
        if number not in slice_of:
            of_train = np.flatnonzero(slice_of == 0)
            slice_of[of_train[counts[of_train].sum(1).argmin()]] = number
    return {split: [int(i) for i in np.flatnonzero(slice_of[groups] == number)] for number, split in enumerate(names)}


def shared_groups(pools: Mapping[str, Labelled], column: str) -> list[str]:
    """Sentences on groups that official splits share, and on rows without a group."""
    groups = {split: {group for group in rows.groups or () if group is not None} for split, rows in pools.items()}
    sentences = []
    for i, one in enumerate(SPLITS):
        for other in SPLITS[i + 1 :]:
            if both := sorted(groups.get(one, set()) & groups.get(other, set())):
                number = "1 value" if len(both) == 1 else f"{len(both):,} values"
                sentences.append(
                    f"the source's own splits {one} and {other} share {number} of {column!r}, such as {both[0]!r}; "
                    "they stay as they are"
                )
    without = sum(group is None for rows in pools.values() for group in rows.groups or ())
    if without:
        rows_have = "1 row has" if without == 1 else f"{without:,} rows have"
        sentences.append(f"{rows_have} no {column!r} and stand for themselves")
    return sentences
