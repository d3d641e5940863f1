"""What a user should know of the data, in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frostline.trainables.data.corpus import Corpus

_NAMED = 3
"""Unreadable inputs that are named."""
_IMBALANCED = 1.5
"""Times by which the largest class may exceed the smallest before a user is told."""


def remarks(corpus: Corpus, family_remarks: Iterable[str]) -> tuple[str, ...]:
    """Sentences on unreadable inputs, classes of very different size, and what the family says of the data."""
    sentences = []
    if corpus.skipped:
        more = ", ..." if len(corpus.skipped) > _NAMED else ""
        inputs = "input" if len(corpus.skipped) == 1 else "inputs"
        sentences.append(f"{len(corpus.skipped)} {inputs} cannot be read: {', '.join(corpus.skipped[:_NAMED])}{more}")
    labels = corpus.labels["train"].tolist()
    counts = sorted((labels.count(number), name) for number, name in enumerate(corpus.classes))
    (fewest, rare), (most, common) = counts[0], counts[-1]
    if most > _IMBALANCED * fewest:
        ratio = f"{most / fewest:.1f} times as many training examples as" if fewest else "training examples, none has"
        sentences.append(f"the classes are out of balance: {common!r} has {ratio} {rare!r}")
    return tuple(dict.fromkeys([*sentences, *family_remarks]))
