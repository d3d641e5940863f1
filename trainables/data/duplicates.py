"""Inputs that occur more than once: in several splits, or with several labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frostline.trainables.data.rows import Labelled

_MOST_CONFLICTS = 0.5
"""Largest share of rows whose input has another label elsewhere; beyond it the task is another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """Rows of each split after inputs that occur more than once were sorted out. `test` comes first, `train` last."""

    rows: dict[str, Labelled]
    duplicates: int
    """Rows left out because their input occurs in another row that stays."""
    conflicting: int
    """Rows left out because their input occurs with another label too."""
    notes: tuple[str, ...]
    """What a user should know of them, a sentence each."""


def unique(splits: Mapping[str, Labelled], where: str) -> Unique:
    """Leave out rows of train and validation whose input occurs elsewhere.

    An official test split is scored as it is, so it keeps its repeats and conflicts, and its inputs leave the other
    splits. Of an input with several labels in train and validation no row stays: nobody knows which label is right.
    Of other repeats the row in validation stays, else the first one in train.

    Args:
        splits: rows of each split that the source has.
        where: name of the source in messages.

    Raises:
        ValueError: most rows have an input with several labels, or all rows of a split stand in another one.
    """
    test = splits.get("test")
    others = {split: splits[split] for split in ("validation", "train") if split in splits}
    seen: set[Any] = set(test.inputs) if test else set()
    conflicts = {value: labels for value, labels in _conflicts(others).items() if value not in seen}
    kept, duplicates, conflicting = ({"test": test} if test else {}), 0, 0
    gone = ""
    for split, rows in others.items():
        indices, before = [], conflicting
        for i, value in enumerate(rows.inputs):
            if value in seen:
                duplicates += 1
            elif value in conflicts:
                conflicting += 1
            else:
                seen.add(value)
                indices.append(i)
        if rows.inputs and not indices:
            other = (
                f"in {' or '.join(sorted(kept))} as well" if conflicting == before else "elsewhere, with another label"
            )
            advice = "give rows of its own" + ("" if split == "train" else ", or leave it away: one is cut from train")
            gone = gone or f"all {len(rows.inputs):,} rows of {split} stand {other}; {advice}"
        kept[split] = rows.only(indices)
    total = sum(len(rows.inputs) for rows in others.values())
    if conflicting > _MOST_CONFLICTS * total:
        raise ValueError(
            f"{where}: {conflicting:,} of {total:,} rows have an input that occurs with another label too, "
            f"{_example(conflicts)}; classification takes one label for each input"
        )
    if gone:
        raise ValueError(f"{where}: {gone}")
    notes = [] if test is None else _of_test(test)
    if conflicting:
        inputs = "1 input occurs" if len(conflicts) == 1 else f"{len(conflicts):,} inputs occur"
        notes.append(f"{inputs} with more than one label and {_are(len(conflicts))} left out, {_example(conflicts)}")
    return Unique(rows=kept, duplicates=duplicates, conflicting=conflicting, notes=tuple(notes))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _conflicts(splits: Mapping[str, Labelled]) -> dict[Any, set[str]]:
    """Inputs with more than one label, and their labels."""
    first: dict[Any, str] = {}
    conflicts: dict[Any, set[str]] = {}
    for rows in splits.values():
        for value, label in zip(rows.inputs, rows.labels, strict=True):
            if (before := first.setdefault(value, label)) != label:
                conflicts.setdefault(value, {before}).add(label)
    return conflicts


def _of_test(test: Labelled) -> list[str]:
    repeats = len(test.inputs) - len(set(test.inputs))
    conflicts = _conflicts({"test": test})
    parts = [f"{repeats:,} of its {len(test.inputs):,} rows repeat an input"] if repeats else []
    if conflicts:
        parts.append(f"{len(conflicts):,} of its inputs have more than one label, {_example(conflicts)}")
    return [f"the test split is scored as it is: {', and '.join(parts)}"] if parts else []


def _example(conflicts: Mapping[Any, set[str]]) -> str:
    value, labels = next(iter(conflicts.items()))
    text = value if isinstance(value, str) else str(getattr(value, "name", value))
    short = text if len(text) <= 50 else f"{text[:47]}..."
    return f"such as {short!r} as {' and '.join(map(repr, sorted(labels)[:3]))}"
