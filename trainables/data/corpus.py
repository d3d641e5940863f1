"""Three disjoint slices of a data set: train, validation and test."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.spaces import Data
from frostline.trainables.data import classes as class_names
from frostline.trainables.data.duplicates import unique
from frostline.trainables.data.rows import Complete, Rows, complete
from frostline.trainables.data.slices import SPLITS, chosen, shared_groups

__all__ = ["SPLITS", "Array", "Corpus", "cut_corpus"]

Array = npt.NDArray[Any]

_FEW = 20
"""Examples of a slice below which a user is told."""


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
    read: int = 0
    """Rows that were read. Each is in a slice, left out, or unused."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that are in no slice, by reason."""
    unused: int = 0
    """Rows that the sizes of the slices leave over."""
    notes: tuple[str, ...] = ()
    """What a user should know of the rows, a sentence each."""

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


def cut_corpus(data: Data, rows: Mapping[str, Rows], smallest_batch: int) -> Corpus:
    """Cut the rows of a source into slices.

    Rows without an input or a label are left out first, then inputs that occur more than once, across all splits (an
    official test split keeps its rows), so that no example is in two slices. The cut is stratified: every slice has
    the class shares of its pool.

    Args:
        data: the sizes of the slices, the seed of the cut and the column of groups.
        rows: the rows of each split that the source has; `train` is one of them.
        smallest_batch: examples of the smallest batch that may be tried.

    Raises:
        ValueError: most rows lack a label, the source has one class only or labels that are no classes, most inputs
            have several labels, a pool has fewer rows than the slices need, or the train slice has fewer rows than
            `smallest_batch`.
    """
    where = f"data set {data.source}"
    if data.group is not None and any(split_rows.groups is None for split_rows in rows.values()):
        raise ValueError(f"--group {data.group}: {where} has no columns to group its rows by")
    whole = complete(rows, where, (data.text, data.label))
    every_label = [label for split_rows in whole.rows.values() for label in split_rows.labels]
    are_folders = all(split_rows.are_folders for split_rows in rows.values())
    classes = class_names.check_classes(every_label, where, data.label, are_folders)
    class_names.check_same_classes({split: split_rows.labels for split, split_rows in whole.rows.items()}, where)
    pools = unique(whole.rows, where)
    slices = chosen(data, pools.rows)
    index = {name: number for number, name in enumerate(classes)}
    inputs = {split: [pools.rows[pool].inputs[i] for i in indices] for split, (pool, indices) in slices.items()}
    labels = {
        split: np.array([index[pools.rows[pool].labels[i]] for i in indices], dtype=np.int64)
        for split, (pool, indices) in slices.items()
    }
    _check_train(labels["train"], where, smallest_batch)
    skipped = tuple(name for split_rows in rows.values() for name in split_rows.skipped)
    left_out = {
        "unreadable": len(skipped),
        f"without a {data.text}": whole.without_input,
        f"without a {data.label}": whole.without_label,
        "of a test split without labels": whole.set_aside,
        "with several labels for one input": pools.conflicting,
        "duplicates": pools.duplicates,
    }
    notes = [note for split_rows in rows.values() for note in split_rows.notes]
    notes += [*_of_splits(whole), *pools.notes, *class_names.remarks(every_label)]
    notes += shared_groups(pools.rows, data.group) if data.group else []
    return Corpus(
        inputs=inputs,
        labels=labels,
        classes=classes,
        duplicates=pools.duplicates,
        skipped=skipped,
        fingerprint=_fingerprint(inputs, labels, classes),
        read=len(skipped) + sum(len(split_rows.labels) for split_rows in rows.values()),
        left_out={reason: count for reason, count in left_out.items() if count},
        unused=sum(len(pool.labels) for pool in pools.rows.values()) - sum(map(len, labels.values())),
        notes=tuple(dict.fromkeys([*notes, *_of_sizes(labels, classes)])),
    )


def _check_train(labels: Array, where: str, smallest_batch: int) -> None:
    """Check that the train slice can be trained on.

    Raises:
        ValueError: it is smaller than a batch, or has one class only.
    """
    if len(labels) < smallest_batch:
        raise ValueError(
            f"{where} leaves {len(labels)} training rows, fewer than a batch of {smallest_batch}, the smallest there is"
        )
    if len(set(labels.tolist())) < 2:
        raise ValueError(f"the train slice of {where.removeprefix('data set ')} has one class only; take more rows")


def _of_splits(whole: Complete) -> list[str]:
    """A sentence on a test split without labels."""
    if not whole.set_aside:
        return []
    return [
        f"the test split has no labels, so its {whole.set_aside:,} rows are set aside; the test slice is cut from train"
    ]


def _of_sizes(labels: Mapping[str, Array], classes: tuple[str, ...]) -> list[str]:
    """Sentences on slices of few examples, and on classes of several rows that a slice has no example of."""
    sentences = []
    few = [f"{split} has {len(labels[split])}" for split in SPLITS if len(labels[split]) < _FEW]
    if few:
        sentences.append(
            f"slices of fewer than {_FEW} examples tell little: {', '.join(few)} (more rows make them larger)"
        )
    counts = {split: np.bincount(labels[split], minlength=len(classes)) for split in SPLITS}
    several = sum(counts.values()) > 1
    lacking = {split: np.flatnonzero(several & (counts[split] == 0)) for split in SPLITS}
    parts = [
        f"{split} lacks {len(numbers)} of {len(classes)}, such as {classes[numbers[0]]!r}"
        for split, numbers in lacking.items()
        if len(numbers)
    ]
    if parts:
        sentences.append(f"some classes have no example in a slice: {'; '.join(parts)}")
    return sentences


def _fingerprint(inputs: Mapping[str, list[Any]], labels: Mapping[str, Array], classes: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for split in SPLITS:
        for value in inputs[split]:
            raw = str(value).encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(labels[split].tobytes())
    return digest.hexdigest()
