"""The winner: its export, its test score, and the interval of that score."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import frostline
from frostline.trainables import _family, _freezing, _metrics
from frostline.trainables.slot.process import THIS
from frostline.trainables.slot.winner import bootstrap_difference, bootstrap_interval, finish, measured
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import evaluation
from tests import tiny
from tests.trainables.points import assert_equal
from tests.trainables.slots import FAMILY, Slot


def test_the_winner_is_exported_with_the_weights_of_its_checkpoint_and_measured_on_the_test_slice(
    slot: Slot, tmp_path: Path
) -> None:
    from safetensors.torch import load_file
    from transformers import pipeline

    slot.train()
    finished = finish(slot.setup, slot.recipe, str(slot.best()), str(tmp_path / "out"))
    assert set(finished) == {"metrics", "interval"}
    low, high = finished["interval"]
    assert 0 <= low <= finished["metrics"]["accuracy"] <= high <= 1
    kept, exported = load_file(slot.best()), load_file(tmp_path / "out" / "model.safetensors")
    assert kept
    assert_equal(kept, {name: exported[name] for name in kept})
    corpus = tiny.corpus(slot.recipe.data, 8)
    classify = pipeline("text-classification", model=str(tmp_path / "out"), truncation=True)
    right = [
        classify(text)[0]["label"] == corpus.classes[label]
        for text, label in zip(corpus.inputs["test"], corpus.labels["test"], strict=True)
    ]
    assert sum(right) / len(right) == finished["metrics"]["accuracy"]


@pytest.mark.parametrize("count", [20, 7])
def test_the_winner_is_compared_with_the_answers_of_a_baseline_example_by_example(
    slot: Slot, tmp_path: Path, count: int
) -> None:
    slot.train()
    labels = tiny.corpus(slot.recipe.data, 8).labels["test"][:count]
    assert 0 < labels.mean() < 1

    def difference(answers: np.ndarray) -> tuple[float, float]:
        given = np.eye(2, dtype=np.float32)[answers]
        found = finish(slot.setup, slot.recipe, str(slot.best()), str(tmp_path / "out"), baseline=given)
        low, high = found["difference"]
        return low, high

    (_, most), (least, _) = difference(labels), difference(1 - labels)
    assert most <= 0 <= least, "nothing is better than the labels themselves, and nothing worse than their opposite"


def test_the_interval_of_a_difference_is_narrower_than_those_of_its_scores() -> None:
    logits, labels = answers(400)
    other = logits.clone()
    other[:8] = logits[:8].flip(1)  # two points worse
    low, high = bootstrap_difference(accuracy, logits, other, labels)
    assert 0 < low < 0.02 < high < 0.04
    assert bootstrap_difference(accuracy, logits, logits, labels) == (0.0, 0.0)


@pytest.mark.parametrize("pooling", ["first", "mean", "both"])
def test_a_winner_with_another_head_predicts_as_it_did_in_training(slot: Slot, pooling: str, tmp_path: Path) -> None:
    """In a linear probe, trained from one vector an example; the scores of the whole model agree."""
    slot.change(boundaries=(3,), pooled=(pooling,), weights="p")
    recipe = dataclasses.replace(slot.recipe, frozen_layers=3, cached_layers=3, pooling=pooling, learning_rate=1e-2)
    best = max(slot.train(recipe=recipe), key=lambda message: message.objective)
    with THIS.trial(slot.setup, recipe) as (family, model, device):
        _freezing.freeze(model, family.blocks(model), 3)
        checkpoints.load(model, slot.best())
        validation = family.open(Path(slot.own.entry), "validation")
        scores = evaluation.evaluate(model, family, validation, device)
    assert best.metrics["loss"] == pytest.approx(scores["loss"], rel=1e-4)
    finished = finish(slot.setup, recipe, str(slot.best()), str(tmp_path / "out"))
    (tmp_path / "out" / "recipe.json").write_text(recipe.to_json())
    corpus, classify = tiny.corpus(slot.recipe.data, 8), frostline.load(tmp_path / "out")
    answers = [
        max(answer, key=lambda row: row["score"])["label"] for answer in classify(corpus.inputs["test"], top_k=None)
    ]
    right = [answer == corpus.classes[label] for answer, label in zip(answers, corpus.labels["test"], strict=True)]
    assert sum(right) / len(right) == finished["metrics"]["accuracy"]


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def answers(count: int, right: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels; the logits are right for the first `right` share of them."""
    labels = torch.arange(count) % 2
    classes = torch.where(torch.arange(count) < round(right * count), labels, 1 - labels)
    return torch.nn.functional.one_hot(classes, 2).float(), labels


@pytest.mark.parametrize("count", [2, 10, 100, 1000])
def test_the_interval_contains_the_score_and_is_the_same_each_time(count: int) -> None:
    low, high = bootstrap_interval(accuracy, *answers(count))
    assert 0 <= low <= accuracy(*answers(count)) <= high <= 1
    assert bootstrap_interval(accuracy, *answers(count)) == (low, high)
    assert {type(low), type(high)} == {float}


def test_more_examples_make_the_interval_narrower_as_statistics_say() -> None:
    """1.96 standard errors of a share to each side."""
    widths = []
    for count in (50, 200, 800, 3200):
        low, high = bootstrap_interval(accuracy, *answers(count))
        widths.append(high - low)
        assert widths[-1] == pytest.approx(2 * 1.96 * (0.8 * 0.2 / count) ** 0.5, rel=0.15)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_where_all_examples_agree_the_interval_is_the_score(right: float) -> None:
    assert bootstrap_interval(accuracy, *answers(30, right)) == (right, right)


def test_one_example_has_no_interval() -> None:
    assert bootstrap_interval(accuracy, *answers(1, 1.0)) == (1.0, 1.0)


def test_resamples_are_scored_with_one_thread() -> None:
    """With two a score of 0.1 ms takes 6 ms where a core is busy, and a search ends a minute late."""
    used, before = set(), torch.get_num_threads()

    def score(logits: torch.Tensor, labels: torch.Tensor) -> float:
        used.add(torch.get_num_threads())
        return accuracy(logits, labels)

    torch.set_num_threads(2)
    try:
        bootstrap_interval(score, *answers(20))
        assert torch.get_num_threads() == 2, "the caller's"
    finally:
        torch.set_num_threads(before)
    assert used == {1, 2}, "the whole slice is scored once, before"


def test_the_interval_belongs_to_the_given_metric() -> None:
    logits, labels = answers(200)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
        return _family.load(FAMILY).score(logits, labels)["loss"]

    low, high = bootstrap_interval(loss, logits, labels)
    assert low < loss(logits, labels) < high
    assert (low, high) != bootstrap_interval(accuracy, logits, labels)


def test_resamples_that_leave_a_score_undefined_do_not_count() -> None:
    """Of 40 examples one is of the second class, and a third of the resamples lack it."""
    logits, labels = answers(40)
    labels = (torch.arange(40) == 7).long()

    def roc_auc(logits: torch.Tensor, labels: torch.Tensor) -> float:
        return _family.load(FAMILY).score(logits, labels, ["roc_auc"])["roc_auc"]

    low, high = bootstrap_interval(roc_auc, logits, labels)
    assert 0 <= low <= roc_auc(logits, labels) <= high <= 1
    assert bootstrap_interval(roc_auc, logits, torch.zeros(40, dtype=torch.long)) == ()


@pytest.mark.parametrize(("bad", "undefined"), [(7, False), (None, True)], ids=["in some resamples", "on all"])
def test_a_function_that_fails_on_test_examples_loses_no_result(bad: int | None, undefined: bool) -> None:
    code = "def cost(labels, predicted):\n    return float((labels != predicted).mean()) / int((labels == 1).any())\n"
    metric = _metrics.declared(code, "cost", "m.py")
    family = _family.load(FAMILY).with_metric(metric, code)
    logits, _ = answers(40)
    labels = torch.zeros(40, dtype=torch.long) if bad is None else (torch.arange(40) == bad).long()
    found = measured(family, "cost", logits, labels)
    assert list(found["metrics"]) == family.names(2)
    assert math.isnan(found["metrics"]["cost"]) is undefined
    assert (found["interval"] == ()) is undefined
    assert found["metrics"]["accuracy"] == accuracy(logits, labels)
