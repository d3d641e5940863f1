"""Class names: their order, targets that are no classes, and names that a person would take for one."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

_MOST_STEPS = 25
"""Different numbers with fractions, or dates, that may be classes: ratings of 0 to 10 in half steps are 21."""

_MOST_DIFFERENT = 0.5
"""Different labels a row; beyond it they are ids, names or texts. Intents with two examples each are just below."""

_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ,].*)?")

_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?")

_MANY_NUMBERS, _DENSE = 50, 0.9
"""Whole numbers from which on, and share of their range up to which, they look like a quantity. Class ids are dense."""

_NAMED = 3
"""Labels that are named as examples."""


def class_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted; as numbers ("2" before "10", "2.0" before "10.0") if all are numbers."""
    numbers = all(map(_NUMBER.fullmatch, names))
    return tuple(sorted(names, key=lambda name: (Decimal(name) if numbers else 0, name)))


def check_classes(labels: Sequence[str], where: str, column: str, are_folders: bool = False) -> tuple[str, ...]:
    """The classes, in order.

    Args:
        labels: label of each row, of all splits.
        where: name of the source in messages.
        column: name of the label's column.
        are_folders: whether they are names of folders, which are classes whatever they look like.

    Raises:
        ValueError: there is one class only, or the labels are a quantity, dates, lists or ids. The message says what to
            use instead.
    """
    classes = class_order(set(labels))
    if len(classes) < 2:
        names = f" ({classes[0]!r})" if classes else ""
        raise ValueError(f"{where} has one class only{names}; classification needs two")
    if are_folders:
        return classes
    holds = f"{where}: column {column!r} holds {len(classes):,} different"
    such = f"in {len(labels):,} rows, such as {' '.join(classes[0].split())[:40]}"
    another = "Name a column of classes (--columns TEXT,LABEL)"
    if all(map(_is_nested, classes)):
        raise ValueError(
            f"{holds} lists or objects {such}; classification takes one class a row. {another}, "
            "with the name of the class in each row"
        )
    few_rows = len(classes) > 2 and len(classes) > _MOST_DIFFERENT * len(labels)
    if (few_rows or len(classes) > _MOST_STEPS) and _are_fractions(classes):
        raise ValueError(
            f"{holds} numbers {such}; a quantity is no class. {another}, or put ranges of it into words, "
            "such as low and high"
        )
    if (few_rows or len(classes) > _MOST_STEPS) and all(map(_DATE.fullmatch, classes)):
        raise ValueError(f"{holds} dates {such}; a date is no class. {another}, or put periods into words")
    if few_rows:
        raise ValueError(
            f"{holds} values {such}; an id, a name or a text is no class, and a class needs several rows. {another}"
        )
    return classes


def _are_fractions(names: Sequence[str]) -> bool:
    """True if all names are numbers and one of them is not a whole number. A comma may stand for the point."""
    try:
        return any(not float(name.replace(",", ".")).is_integer() for name in names)
    except ValueError:
        return False


def _is_nested(name: str) -> bool:
    """True for a list or an object as JSON or Python writes it."""
    if not name.startswith(("[", "{", "(")):
        return False
    try:
        return isinstance(json.loads(name.replace("'", '"').replace("(", "[").replace(")", "]")), list | dict)
    except (ValueError, RecursionError):
        return False


def remarks(labels: Sequence[str]) -> list[str]:
    """Sentences on labels that differ by case or spaces only, on classes of one row, and on numbers with gaps."""
    counts, sentences = Counter(labels), []
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    several = [names for names in alike.values() if len(names) > 1]
    if several:
        shown = "; ".join(
            ", ".join(f"{name!r} ({counts[name]:,} rows)" for name in names) for names in several[:_NAMED]
        )
        more = "; ..." if len(several) > _NAMED else ""
        sentences.append(f"labels that differ by case or spaces only stay different classes: {shown}{more}")
    single = [name for name, count in counts.items() if count == 1]
    if single:
        shown = ", ".join(map(repr, single[:_NAMED])) + (", ..." if len(single) > _NAMED else "")
        have = "class has one row" if len(single) == 1 else "classes have one row each"
        sentences.append(f"{len(single):,} {have}, too few to learn it and to measure it: {shown}")
    if len(counts) > _MANY_NUMBERS and all(map(_NUMBER.fullmatch, counts)):
        numbers = sorted(map(Decimal, counts))
        if len(numbers) <= float(numbers[-1] - numbers[0]) * _DENSE:
            sentences.append(
                f"the {len(numbers):,} classes are numbers from {numbers[0]} to {numbers[-1]} with gaps; a quantity, "
                "such as a price or an age, is no class"
            )
    return sentences


def check_same_classes(labels: Mapping[str, Sequence[str]], where: str) -> None:
    """Refuse splits that name their classes in other ways.

    Args:
        labels: label of each row, by split.
        where: name of the source in messages.

    Raises:
        ValueError: most rows of a split have classes that train lacks.
    """
    known = set(labels["train"])
    for split, names in labels.items():
        unknown = [name for name in names if name not in known]
        if len(unknown) > 0.5 * len(names):
            shown = ", ".join(map(repr, sorted(known)[:_NAMED])) + (", ..." if len(known) > _NAMED else "")
            raise ValueError(
                f"{where}: {len(unknown):,} of the {len(names):,} {split} rows have a class that train lacks, such as "
                f"{unknown[0]!r}; train has {shown}. Both must write their classes alike"
            )
