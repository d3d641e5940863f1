"""Three disjoint slices of a data set: train, validation and test."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.spaces import Data
from frostline.trainables.data.rows import Labelled, Rows, complete

Array = npt.NDArray[Any]

__all__ = ["SPLITS", "Array", "Corpus", "Rows", "cut", "cut_corpus"]

SPLITS = ("train", "validation", "test")

_MOST_FRACTIONS = 0.1
"""Different labels a row from which on labels that are fractions are a quantity, not classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The three disjoint slices of a search, before the family turns them into arrays."""

    inputs: Mapping[str, list[Any]]
    """Raw inputs by split name."""
    labels: Mapping[str, Array]
    """Class indices by split name, int64, shape [examples]."""
    classes: tuple[str, ...]
    """Class names; a label is an index into them."""
    duplicates: int
    """Rows that were left out because another row has the same input."""
    skipped: tuple[str, ...]
    """Names of rows that were left out because their input cannot be read."""
    fingerprint: str
    """Hash of every input, label and class name, in order."""

    def sizes(self) -> dict[str, int]:
        """Examples per split."""
        return {split: len(self.labels[split]) for split in SPLITS}

    def head(self, count: int) -> "Corpus":
        """The first `count` examples of each split, for a try before all are prepared."""
        return Corpus(
            inputs={split: rows[:count] for split, rows in self.inputs.items()},
            labels={split: labels[:count] for split, labels in self.labels.items()},
            classes=self.classes,
            duplicates=0,
            skipped=(),
            fingerprint=f"{self.fingerprint}-{count}",
        )


def cut_corpus(data: Data, rows: Mapping[str, Rows], largest_batch: int) -> Corpus:
    """Cut the rows of a source into slices.

    Duplicate inputs are removed first, across all splits (an official test split keeps its rows), so that no example
    is in two slices. The cut is stratified: every slice has the class shares of its pool.

    Args:
        data: the sizes of the slices and the seed of the cut.
        rows: the rows of each split that the source has; `train` is one of them.
        largest_batch: examples of the largest batch that may be tried.

    Raises:
        ValueError: the source has one class only, labels that are a quantity, or fewer rows than the slices need; or
            the train slice has fewer rows than `largest_batch`.
    """
    whole = complete(rows, f"data set {data.source}", (data.text, data.label))
    stripped = whole.rows
    classes = _class_order({label for split_rows in stripped.values() for label in split_rows.labels})
    _check_classes(data, classes, sum(len(split_rows.labels) for split_rows in stripped.values()))
    unique, duplicates = _without_duplicates(stripped)
    pools = {
        split: _stratified(split_rows, np.random.default_rng([data.seed, number]))
        for number, (split, split_rows) in enumerate(unique.items())
    }
    slices = cut(data, {split: len(order) for split, order in pools.items()})
    inputs, labels = {}, {}
    index = {name: number for number, name in enumerate(classes)}
    for split, (pool, start, stop) in slices.items():
        chosen = pools[pool][start:stop]
        inputs[split] = [unique[pool].inputs[i] for i in chosen]
        labels[split] = np.array([index[unique[pool].labels[i]] for i in chosen], dtype=np.int64)
    if len(labels["train"]) < largest_batch:
        raise ValueError(
            f"data set {data.source} leaves {len(labels['train'])} training rows, fewer than a batch of {largest_batch}"
        )
    if len(set(labels["train"].tolist())) < 2:
        raise ValueError(f"the train slice of {data.source} has one class only; take more rows")
    return Corpus(
        inputs=inputs,
        labels=labels,
        classes=classes,
        duplicates=duplicates,
        skipped=tuple(name for split_rows in rows.values() for name in split_rows.skipped),
        fingerprint=_fingerprint(inputs, labels, classes),
    )


def _check_classes(data: Data, classes: tuple[str, ...], rows: int) -> None:
    """Check that labels name classes.

    Raises:
        ValueError: there is one class only, or the labels are numbers with fractions and nearly all different.
    """
    if len(classes) < 2:
        raise ValueError(f"data set {data.source} has one class only ({classes[0]!r}); classification needs two")
    if len(classes) > _MOST_FRACTIONS * rows and _are_fractions(classes):
        raise ValueError(
            f"data set {data.source}: column {data.label!r} holds {len(classes)} different numbers in {rows} rows, "
            f"such as {classes[0]}; classification needs classes"
        )


def _are_fractions(names: tuple[str, ...]) -> bool:
    """True if all names are numbers and one of them is not a whole number."""
    try:
        return any(not float(name).is_integer() for name in names)
    except ValueError:
        return False


def _class_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted; as numbers ("2" before "10") if all are whole numbers."""
    return tuple(sorted(names, key=int if all(name.lstrip("-").isdigit() for name in names) else str))


def _without_duplicates(splits: Mapping[str, Labelled]) -> tuple[dict[str, Labelled], int]:
    """Each input once, and the number of rows dropped.

    Of rows with equal inputs the one in test stays, else the one in validation, else the first one in train.
    """
    seen: set[Any] = set()
    unique, dropped = {}, 0
    for split in (name for name in ("test", "validation", "train") if name in splits):
        rows, kept = splits[split], []
        for i, value in enumerate(rows.inputs):
            if value in seen:
                dropped += 1
            else:
                seen.add(value)
                kept.append(i)
        unique[split] = rows.only(kept)
    return unique, dropped


def _stratified(rows: Labelled, rng: np.random.Generator) -> list[int]:
    """A shuffled order of the rows in which every stretch has about the class shares of the whole."""
    order = rng.permutation(len(rows.labels))
    labels = np.array(rows.labels)[order]
    place = np.empty(len(order))
    for name in sorted(set(rows.labels)):
        where = np.flatnonzero(labels == name)
        place[where] = (np.arange(len(where)) + 0.5) / len(where)
    return [int(i) for i in order[np.argsort(place, kind="stable")]]


def cut(data: Data, available: Mapping[str, int]) -> dict[str, tuple[str, int, int]]:
    """The pool of each slice, and its range [start, stop) in that pool.

    A split that the source has is the pool of its slice. The other slices are taken from the train pool, test first.
    A size that `data` leaves open is all of the source's own split, else a tenth of the train pool; train takes the
    rest.

    Raises:
        ValueError: a pool holds fewer rows than asked for.
    """
    slices: dict[str, tuple[str, int, int]] = {}
    taken, pool = 0, available["train"]
    for split in ("test", "validation"):
        size = getattr(data, split)
        if split in available:
            size = available[split] if size is None else size
            if size > available[split]:
                raise ValueError(f"{data.source} has {available[split]} different {split} rows, {size} asked for")
            slices[split] = (split, 0, size)
        else:
            size = max(1, pool // 10) if size is None else size
            slices[split] = ("train", taken, taken + size)
            taken += size
    size = pool - taken if data.train is None else data.train
    if size < 1 or taken + size > pool:
        need = f"{taken} for validation and test and {max(size, 1)} for training"
        hint = "" if data.train is None else " (--profile full takes what is there)"
        raise ValueError(f"{data.source} has {pool} different training rows; the slices need {need}{hint}")
    slices["train"] = ("train", taken, taken + size)
    return slices


def _fingerprint(inputs: Mapping[str, list[Any]], labels: Mapping[str, Array], classes: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for split in SPLITS:
        for value in inputs[split]:
            raw = str(value).encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(labels[split].tobytes())
    return digest.hexdigest()
