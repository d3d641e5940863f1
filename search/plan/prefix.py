"""Which outputs of frozen blocks are worth keeping: a cost function, pure, in seconds and bytes. No torch, no Ray.

Keeping the outputs of the first b blocks costs one pass over the data and the writing. Every trial that freezes at
least b blocks then reads them, instead of running these blocks in each epoch and evaluation. The figures
of the machine need to be right to an order of magnitude only: on a CPU a block costs some 80 times its reading.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.search.plan import parameters
from frostline.search.plan.budget import validation_sizes
from frostline.search.plan.parameters import Searched
from frostline.spaces import OWN_POOLING, Budget, Recipe
from frostline.trainables._task import Boundary, NotSurveyedError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ITEM_SIZE = {"float32": 4, "float16": 2}
"""Bytes of a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Speed of a trial's device and disk, per second."""

    flops: float
    """Floating-point operations of a forward pass."""
    read: float
    """Bytes read from a memory-mapped file into a batch; most come from the page cache."""
    write: float
    """Bytes written into files."""


MACHINES = {
    # MiniLM on one core of an AMD EPYC: 77 ms for a forward pass of 128 tokens, 2.9 GFLOP.
    "cpu": Machine(flops=37e9, read=1.5e9, write=0.3e9),
    # An H100's half-precision peak is 990 TFLOP/s (its data sheet); a tenth of it is left for fine-tuning's batches.
    "cuda": Machine(flops=100e12, read=3e9, write=0.5e9),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The work that a search is expected to ask of the frozen blocks."""

    trainings: Mapping[int, float]
    """Expected trainings, confirmations included, by frozen depth."""
    passes: float
    """Expected examples per training that pass through the model, for training and for validation."""
    examples: int
    """Different examples among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Which boundaries are kept, and the arithmetic behind it."""

    kept: tuple[int, ...]
    """Depths of the kept outputs, rising."""
    first_only: tuple[int, ...]
    """Depths at which the first token's output is enough for the model's own head."""
    bytes: float
    """Bytes of all of them on disk."""
    spent: float
    """Expected seconds of the pass and of writing."""
    saved: float
    """Expected seconds of forward passes minus those of reading, over all trials."""
    note: str = ""
    """Why the model could not be tried; empty if it could."""
    pooled: tuple[str, ...] = ()
    """Poolings for which one vector an example is enough at the deepest of these depths."""
    poolings: tuple[str, ...] = (OWN_POOLING,)
    """Poolings that the depths were tried with. One that a resumed search adds starts before the last block."""

    def start(self, frozen_layers: int, pooling: str, blocks: int) -> int:
        """Boundary at which a trial starts: the deepest one that is kept and frozen; 0 is the input."""
        deepest = frozen_layers if pooling in self.poolings else min(frozen_layers, blocks - 1)
        return max((depth for depth in self.kept if depth <= deepest), default=0)


NOTHING = Decision(kept=(), first_only=(), bytes=0.0, spent=0.0, saved=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caching:
    """What a user and a machine allow the prefix cache."""

    asked: str | None
    """`--prefix-cache`: `auto`, `float32`, `float16`, `off`; None where it was not given."""
    as_before: Recipe | None
    """The recipe that is trained again, to the bit; None in a search."""
    device: str
    """`cpu` or `cuda`."""
    limit: float
    """Bytes that may be kept."""


def planned(
    caching: Caching, work: Work, survey: Callable[[], tuple[Sequence[Boundary], bool]]
) -> tuple[Decision, str]:
    """Which outputs of frozen blocks are kept, and in which number format.

    `auto` is float32 on a CPU, so that scores are the same with and without the cache but for rounding. On a GPU,
    which computes in bfloat16 anyway, it is float16.

    Args:
        caching: what is allowed.
        work: what the search is expected to ask.
        survey: tries the model; gives where it can be cut, and whether its outputs fit float16. It costs a second,
            so it is called only where something may be kept. If it fails nothing is kept.
    """
    asked = caching.asked or "auto"
    if caching.as_before is not None and caching.asked is None:
        asked, start = caching.as_before.cache_dtype, caching.as_before.cached_layers
        if not start:
            return NOTHING, asked
        work = dataclasses.replace(work, trainings={start: 1e9})
    if asked == "off":
        return NOTHING, "float32"
    try:
        boundaries, fits_float16 = survey()
    except NotSurveyedError as error:
        note = f"the outputs of its frozen blocks are not kept, it trains from its input: {error}"
        return dataclasses.replace(NOTHING, note=note), "float32" if asked == "auto" else asked
    if asked == "auto":
        asked = "float16" if caching.device == "cuda" and fits_float16 else "float32"
    return decide(boundaries, asked, work, MACHINES[caching.device], caching.limit), asked


_TRIALS_IN_A_TIME = 50
"""Trials assumed when the budget is a time, and the speed of training is not known."""

_FRACTIONS = 1000
"""Points that stand for a range of `frozen_fraction`."""


def expected_work(
    budget: Budget,
    sizes: Mapping[str, int],
    searched: Searched,
    model: str,
    blocks: int,
    expected: int | None = None,
) -> Work:
    """Expected trainings of a model by frozen depth, and the examples of each, if none is stopped early.

    Sampled trials are spread evenly over the models that are searched.

    Args:
        budget: of the search.
        sizes: examples per slice.
        searched: parameters, and recipes tried first.
        model: whose trainings are counted.
        blocks: number of blocks of that model.
        expected: trainings that the time budget is expected to hold, if that is known.
    """
    confirmations = budget.confirm_recipes * budget.confirm_seeds
    trials = budget.trials or _TRIALS_IN_A_TIME
    if expected is not None:
        trials, confirmations = expected, 0
    validated = sum(validation_sizes(budget, sizes["train"], sizes["validation"]))
    own = [recipe for recipe in searched.recipes.values() if recipe.get("model", model) == model]
    own = [recipe for recipe in own if recipe.get("augmentation", "none") == "none"]
    depths = [int(parameters.complete(recipe, {model: blocks}).get("frozen_layers", 0)) for recipe in own]
    models = len(getattr(searched.distributions.get("model"), "choices", (model,)))
    sampled = (max(0, trials - len(searched.recipes)) + confirmations) / models
    sampled *= _share_without_augmentation(searched.distributions)
    return Work(
        trainings=trainings_by_depth(depth_shares(searched.distributions, blocks), depths, sampled),
        passes=float(budget.epochs * sizes["train"] + validated),
        examples=sizes["train"] + sizes["validation"],
    )


def _share_without_augmentation(distributions: Mapping[str, BaseDistribution]) -> float:
    """Share of random points without augmentation. With augmentation the input differs in every epoch, so that no
    output can be kept."""
    choices = list(getattr(distributions.get("augmentation"), "choices", ("none",)))
    return choices.count("none") / len(choices)


def depth_shares(distributions: Mapping[str, BaseDistribution], blocks: int) -> dict[int, float]:
    """Frozen depth -> share of random points; empty if depth is not searched."""
    layers, fraction = distributions.get("frozen_layers"), distributions.get("frozen_fraction")
    if fraction is not None:
        low, high = getattr(fraction, "low", 0.0), getattr(fraction, "high", 0.0)
        evenly = [low + (high - low) * (i + 0.5) / _FRACTIONS for i in range(_FRACTIONS)]
        depths = [parameters.whole_blocks(value, blocks) for value in getattr(fraction, "choices", evenly)]
    elif layers is not None:
        depths = list(getattr(layers, "choices", ())) or list(range(layers.low, layers.high + 1))  # type: ignore[attr-defined]
    else:
        return {}
    return {depth: count / len(depths) for depth, count in Counter(depths).items()}


def trainings_by_depth(shares: Mapping[int, float], given: Sequence[int], rest: float) -> dict[int, float]:
    """Expected trainings by frozen depth.

    Args:
        shares: share of sampled trials per depth; empty if depth is not searched.
        given: depths of the recipes tried first.
        rest: number of all other trainings: sampled ones, and confirmations, whose depth is not known yet.
    """
    found: dict[int, float] = {depth: float(count) for depth, count in Counter(given).items()}
    for depth, share in (shares or {depth: 1 / len(found) for depth in found}).items():
        found[depth] = found.get(depth, 0) + rest * share
    return found


def decide(boundaries: Sequence[Boundary], dtype: str, work: Work, machine: Machine, limit: float) -> Decision:
    """Choose the boundaries that together save the most time: the best one first, then others while each saves more.

    Args:
        boundaries: places in the model where training can start.
        dtype: `float32` or `float16`.
        work: expected work of the search.
        machine: speed of the device and the disk.
        limit: bytes that may be kept.
    """
    by_depth = {boundary.depth: boundary for boundary in boundaries}
    best, kept = NOTHING, set[int]()
    while True:
        tried = [
            _account([by_depth[d] for d in sorted({*kept, depth})], dtype, work, machine)
            for depth in by_depth.keys() - kept
        ]
        fits = [decision for decision in tried if decision.bytes <= limit]
        step = max(fits, key=lambda found: (found.saved - found.spent, found.kept), default=NOTHING)
        if step.saved - step.spent <= best.saved - best.spent:
            return best
        best, kept = step, set(step.kept)


def _account(kept: Sequence[Boundary], dtype: str, work: Work, machine: Machine) -> Decision:
    size = ITEM_SIZE[dtype]
    total = sum(boundary.values for boundary in kept) * size * work.examples
    saved = 0.0
    for depth, trainings in work.trainings.items():
        used = [boundary for boundary in kept if boundary.depth <= depth]
        if used:
            per_example = used[-1].flops / machine.flops - used[-1].values * size / machine.read
            saved += trainings * work.passes * per_example
    return Decision(
        kept=tuple(boundary.depth for boundary in kept),
        first_only=tuple(boundary.depth for boundary in kept if boundary.first_only),
        bytes=total,
        spent=kept[-1].flops / machine.flops * work.examples + total / machine.write,
        saved=saved,
        pooled=kept[-1].pooled,
    )
