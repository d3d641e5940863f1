"""Metrics of a classification against scikit-learn's, and a user's own function."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from frostline.spaces import Metric
from frostline.trainables import _family, _metrics
from frostline.trainables._family import Family

FAMILY = _family.load("text_classification")

COST = """
import numpy as np
from sklearn.metrics import hamming_loss

def cost(labels, predicted, miss=5.0):
    return np.where((labels == 1) & (predicted == 0), miss, labels != predicted).mean()

cost.better, cost.unit = "lower", "euros"

def brier(y_true, y_prob):
    return float(((y_prob[:, 1] - y_true) ** 2).mean())

def precision_or_none(labels, predicted):
    return (labels[predicted == 1] == 1).mean() if (predicted == 1).any() else float("nan")

def text(labels): return "much"
def other(labels, customers): return 1.0
number = 3
"""


def answers(classes: int, count: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are better than chance, and labels of classes of different sizes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count, p=(shares := np.arange(1, classes + 1)) / shares.sum())
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    return torch.from_numpy(logits).float(), torch.from_numpy(labels)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_each_metric_is_that_of_scikit_learn(classes: int) -> None:
    logits, labels = answers(classes)
    scores = FAMILY.score(logits, labels)
    truth, predicted, shares = labels.numpy(), logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    ranked = {} if classes == 2 else {"multi_class": "ovr"}
    positive = shares[:, 1] if classes == 2 else shares
    expected = {
        "accuracy": sklearn.accuracy_score(truth, predicted),
        "macro_f1": sklearn.f1_score(truth, predicted, average="macro"),
        "loss": sklearn.log_loss(truth, shares),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, predicted),
        "weighted_f1": sklearn.f1_score(truth, predicted, average="weighted"),
        **({"binary_f1": sklearn.f1_score(truth, predicted)} if classes == 2 else {}),
        "mcc": sklearn.matthews_corrcoef(truth, predicted),
        "roc_auc": sklearn.roc_auc_score(truth, positive, **ranked),
        "average_precision": sklearn.average_precision_score(truth, positive),
    }
    assert list(scores) == list(expected) == FAMILY.names(classes)
    assert scores == pytest.approx(expected, abs=1e-6)


def test_only_the_metrics_that_are_asked_for_are_computed() -> None:
    logits, labels = answers(2)
    every = FAMILY.score(logits, labels)
    for names in (["accuracy"], ["mcc", "loss"], FAMILY.in_every_report):
        assert FAMILY.score(logits, labels, names) == {name: every[name] for name in every if name in names}


@pytest.mark.parametrize("classes", [2, 3])
def test_how_well_one_class_alone_is_ranked_is_undefined(classes: int) -> None:
    logits, _ = answers(classes)
    scores = FAMILY.score(logits, torch.ones(len(logits), dtype=torch.int64))
    undefined = {name for name, value in scores.items() if math.isnan(value)}
    assert undefined == {"roc_auc", "average_precision"}
    assert undefined == {metric.name for metric in FAMILY.metrics if metric.may_be_undefined}


def test_numbers_that_are_none_have_no_score() -> None:
    logits, labels = answers(2)
    logits[3, 0] = math.nan
    scores = FAMILY.score(logits, labels)
    assert math.isnan(scores["loss"]), "it ends the training"
    assert math.isnan(scores["roc_auc"])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *((metric.name, metric.name) for metric in _metrics.METRICS),
        *(("log_loss", "loss"), ("f1", "binary_f1"), ("f1_macro", "macro_f1"), ("matthews_corrcoef", "mcc")),
    ],
)
def test_a_metric_has_its_own_name_and_that_of_scikit_learn(given: str, name: str) -> None:
    metric = FAMILY.metric(given)
    assert metric.name == name
    assert metric.better == ("lower" if name == "loss" else "higher")


@pytest.mark.parametrize(("typed", "near"), [("acuracy", "accuracy"), ("roc", "roc_auc"), ("f1_makro", "f1_macro")])
def test_a_typing_mistake_gets_the_nearest_name(typed: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"metric '{typed}' is not one that .* reports: did you mean '{near}'\? "):
        FAMILY.metric(typed)


# --- a user's own function


def own(function: str) -> tuple[Family, Metric]:
    metric = _metrics.declared(COST, function, "m.py")
    return FAMILY.with_metric(metric, COST, "m.py"), metric


@pytest.mark.parametrize(
    ("function", "better", "unit"),
    [
        ("cost", "lower", "euros"),
        ("brier", "higher", ""),
        ("hamming_loss", "lower", ""),  # by its name, as scikit-learn's names go
        ("precision_or_none", "higher", ""),
    ],
)
def test_a_function_says_its_direction(function: str, better: str, unit: str) -> None:
    assert own(function)[1] == Metric(name=function, better=better, unit=unit, may_be_undefined=True)


def test_a_function_gets_what_its_arguments_name() -> None:
    logits, labels = answers(2)
    truth, predicted, shares = labels.numpy(), logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    missed, wrong = ((truth == 1) & (predicted == 0)).sum(), (truth != predicted).sum()
    expected = {
        "cost": (wrong + 4 * missed) / len(truth),
        "brier": sklearn.brier_score_loss(truth, shares[:, 1]),
        "hamming_loss": sklearn.hamming_loss(truth, predicted),
    }
    for name, value in expected.items():
        family, _ = own(name)
        assert family.score(logits, labels, [name]) == {name: pytest.approx(value)}
        assert list(family.score(logits, labels)) == [*FAMILY.names(2), name]
    assert list(FAMILY.score(logits, labels)) == FAMILY.names(2), "the family itself has none more"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "m.py: there is no function 'nothing' in it; its functions: hamming_loss, cost, brier, "),
        ("number", "there is no function 'number' in it"),
        ("", "m.py: a metric is FILE.py:FUNCTION; its functions: "),
        ("other", "m.py:other takes 'customers'; a metric takes labels, predicted, probabilities, or some of them"),
    ],
)
def test_a_function_that_is_no_metric_is_refused(function: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        own(function)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def m(labels):\n return 1\nm.better = 'up'", "metric 'm': better is 'higher' or 'lower', got 'up'"),
        ("def m(labels:\n", "m.py, line 1: "),
        ("import no_such", "it imports installed packages only"),
    ],
)
def test_a_file_that_does_not_run_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        _metrics.declared(text, "m", "m.py")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_returns_a_number() -> None:
    logits, labels = answers(2)
    with pytest.raises(ValueError, match=r"m.py:text must return a number, got 'much'"):
        own("text")[0].score(logits, labels)


def test_a_name_that_is_taken_is_refused() -> None:
    text = "def accuracy(labels): return 1"
    metric = _metrics.declared(text, "accuracy", "m.py")
    with pytest.raises(ValueError, match=r"m.py:accuracy has the name of a metric that is there already; rename it"):
        FAMILY.with_metric(metric, text, "m.py")


# --- weights of the classes


def weighed(labels: list[int], kind: str = "balanced") -> Any:
    from frostline.trainables.training import optim
    from tests.trainables.points import recipe

    return optim.class_weights(recipe(class_weights=kind), np.array(labels))


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 1, 2] * 5, [2] * 9 + [1, 0]])
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    torch.testing.assert_close(weighed(labels), torch.from_numpy(expected).float())
    assert weighed(labels)[torch.tensor(labels)].mean() == pytest.approx(1)
    assert weighed(labels, "none") is None


def test_a_class_without_training_examples_weighs_nothing() -> None:
    torch.testing.assert_close(weighed([0, 0, 2]), torch.tensor([0.75, 0.0, 1.5]))
