"""Metrics of a classification, most of them scikit-learn's, and a user's own function."""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frostline.spaces import Metric
from frostline.trainables import _code

METRICS = (
    Metric(name="accuracy", unit="0 to 1", is_share=True),
    Metric(name="macro_f1", unit="0 to 1"),
    Metric(name="loss", better="lower", unit="nats an example"),
    Metric(name="balanced_accuracy", unit="0 to 1"),
    Metric(name="weighted_f1", unit="0 to 1"),
    Metric(name="binary_f1", unit="0 to 1"),
    Metric(name="mcc", unit="-1 to 1"),
    Metric(name="roc_auc", unit="0 to 1", may_be_undefined=True),
    Metric(name="average_precision", unit="0 to 1", may_be_undefined=True),
)
"""The metrics of a classification. `loss` is the log loss. Of two classes the second is the positive one; of more,
`roc_auc` (one class against the rest) and `average_precision` are means over the classes."""

IN_EVERY_REPORT = ("accuracy", "macro_f1", "loss")
"""Metrics that every report has, beside the one that decides: computed here, in less than a millisecond."""

OF_TWO_CLASSES = ("binary_f1",)
"""Metrics that more than two classes do not have."""

WITH_POSITIVE = ("binary_f1", "average_precision")
"""Metrics for which it matters which of two classes is the positive one."""

OTHER_NAMES = {
    "log_loss": "loss",
    "f1": "binary_f1",
    "f1_macro": "macro_f1",
    "f1_weighted": "weighted_f1",
    "matthews_corrcoef": "mcc",
}
"""scikit-learn's name of a metric -> its name here."""


def named(name: str, metrics: Sequence[Metric], family: str) -> Metric:
    """The metric called `name`, here or in scikit-learn.

    Raises:
        ValueError: it is none of these metrics, which are those of a family.
    """
    known = {metric.name: metric for metric in metrics}
    if metric := known.get(name, known.get(OTHER_NAMES.get(name, ""))):
        return metric
    near = difflib.get_close_matches(name, [*known, *OTHER_NAMES], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"metric {name!r} is not one that {family} reports: {hint}metrics are {', '.join(known)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a model answered to the examples of a slice."""

    labels: NDArray[np.int64]
    """[examples]"""
    predicted: NDArray[np.int64]
    """The likeliest class of each, [examples]."""
    probabilities: NDArray[np.float64]
    """[examples, classes]"""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Answers:
        """The answers behind logits, float [examples, classes]."""
        return cls(
            labels=labels.numpy(), predicted=logits.argmax(1).numpy(), probabilities=logits.double().softmax(1).numpy()
        )

    @property
    def has_all_classes(self) -> bool:
        """Whether each class has an example. Without one, how well it is ranked is undefined."""
        return len(np.unique(self.labels)) == self.probabilities.shape[1]


Scorer = Callable[[Answers], float]


def shares(labels: Tensor, classes: int) -> Tensor:
    """The class shares of a slice as an answer to each of its examples: logits, float64 [examples, classes].

    Their softmax is the shares, and their maximum is the majority class.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    return (counts / counts.sum()).log().expand(len(labels), -1)


def basics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """`accuracy` and `macro_f1` of a whole slice.

    `macro_f1` is the mean over the classes of 2 TP / (2 TP + FP + FN). A class that neither occurs nor is predicted is
    left out, as in scikit-learn without its argument `labels`.

    Args:
        logits: float32, shape [examples, classes].
        labels: int64, shape [examples].
    """
    classes, predicted = logits.shape[1], logits.argmax(1)
    hits = torch.bincount(labels[predicted == labels], minlength=classes).double()
    counts = (torch.bincount(labels, minlength=classes) + torch.bincount(predicted, minlength=classes)).double()
    return {
        "accuracy": (hits.sum() / len(labels)).item(),
        "macro_f1": (2 * hits / counts)[counts > 0].mean().item(),
    }


def scored(name: str, answers: Answers) -> float:
    """The value of a metric beside `basics` and the loss; NaN where it is undefined."""
    if not np.isfinite(answers.probabilities).all():  # the loss says so, and ends the training
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where a class is never predicted
        return float(_SCORERS[name](answers))


def _balanced_accuracy(answers: Answers) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return cast(float, balanced_accuracy_score(answers.labels, answers.predicted))


def _f1(answers: Answers, average: str) -> float:
    from sklearn.metrics import f1_score

    return cast(float, f1_score(answers.labels, answers.predicted, average=average, zero_division=0.0))


def _mcc(answers: Answers) -> float:
    from sklearn.metrics import matthews_corrcoef

    return cast(float, matthews_corrcoef(answers.labels, answers.predicted))


def _roc_auc(answers: Answers) -> float:
    """The probability that an example of a class is ranked above one of the others, ties counting half; of more than
    two classes the mean.

    From the ranks (Mann and Whitney 1947): the values are scikit-learn's (`multi_class="ovr"`), in a third of its
    time. A bootstrap asks 1,000 times.
    """
    from scipy.stats import rankdata

    if not answers.has_all_classes:
        return math.nan
    classes = answers.probabilities.shape[1]
    values = []
    for number in range(classes) if classes > 2 else (1,):
        own = answers.labels == number
        count, others = own.sum(), (~own).sum()
        ranks = rankdata(answers.probabilities[:, number])[own].sum()
        values.append((ranks - count * (count + 1) / 2) / (count * others))
    return float(np.mean(values))


def _average_precision(answers: Answers) -> float:
    from sklearn.metrics import average_precision_score

    if not answers.has_all_classes:
        return math.nan
    shares = answers.probabilities[:, 1] if answers.probabilities.shape[1] == 2 else answers.probabilities
    return cast(float, average_precision_score(answers.labels, shares))


_SCORERS: dict[str, Scorer] = {
    "balanced_accuracy": _balanced_accuracy,
    "weighted_f1": lambda answers: _f1(answers, "weighted"),
    "binary_f1": lambda answers: _f1(answers, "binary"),
    "mcc": _mcc,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
}


# --- a user's own function -----------------------------------------------------------------------

_ARGUMENTS = {
    **dict.fromkeys(("labels", "y_true"), "labels"),
    **dict.fromkeys(("predicted", "y_pred"), "predicted"),
    **dict.fromkeys(("probabilities", "y_score", "y_prob", "y_proba"), "probabilities"),
}
"""Name of a function's parameter, ours or scikit-learn's -> the field of `Answers` that it gets."""


_COSTS = {"loss", "error", "deviance", "cost"}


def declared(text: str, function: str, origin: str) -> Metric:
    """The metric that a function of a file is.

    Its attributes `better` (`higher` or `lower`) and `unit` say more of it. Without the first, lower is better where
    the name's last word is one of `_COSTS`, as in scikit-learn.

    Raises:
        ValueError: the file does not run, has no such function, or the function takes other arguments.
    """
    found = _function(text, function, origin)
    usual = "lower" if function.rpartition("_")[2] in _COSTS else "higher"
    better, unit = getattr(found, "better", usual), getattr(found, "unit", "")
    _arguments(found, function, origin)
    return Metric(name=function, better=cast(Any, better), unit=str(unit), may_be_undefined=True)


def scorer(text: str, function: str, origin: str) -> Scorer:
    """What a function of a file makes of a model's answers.

    Raises:
        ValueError: as `declared`.
    """
    found = _function(text, function, origin)
    arguments = _arguments(found, function, origin)

    def score(answers: Answers) -> float:
        value = found(**{name: getattr(answers, field) for name, field in arguments.items()})
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{origin}:{function} must return a number, got {value!r}") from None

    return score


@cache
def _function(text: str, function: str, origin: str) -> Callable[..., Any]:
    names = _code.run(text, origin)
    functions = [name for name, value in names.items() if callable(value) and not name.startswith("_")]
    if function not in functions:
        missing = f"there is no function {function!r} in it" if function else "a metric is FILE.py:FUNCTION"
        raise ValueError(f"{origin}: {missing}; its functions: {', '.join(functions) or 'none'}")
    return cast(Callable[..., Any], names[function])


def _arguments(function: Callable[..., Any], name: str, origin: str) -> Mapping[str, str]:
    """Parameter -> field of `Answers`. A parameter of another name keeps its default.

    Raises:
        ValueError: one of another name has no default.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind in kinds]
    for one in parameters:
        if one.name not in _ARGUMENTS and one.default is inspect.Parameter.empty:
            raise ValueError(
                f"{origin}:{name} takes {one.name!r}; a metric takes labels, predicted, probabilities, or some of them"
            )
    return {one.name: _ARGUMENTS[one.name] for one in parameters if one.name in _ARGUMENTS}
