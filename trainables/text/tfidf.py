"""The baseline of texts: TF-IDF of words and pairs of words, with logistic regression, both scikit-learn's."""

from collections.abc import Sequence

import numpy as np

from frostline.trainables._baseline import Answers, answers_of

NAME = "TF-IDF with logistic regression"

_INVERSE_PENALTY = 10.0
"""scikit-learn's C. With its default of 1 the probabilities of TF-IDF, whose vectors have length 1, are all near the
class shares."""


def answers(
    *, train: Sequence[str], labels: Sequence[int], validation: Sequence[str], test: Sequence[str], classes: int
) -> Answers:
    """Fit on whole texts, however many tokens the pretrained model reads, and answer.

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

    # The usual pattern leaves words of one letter out.
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    inputs, targets = words.fit_transform(train), np.array(labels)
    classifier = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000).fit(inputs, targets)
    slices = {"validation": words.transform(validation), "test": words.transform(test)}
    return answers_of(classifier, targets, slices, classes)
