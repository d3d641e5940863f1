"""What a user should know of the data, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frostline.trainables.data.corpus import Corpus

_NAMED = 3
"""Unreadable inputs that are named."""
_IMBALANCED = 1.5
"""Times by which the largest class may exceed the smallest before a user is told."""
FAR_OUT = 5.0
"""Times from which on accuracy says little, and macro F1 is shown beside it."""
_SCORED = "accuracy says little here: --metric macro_f1 scores each class alike"
_WEIGHTED = "--class-weights balanced trains each class alike"


def advice(metric: str, weighs: bool) -> str:
    """What helps where the classes are far out of balance; empty if the search does it already.

    Args:
        metric: metric that decides.
        weighs: whether the search has class weights, fixed or searched: then a user knows, and needs no advice.
    """
    if weighs:
        return ""
    return ", ".join([*([_SCORED] if metric == "accuracy" else []), _WEIGHTED])


def remarks(corpus: Corpus, family_remarks: Iterable[str], advice: str = "") -> tuple[str, ...]:
    """Sentences on unreadable inputs, classes of very different size, and what the family says of the data.

    Args:
        corpus: the slices.
        family_remarks: what the family says.
        advice: what helps where the classes are far out of balance; empty if nothing needs to be said.
    """
    sentences = []
    if corpus.skipped:
        more = ", ..." if len(corpus.skipped) > _NAMED else ""
        inputs = "input" if len(corpus.skipped) == 1 else "inputs"
        sentences.append(f"{len(corpus.skipped)} {inputs} cannot be read: {', '.join(corpus.skipped[:_NAMED])}{more}")
    (fewest, rare), *_, (most, common) = _counts(corpus)
    if most > _IMBALANCED * fewest:
        ratio = f"{most / fewest:.1f} times as many training examples as" if fewest else "training examples, none has"
        helps = f"; {advice}" if advice and most > FAR_OUT * fewest else ""
        sentences.append(f"the classes are out of balance: {common!r} has {ratio} {rare!r}{helps}")
    return tuple(dict.fromkeys([*sentences, *family_remarks]))


def imbalance(corpus: Corpus) -> float:
    """Training examples of the largest class for each one of the smallest, which counts as one if it has none."""
    (fewest, _), *_, (most, _) = _counts(corpus)
    return most / max(fewest, 1)


def beside(metric: str, imbalance: float) -> str | None:
    """The metric that is shown beside the one that decides; None where that one is enough.

    Args:
        metric: metric that decides.
        imbalance: training examples of the largest class for each one of the smallest.
    """
    return "macro_f1" if metric == "accuracy" and imbalance > FAR_OUT else None


def _counts(corpus: Corpus) -> list[tuple[int, str]]:
    """Training examples and name of each class, the smallest first."""
    counts = Counter(corpus.labels["train"].tolist())
    return sorted((counts[number], name) for number, name in enumerate(corpus.classes))
