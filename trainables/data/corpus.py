"""Three disjoint slices of a data set: train, validation and test."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.spaces import Data

Array = npt.NDArray[Any]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Inputs and class names of one split of a source, in its order."""

    inputs: list[Any]
    labels: list[str]
    skipped: tuple[str, ...] = ()
    """Names of inputs that cannot be read and were left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The three disjoint slices a search works on, before the family turns them into arrays."""

    inputs: Mapping[str, list[Any]]
    """Raw inputs by split name."""
    labels: Mapping[str, Array]
    """Class indices by split name, int64, shape [examples]."""
    classes: tuple[str, ...]
    """Class names; a label is an index into them."""
    duplicates: int
    """Rows left out because their input stands elsewhere already."""
    skipped: tuple[str, ...]
    """Names of rows left out because their input cannot be read."""
    fingerprint: str
    """Hash of every input, label and class name, in order."""

    def sizes(self) -> dict[str, int]:
        """Examples per split."""
        return {split: len(self.labels[split]) for split in SPLITS}

    def head(self, count: int) -> "Corpus":
        """The first `count` examples of each split, to look at before all are prepared."""
        return Corpus(
            inputs={split: rows[:count] for split, rows in self.inputs.items()},
            labels={split: labels[:count] for split, labels in self.labels.items()},
            classes=self.classes,
            duplicates=0,
            skipped=(),
            fingerprint=f"{self.fingerprint}-{count}",
        )


def cut_corpus(data: Data, rows: Mapping[str, Rows], largest_batch: int) -> Corpus:
    """The slices of a source that `read_rows` has read.

    Duplicate inputs are removed first, across all splits (an official test split keeps its rows), so
    that no example stands in two slices. The cut is stratified: every slice has the classes' shares.

    Raises:
        ValueError: the source has one class only, or fewer rows than the slices need, or the train
            slice fewer than `largest_batch`.
    """
    given = {split: _strip(split_rows) for split, split_rows in rows.items()}
    classes = _class_order({label for split_rows in given.values() for label in split_rows.labels})
    if len(classes) < 2:
        raise ValueError(f"data set {data.source} has one class only ({classes[0]!r}); classification needs two")
    unique, duplicates = _without_duplicates(given)
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


def _class_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted, as numbers where all are numbers ("2" before "10")."""
    return tuple(sorted(names, key=int if all(name.lstrip("-").isdigit() for name in names) else str))


def _strip(rows: Rows) -> Rows:
    stripped = [value.strip() if isinstance(value, str) else value for value in rows.inputs]
    return Rows(inputs=stripped, labels=rows.labels)


def _without_duplicates(given: Mapping[str, Rows]) -> tuple[dict[str, Rows], int]:
    """Each input once: the test split's rows are kept before validation's, those before train's."""
    seen: set[Any] = set()
    unique, dropped = {}, 0
    for split in (name for name in ("test", "validation", "train") if name in given):
        rows, kept = given[split], []
        for i, value in enumerate(rows.inputs):
            if value in seen:
                dropped += 1
            else:
                seen.add(value)
                kept.append(i)
        unique[split] = Rows(inputs=[rows.inputs[i] for i in kept], labels=[rows.labels[i] for i in kept])
    return unique, dropped


def _stratified(rows: Rows, rng: np.random.Generator) -> list[int]:
    """A shuffled order of the rows in which every stretch has about the classes' shares."""
    order = rng.permutation(len(rows.labels))
    labels = np.array(rows.labels)[order]
    place = np.empty(len(order))
    for name in sorted(set(rows.labels)):
        where = np.flatnonzero(labels == name)
        place[where] = (np.arange(len(where)) + 0.5) / len(where)
    return [int(i) for i in order[np.argsort(place, kind="stable")]]


def cut(data: Data, available: Mapping[str, int]) -> dict[str, tuple[str, int, int]]:
    """Which rows become which slice: for each slice its pool and the range [start, stop) in it.

    A split that the source has is the pool of its slice; the others come from the train pool, test
    first. Sizes that `data` leaves open: all of an own split, else a tenth of the train pool; the
    train slice takes what is left.

    Raises:
        ValueError: the pools hold fewer rows than asked for.
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
