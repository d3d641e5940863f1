"""A baseline that is trained: a simple model on the same training slice, fitted in a process of its own.

`search/baseline.py` starts the process. It reads its arguments as JSON and writes the model's answers as safetensors:

    python -P -m frostline.trainables._baseline MODULE FUNCTION < ARGUMENTS > ANSWERS

It has a low priority and ends after `SECONDS`, also if the search has died. No label of the test slice is given to it,
so its test score exists nowhere before the test set is read with the winner.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.trainables._errors import reason

Array = npt.NDArray[Any]
Answers = dict[str, Array]
"""`validation` and `test`: log-probabilities of the classes for the first examples of the slice, float32 [examples,
classes]. `train`: the number of training examples, int64 [1]."""

SECONDS = 30
"""Wall-clock seconds that a baseline may take."""

_NICENESS = 10
_LEAST = 1e-7
"""Least probability of an answer: a class that the training slice lacks would make the loss infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedBaseline:
    """A simple model that a user would hold against the winner."""

    name: str
    compute: Callable[..., Answers]
    """A function of a module, called in the process with `arguments` by name."""
    arguments: dict[str, Any]
    """JSON values. Labels of the test slice are none of them."""


def answers_of(classifier: Any, train: Array, slices: dict[str, Any], classes: int) -> Answers:
    """The answers of a fitted classifier of scikit-learn.

    Args:
        classifier: knows the classes that the training slice has, as numbers.
        train: labels that it was fitted with.
        slices: inputs of `validation` and `test`, as it takes them.
        classes: number of all classes.
    """
    answers: Answers = {"train": np.array([len(train)])}
    for name, inputs in slices.items():
        known = classifier.predict_proba(inputs)
        shares = np.full((len(known), classes), _LEAST)
        shares[:, classifier.classes_] = np.maximum(known, _LEAST)
        answers[name] = np.log(shares).astype(np.float32)
    return answers


def main() -> int:
    """Compute what the command line names; returns the exit code. After an error, its text is the output."""
    signal.alarm(SECONDS)  # nothing handles it, so the system ends the process, whatever it is doing
    os.nice(_NICENESS)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print is no answer
        try:
            from safetensors.numpy import save

            module, function = sys.argv[1:]
            compute = getattr(importlib.import_module(module), function)
            out.write(save(compute(**json.load(sys.stdin))))
        except Exception as error:
            out.write(reason(error).encode())
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
