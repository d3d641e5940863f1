"""The baseline of pictures: logistic regression on the features of the pretrained network, what its head would read."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.trainables._baseline import Answers, answers_of
from frostline.trainables.data.corpus import SPLITS, Array
from frostline.trainables.vision.blocks import head_of

NAME = "pretrained features with logistic regression"

_SECONDS = 10.0
"""Seconds of the network's pass. On a busy machine the imports before it and the regression after it take as long."""

_AT_ONCE = 16
"""Pictures of a forward pass."""


def answers(
    model: nn.Module,
    run: Callable[[str, Array], Any],
    labels: Array,
    sizes: Mapping[str, int],
    classes: int,
) -> Answers:
    """Compute features of as many pictures as time allows, fit, and answer.

    Args:
        model: pretrained, on the CPU; left in evaluation mode.
        run: runs it on the pictures with these numbers in a split.
        labels: those of the training slice.
        sizes: pictures of each split.
        classes: number of classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen: list[Tensor] = []
    head = head_of(model)[1]
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(_pooled(inputs[0])))
    features: dict[str, list[Tensor]] = {split: [] for split in SPLITS}
    ends = time.monotonic() + _SECONDS
    with torch.inference_mode():
        model.eval()
        for split, pictures in turns(sizes):
            run(split, pictures)
            features[split].append(seen.pop())
            if all(features.values()) and time.monotonic() > ends:
                break
    hook.remove()
    inputs = {split: torch.cat(parts).numpy() for split, parts in features.items()}
    targets = labels[: len(inputs["train"])]
    # Without the scaling lbfgs needs thousands of steps.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(inputs.pop("train"), targets)
    return answers_of(classifier, targets, inputs, classes)


def _pooled(inputs: Tensor) -> Tensor:
    """One vector a picture of what the head reads: maps [examples, channels, ...] and tokens are averaged."""
    if inputs.ndim == 3:
        return inputs.mean(1)
    return inputs.flatten(2).mean(2) if inputs.ndim > 3 else inputs


def turns(sizes: Mapping[str, int]) -> Iterator[tuple[str, Array]]:
    """The numbers of all pictures in portions, so that at any moment half of those read are of train.

    Slices are in a stratified order, so that the first pictures of one have its class shares.

    Args:
        sizes: pictures of `train`, `validation` and `test`.
    """
    left = {split: np.array_split(np.arange(size), range(_AT_ONCE, size, _AT_ONCE)) for split, size in sizes.items()}
    while any(left.values()):
        for split in ("train", "validation", "train", "test"):
            if left[split]:
                yield split, left[split].pop(0)
