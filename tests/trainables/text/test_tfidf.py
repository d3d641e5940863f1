"""TF-IDF with logistic regression, the baseline of texts."""

from typing import Any

import numpy as np
import pytest

from frostline.trainables.text import tfidf
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


def test_where_time_is_over_the_first_texts_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "_AT_ONCE", 2)
    given: dict[str, Any] = {"train": ["a", "b"] * 5, "labels": [0, 1] * 5, "classes": 2}
    texts = ["b", "a", "b", "b", "a"]
    for seconds, count in ((60.0, 5), (-1.0, 2)):
        monkeypatch.setattr(tfidf, "_SECONDS", seconds)
        found = answers(**given, validation=texts, test=texts)
        assert found["test"].argmax(1).tolist() == found["validation"].argmax(1).tolist() == [1, 0, 1, 1, 0][:count]


def test_of_many_texts_words_of_one_alone_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"train": ["a", "b", "a c", "b"] * 2, "labels": [0, 1, 0, 1] * 2, "classes": 2}
    given["train"][2] = "a d"
    once = {}
    for many in (100, 1):
        monkeypatch.setattr(tfidf, "_MANY", many)
        found = answers(**given, validation=["d", "e"], test=["a"])
        once[many] = found["validation"][0].tolist() == found["validation"][1].tolist()
    assert once == {100: False, 1: True}, "`d` is like a word that it does not know"
