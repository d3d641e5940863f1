"""The floor: the arithmetic that the recipes need, over the rate at which this machine multiplies matrices.

    python -m tests.bench.floor --hidden 384 --inner 1536 --tokens 1600 --seconds 3

What is counted: matrix products of a transformer encoder (the rest is small beside them) on real tokens, without
padding. A trial's trainable part three times for each training example (forward, gradients of inputs and weights)
and once for each validation example and report; the frozen part once for each example, up to the deepest boundary
that any trial asks for, since every boundary before it lies on the way. Of the last layer the head reads the first
token alone: keys and values are counted for all tokens, all else for one. No real system gets there: embeddings,
softmax, norms, the optimizer and all of Python are taken to cost nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Sizes of a transformer encoder."""

    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward part."""
    classes: int = 2

    def layer(self, tokens: int) -> float:
        """FLOPs of one layer's forward pass over one text: four projections, attention, feed-forward."""
        linear = 4 * self.hidden**2 + 2 * self.hidden * self.inner
        return 2.0 * tokens * linear + 4.0 * tokens**2 * self.hidden

    def last_layer(self, tokens: int) -> float:
        """FLOPs of the last layer's forward pass, which computes the output of the first token only."""
        ours = 2 * self.hidden**2 + 2 * self.hidden * self.inner  # queries and output, feed-forward
        return 2.0 * (2 * tokens * self.hidden**2 + ours) + 4.0 * tokens * self.hidden

    def head(self) -> float:
        """FLOPs of pooler and classifier for one text."""
        return 2.0 * (self.hidden**2 + self.hidden * self.classes)

    def trainable(self, tokens: int, frozen_blocks: int) -> float:
        """FLOPs of the forward pass after the frozen blocks; the first block, the embeddings, multiplies nothing."""
        return self._all(tokens) - self.frozen(tokens, frozen_blocks) + self.head()

    def frozen(self, tokens: int, frozen_blocks: int) -> float:
        """FLOPs of the forward pass of the frozen blocks."""
        return self._all(tokens) if frozen_blocks > self.layers else max(0, frozen_blocks - 1) * self.layer(tokens)

    def _all(self, tokens: int) -> float:
        return (self.layers - 1) * self.layer(tokens) + self.last_layer(tokens)


def encoder_of(folder: Path) -> Encoder:
    """The sizes that a model folder's `config.json` says."""
    config = json.loads((folder / "config.json").read_text())
    return Encoder(layers=config["num_hidden_layers"], hidden=config["hidden_size"], inner=config["intermediate_size"])


def flops(
    encoder: Encoder, depths: Iterable[int], train: Sequence[int], validation: Sequence[int], epochs: int
) -> float:
    """FLOPs of recipes with these frozen depths, trained to their end and measured after each epoch.

    Args:
        encoder: the model.
        depths: frozen blocks, one for each recipe.
        train: tokens of each training example.
        validation: tokens of each validation example.
        epochs: epochs of each recipe.
    """
    depths, total = list(depths), 0.0
    for depth in depths:
        total += epochs * sum(3 * encoder.trainable(tokens, depth) for tokens in train)
        total += epochs * sum(encoder.trainable(tokens, depth) for tokens in validation)
    deepest = max(depths, default=0)
    return total + sum(encoder.frozen(tokens, deepest) for tokens in (*train, *validation))


def measure_rate(hidden: int, inner: int, tokens: int, seconds: float) -> float:
    """FLOPs a second of float32 matrix products on one thread, in the proportions of an encoder layer."""
    import torch

    torch.set_num_threads(1)
    square, wide = torch.randn(hidden, hidden), torch.randn(hidden, inner)
    states, inner_states = torch.randn(tokens, hidden), torch.randn(tokens, inner)
    work = 2.0 * tokens * (4 * hidden**2 + 2 * hidden * inner)
    rates, ends = [], time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < ends or len(rates) < 5:
            began = time.perf_counter()
            for _ in range(4):
                torch.mm(states, square)
            torch.mm(states, wide)
            torch.mm(inner_states, wide.T)
            rates.append(work / (time.perf_counter() - began))
    return statistics.median(rates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """FLOPs a second of one thread."""

    alone: float
    """With the other cores idle."""
    together: float
    """With one such process on every core at once, as trials run."""


def rates(encoder: Encoder, lengths: Sequence[int], processes: int, seconds: float) -> Rate:
    """Measure both rates, in processes of their own, on batches of 8 texts of the mean length."""
    tokens = 8 * max(1, math.ceil(statistics.fmean(lengths)))
    sizes = {"--hidden": encoder.hidden, "--inner": encoder.inner, "--tokens": tokens, "--seconds": seconds}
    arguments = [str(part) for pair in sizes.items() for part in pair]

    def run(count: int) -> float:
        command = [sys.executable, "-m", "tests.bench.floor", *arguments]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        return statistics.fmean(float(process.communicate()[0]) for process in running)

    return Rate(alone=run(1), together=run(processes))


def main() -> None:
    """Print one rate, FLOPs a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("hidden", int), ("inner", int), ("tokens", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    given = parser.parse_args()
    print(measure_rate(given.hidden, given.inner, given.tokens, given.seconds))


if __name__ == "__main__":
    main()
