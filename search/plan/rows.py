"""What a plan tells of the rows of its data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from frostline.search.plan.plan import Slices
from frostline.search.plan.remarks import imbalance, remarks

if TYPE_CHECKING:
    from frostline.trainables.data.corpus import Corpus


def told(corpus: Corpus, sentences: Iterable[str], advice: str = "") -> Slices:
    """What a plan tells of its data.

    Args:
        corpus: the slices.
        sentences: what a user should know of how they are used.
        advice: what helps if the classes are far out of balance; empty if nothing needs to be said.
    """
    return Slices(
        sizes=corpus.sizes(),
        classes=corpus.classes,
        duplicates=corpus.duplicates,
        remarks=remarks(corpus, [*corpus.notes, *sentences], advice),
        fingerprint=corpus.fingerprint,
        rows_read=corpus.read,
        rows_left_out=dict(corpus.left_out),
        rows_unused=corpus.unused,
        imbalance=imbalance(corpus),
    )
