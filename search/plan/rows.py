"""The rows of a data set in a plan: which are in which slice, and what is told of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from frostline.search.plan.plan import Slices
from frostline.search.plan.remarks import imbalance, remarks
from frostline.spaces import Data

if TYPE_CHECKING:
    from frostline.trainables.data.corpus import Corpus
    from frostline.trainables.data.rows import Rows


def cut(data: Data, rows: Mapping[str, Rows], smallest_batch: int, own: bool) -> tuple[Data, Corpus]:
    """The slices, and the data with their sizes.

    Args:
        data: the data.
        rows: rows of each split.
        smallest_batch: examples of the smallest batch that may be tried.
        own: whether they are a user's own. Then the profile's sizes are limits: where rows are fewer, all are used.

    Raises:
        ValueError: as `cut_corpus`.
    """
    from frostline.trainables.data.corpus import cut_corpus
    from frostline.trainables.data.slices import TooFewRowsError

    while True:
        try:
            return data, cut_corpus(data, rows, smallest_batch)
        except TooFewRowsError as error:
            if not own or all(getattr(data, split) is None for split in error.sizes):
                raise
            opened: dict[str, Any] = dict.fromkeys(error.sizes)
            data = dataclasses.replace(data, **opened)


def told(corpus: Corpus, sentences: Iterable[str]) -> Slices:
    """What a plan tells of its data.

    Args:
        corpus: the slices.
        sentences: what a user should know of how they are used.
    """
    return Slices(
        sizes=corpus.sizes(),
        classes=corpus.classes,
        duplicates=corpus.duplicates,
        remarks=remarks(corpus, [*corpus.notes, *sentences]),
        fingerprint=corpus.fingerprint,
        rows_read=corpus.read,
        rows_left_out=dict(corpus.left_out),
        rows_unused=corpus.unused,
        imbalance=imbalance(corpus),
    )
