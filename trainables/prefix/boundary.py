"""Training that starts between two blocks: the outputs of the blocks before, and a model that goes on from them.

All that this file knows of a model is its blocks. `survey` tries at which of them a model can be started, by comparing
scores, instead of assuming it.
"""

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from frostline.spaces import OWN_POOLING
from frostline.trainables import _freezing
from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._freezing import Block
from frostline.trainables._modules import evaluation_mode, output_of, outputs_until, weights_of
from frostline.trainables._task import Boundary
from frostline.trainables.data.corpus import Array

_FLOAT16_ROOM = 1e4
"""Largest output of a few examples with which float16 (up to 65,504) is trusted."""


@dataclass(frozen=True)
class Body:
    """A model and its blocks."""

    model: nn.Module
    family: Family
    blocks: Sequence[Block]

    @classmethod
    def of(cls, model: nn.Module, family: Family) -> "Body":
        """The body of a family's model."""
        return cls(model, family, family.blocks(model))

    @property
    def depths(self) -> list[int]:
        """Numbers of blocks after which there is an output: a block of single parameters has none."""
        return [depth for depth, block in enumerate(self.blocks, start=1) if modules_in(block)]

    def last_of(self, depth: int) -> nn.Module:
        """The module whose output is that of the first `depth` blocks; `depth` is one of `depths`."""
        return modules_in(self.blocks[depth - 1])[-1]


def modules_in(block: Block) -> list[nn.Module]:
    """The modules of a block, without its single parameters."""
    return [part for part in block if isinstance(part, nn.Module)]


def outputs(body: Body, batch: Batch, depths: Sequence[int]) -> dict[int, Tensor]:
    """Outputs of the blocks at `depths`. Blocks after the deepest are not run.

    Args:
        body: with its model in evaluation mode.
        batch: inputs, on the model's device.
        depths: blocks before each boundary, rising from at least 1.

    Returns:
        Depth -> tensor, first dimension the examples. Blocks that return no tensor, or are not run, are left out.
    """
    modules = {depth: body.last_of(depth) for depth in depths}
    return outputs_until(modules, lambda: body.family.logits(body.model, batch))


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The shape of a module's return value."""

    length: int
    """Things in the tuple that it returns, its output first; 0 if it returns the output alone."""
    shape: tuple[int, ...]
    """Of its output for one example."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What the modules of a model's blocks return."""

    modules: Mapping[nn.Module, Returned]
    """Modules that return no tensor, or are not run, are left out."""
    ragged: bool
    """Whether inputs are padded, so that the shapes differ from batch to batch."""


def results_of(body: Body, example: Batch) -> Results:
    """What the modules of the blocks return, found by one forward pass.

    Args:
        body: its model keeps its modes, and nothing random is drawn.
        example: any batch with whole inputs, on the model's device.
    """
    results: dict[nn.Module, Returned] = {}

    def note(module: nn.Module, _inputs: Any, result: Any) -> None:
        output = output_of(result)
        if output is not None:
            length = len(result) if isinstance(result, tuple) else 0
            results[module] = Returned(length=length, shape=tuple(output.shape[1:]))

    hooks = [module.register_forward_hook(note) for block in body.blocks for module in modules_in(block)]
    try:
        with evaluation_mode(body.model), torch.inference_mode():
            body.family.logits(body.model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return Results(modules=results, ragged=body.family.mask(example) is not None)


@contextmanager
def starting_at(body: Body, depth: int, results: Results) -> Iterator[Family]:
    """Within the `with`, the returned family's `logits` skip the first `depth` blocks and read the batch's `prefix`.

    Args:
        body: the first `depth` blocks of its model are not run and not changed.
        depth: blocks to skip.
        results: of the body.

    Raises:
        ValueError: a block to skip returns something else than a tensor.
    """
    skipped = [module for block in body.blocks[:depth] for module in modules_in(block)]
    if any(module not in results.modules for module in skipped):
        raise ValueError("a block returns no tensor, or is not run")
    prefixes: list[Tensor] = []  # that of the batch in hand

    def stand_in(length: int, shape: tuple[int, ...] | None, *_: Any, **__: Any) -> Any:
        output = prefixes[-1]
        if shape is not None:
            output = output.new_zeros(len(output), *shape)  # the next module may work in place
        return (output, *[None] * (length - 1)) if length else output

    def logits(model: nn.Module, batch: Batch) -> Tensor:
        prefixes.append(batch["prefix"])
        try:
            return body.family.logits(model, batch)
        finally:
            prefixes.clear()

    for module in skipped:
        # The last one returns the prefix. What those before it return does not matter, but its shape may: a model may
        # do something between two modules (a vision transformer adds its position embedding). Where lengths differ,
        # the shape is not known, and they return the prefix too.
        returned = results.modules[module]
        shape = None if results.ragged or module is skipped[-1] else returned.shape
        module.forward = functools.partial(stand_in, returned.length, shape)
    started = copy.copy(body.family)
    vars(started)["logits"] = logits
    try:
        yield started
    finally:
        for module in skipped:
            del module.forward


# --- a survey of a model -----------------------------------------------------------------------------


def survey(
    model: nn.Module, family: Family, examples: Examples, poolings: Sequence[str] = (OWN_POOLING,)
) -> tuple[list[Boundary], bool]:
    """The boundaries at which training can start, found by trying each with two examples on the CPU.

    A boundary is left out if a start there gives other scores: in a model that hands more than one tensor from block
    to block, or does something between two. It is left out, too, if the blocks before it read weights that are in none
    of them: these go on training, and stored outputs would not follow. And if something before it goes on drawing at
    random: dropout that a model applies itself, outside of its blocks' modules.

    Args:
        model: pretrained, on the CPU; afterwards nothing of it is frozen, and its head is that of the last pooling.
        family: of the model.
        examples: a few of those that will be trained on.
        poolings: those that trials may have. A boundary holds for all of them.

    Returns:
        The boundaries, shallowest first, and whether float16 holds the outputs at them.
    """
    surveys = [_survey(model, family, examples, pooling) for pooling in poolings]
    common = sorted(set.intersection(*(set(found) for found, _ in surveys)))
    return [_joined([found[depth] for found, _ in surveys]) for depth in common], all(fits for _, fits in surveys)


def _joined(boundaries: Sequence[Boundary]) -> Boundary:
    """One boundary for several poolings, each with its own outputs where they differ."""
    values = {(boundary.first_only, boundary.pooled): boundary.values for boundary in boundaries}
    return Boundary(
        depth=boundaries[0].depth,
        flops=max(boundary.flops for boundary in boundaries),
        values=sum(values.values()),
        first_only=any(boundary.first_only for boundary in boundaries),
        pooled=tuple(pooling for boundary in boundaries for pooling in boundary.pooled),
    )


def _survey(model: nn.Module, family: Family, examples: Examples, pooling: str) -> tuple[dict[int, Boundary], bool]:
    """The boundaries of one pooling by depth, and whether float16 holds the outputs at them."""
    family.set_pooling(model, pooling)
    model.eval()
    body, mean = Body.of(model, family), float(np.mean(examples.lengths))
    typical = int(np.argmin(np.abs(examples.lengths - mean)))
    pair = np.array([typical, int(np.argmin(examples.lengths))])  # two lengths, so that there is padding
    batch = examples.batch(pair)
    flops = _flops(body, examples.batch(pair[:1]))
    _freezing.freeze(model, body.blocks, 0)
    with torch.enable_grad():
        linked = outputs(body, batch, body.depths)
    mask, first = family.mask(batch), family.first_token(batch) if pooling == OWN_POOLING else None
    kept = {depth: output.detach() for depth, output in linked.items() if _is_by_example(output, pair, mask)}
    fixed = _fixed(body, batch, kept)
    trial = _Trial(body, batch)
    boundaries = {}
    for depth in sorted(depth for depth in fixed if _alone(body, depth, linked[depth])):
        pooled = family.pooled(kept[depth], batch, pooling) if depth == len(body.blocks) else None
        is_pooled = pooled is not None and trial.is_all(pooled)
        first_only = first is not None and trial.is_same(depth, first, kept[depth][:, :1])
        if not (is_pooled or first_only):
            is_cut = mask is not None and kept[depth].shape[1] < mask.shape[1]  # the last block, to the first token
            if is_cut or not trial.is_same(depth, batch, _emptied(kept[depth], mask)):
                continue
        values = kept[depth][0].numel()
        if is_pooled:
            values = pooled[0].numel()  # type: ignore[index]
        elif first_only:
            values = kept[depth][0, 0].numel()
        elif mask is not None:
            values = values / mask.shape[1] * mean
        boundaries[depth] = Boundary(
            depth=depth,
            flops=flops[depth],
            values=float(values),
            first_only=first_only,
            pooled=(pooling,) if is_pooled else (),
        )
    return boundaries, all(tensor.abs().max().item() < _FLOAT16_ROOM for tensor in kept.values())


def _is_by_example(output: Tensor, examples: Array, mask: Tensor | None) -> bool:
    """Whether an output's dimensions are examples and positions: XLNet has them the other way round, and Longformer has
    more positions than the text. A last block may have the first position alone."""
    if mask is None:
        return len(output) == len(examples)
    return output.shape[:2] in (mask.shape, (len(examples), 1))


def _fixed(body: Body, batch: Batch, kept: Mapping[int, Tensor]) -> list[int]:
    """Depths at which the outputs of frozen blocks are in training what they are in evaluation."""
    if not kept:
        return []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        _freezing.training_mode(body.model, body.blocks, len(body.blocks))
        again = outputs(body, batch, list(kept))
        body.model.eval()
    return [depth for depth, output in again.items() if torch.allclose(output, kept[depth], rtol=1e-3, atol=1e-4)]


def _alone(body: Body, depth: int, output: Tensor) -> bool:
    """Whether an output at `depth`, given with its graph, depends on no weights but those of the blocks before."""
    if not output.requires_grad:  # the blocks before have no weights
        return True
    own = {id(weight) for block in body.blocks[:depth] for part in block for weight in weights_of(part)}
    others = [weight for weight in body.model.parameters() if id(weight) not in own]
    gradients = torch.autograd.grad(output.sum(), others, retain_graph=True, allow_unused=True)
    return all(gradient is None for gradient in gradients)


class _Trial:
    """Compares the logits of a start at a boundary with those of a whole pass over the same batch."""

    def __init__(self, body: Body, whole: Batch) -> None:
        self._body, self._whole, self._results = body, whole, results_of(body, whole)
        with torch.inference_mode():
            self._expected = body.family.logits(body.model, whole)

    def is_same(self, depth: int, batch: Batch, prefix: Tensor) -> bool:
        """Whether a start at `depth` from `prefix` gives the logits of the whole pass."""
        try:
            with torch.inference_mode(), starting_at(self._body, depth, self._results) as family:
                logits = family.logits(self._body.model, {**batch, "prefix": prefix})
                return torch.allclose(logits, self._expected, rtol=1e-3, atol=1e-4)
        except Exception:  # each model fails in its own way
            return False  # something after the boundary needs more than this tensor

    def is_all(self, pooled: Tensor) -> bool:
        """Whether these vectors are all that the head reads: they give the logits, and those depend on the same weights
        as in a whole pass where all blocks are frozen. A norm after the last block would go on training."""
        body, batch = self._body, {**self._whole, "pooled": pooled}
        _freezing.freeze(body.model, body.blocks, len(body.blocks))
        weights = [weight for weight in body.model.parameters() if weight.requires_grad]
        with torch.enable_grad():
            passes = [body.family.logits(body.model, inputs) for inputs in (self._whole, batch)]
            slopes = [torch.autograd.grad(logits.sum(), weights, allow_unused=True) for logits in passes]
        _freezing.freeze(body.model, body.blocks, 0)
        is_same = torch.allclose(passes[1], self._expected, rtol=1e-3, atol=1e-4)
        return is_same and all((a is None) == (b is None) for a, b in zip(*slopes, strict=True))


def _emptied(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Outputs with zeros at padding, which is not stored."""
    return hidden if mask is None else hidden * mask[..., None]


def _flops(body: Body, batch: Batch) -> dict[int, float]:
    """Floating-point operations from the input to each depth. Afterwards no weight of the model trains."""
    body.model.requires_grad_(False)  # torch's counter fails where a module is given a parameter (DeBERTa)
    flops: dict[int, float] = {}
    counter = FlopCounterMode(display=False)

    def note(depth: int, *_: Any) -> None:
        flops[depth] = float(counter.get_total_flops())

    hooks = [body.last_of(depth).register_forward_hook(functools.partial(note, depth)) for depth in body.depths]
    try:
        with torch.inference_mode(), counter:
            body.family.logits(body.model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return flops
