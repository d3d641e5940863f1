"""The rows of one split as a reader gives them, and which of them have no part in a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_WITHOUT = 0.5
"""Largest share of the rows of a split that may lack an input or a label; beyond it the column is the wrong one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Inputs and class names of one split of a source, in its order."""

    inputs: list[Any]
    """None where a row has no input. Such a row is left out of the slices."""
    labels: list[str | None]
    """None where a row has no label: an empty cell, null, NaN, or -1 of a `ClassLabel`. It is left out as well."""
    groups: list[str | None] | None = None
    """Value of the column `Data.group` in each row; None without such a column."""
    are_folders: bool = False
    """Whether the labels are names of folders: classes for sure, even with one row each."""
    skipped: tuple[str, ...] = ()
    """Names of inputs that were left out because they cannot be read."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the rows were read, a sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """Rows of one split that have an input and a label."""

    inputs: list[Any]
    labels: list[str]
    groups: list[str | None] | None = None
    """As in `Rows`."""

    def only(self, kept: Sequence[int]) -> "Labelled":
        """The rows of these indices, in this order."""
        return Labelled(
            inputs=[self.inputs[i] for i in kept],
            labels=[self.labels[i] for i in kept],
            groups=None if self.groups is None else [self.groups[i] for i in kept],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Complete:
    """The rows that have an input and a label, by split, and what became of the others."""

    rows: Mapping[str, Labelled]
    without_input: int
    without_label: int
    set_aside: int
    """Rows of a test split without any label."""


def complete(rows: Mapping[str, Rows], where: str, columns: tuple[str, str]) -> Complete:
    """Leave out rows without an input or a label. A text of spaces is no input. A test split without labels goes.

    Args:
        rows: the rows of each split.
        where: name of the source in messages.
        columns: names of the columns of inputs and labels.

    Raises:
        ValueError: more than half of a split's rows lack one or the other.
    """
    kept, missing, set_aside = {}, [0, 0], 0
    for split, split_rows in rows.items():
        count = len(split_rows.labels)
        if split == "test" and count and not any(label is not None for label in split_rows.labels):
            set_aside = count
            continue
        inputs = [value.strip() if isinstance(value, str) else value for value in split_rows.inputs]
        no_input = [value is None or (isinstance(value, str) and not value) for value in inputs]
        no_label = [label is None for label in split_rows.labels]
        for name, lacking in zip(columns, (no_input, no_label), strict=True):
            if sum(lacking) > _MOST_WITHOUT * count:
                raise ValueError(
                    f"{where}: {sum(lacking):,} of the {count:,} {split} rows have no {name}; "
                    "each row needs both (--columns TEXT,LABEL)"
                )
        missing[0] += sum(no_input)
        missing[1] += sum(label and not value for label, value in zip(no_label, no_input, strict=True))
        indices = [i for i, label in enumerate(split_rows.labels) if label is not None and not no_input[i]]
        kept[split] = Labelled(
            inputs=[inputs[i] for i in indices],
            labels=[str(split_rows.labels[i]) for i in indices],
            groups=None if split_rows.groups is None else [split_rows.groups[i] for i in indices],
        )
    return Complete(rows=kept, without_input=missing[0], without_label=missing[1], set_aside=set_aside)
