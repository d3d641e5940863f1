"""TF-IDF with logistic regression, the baseline of texts."""

import numpy as np
import pytest

from frostline.trainables.text.tfidf import answers


def test_it_tells_texts_apart_by_words_and_by_pairs_of_words() -> None:
    train = ["not good", "good not bad", "not bad", "bad not good"] * 5
    found = answers(train=train, labels=[0, 1, 1, 0] * 5, validation=["not good", "not bad"], test=["x"], classes=2)
    assert found["validation"].argmax(1).tolist() == [0, 1]
    assert np.exp(found["test"]) == pytest.approx(np.full((1, 2), 0.5), abs=0.05), "it knows no word of it"


def test_a_class_that_the_training_slice_lacks_has_a_small_probability() -> None:
    found = answers(train=["a", "b"] * 5, labels=[0, 2] * 5, validation=["a"], test=["b"], classes=4)
    probabilities = np.exp(found["validation"])
    assert probabilities.shape == (1, 4)
    assert probabilities[0, [1, 3]] == pytest.approx([1e-7, 1e-7])
    assert found["train"].tolist() == [10]
