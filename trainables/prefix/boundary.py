"""Training that starts between two blocks: what the blocks before put out, and a model that goes on from there.

Nothing here knows a model's inner life but for its blocks. Whether it can be started at a boundary is tried, not
assumed: `survey` compares scores.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from frostline.trainables import _freezing
from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._freezing import Block
from frostline.trainables._task import Boundary

Blocks = Sequence[Block]

_FLOAT16_ROOM = 1e4
"""Largest number seen in a look at a few examples with which float16 (up to 65,504) is trusted."""


class _DeepEnough(Exception):  # noqa: N818 - not an error
    """Ends a forward pass whose rest nobody needs."""


def _output(result: Any) -> Tensor | None:
    """The tensor that a module puts out; None where it is something else, a list of them, say."""
    output = result[0] if isinstance(result, tuple) and result else result
    return output if isinstance(output, Tensor) else None


def _modules(block: Block) -> list[nn.Module]:
    return [part for part in block if isinstance(part, nn.Module)]


@torch.inference_mode()
def outputs(model: nn.Module, family: Family, blocks: Blocks, batch: Batch, depths: Sequence[int]) -> dict[int, Tensor]:
    """What the blocks put out at `depths`; what lies behind the deepest is not run.

    Args:
        model: in evaluation mode.
        family: of the model.
        blocks: of the model.
        batch: its inputs, on the model's device.
        depths: blocks before each boundary, at least 1.

    Returns:
        Depth -> tensor, first dimension the examples; without those where a block does not put out one, or is not run.
    """
    return _outputs(model, family, blocks, batch, depths)


def _outputs(
    model: nn.Module, family: Family, blocks: Blocks, batch: Batch, depths: Sequence[int]
) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}

    def keep(depth: int, _module: nn.Module, _inputs: Any, result: Any) -> None:
        output = _output(result)
        if output is not None:
            found[depth] = output if depth == max(depths) else output.clone()  # what comes next may work in place
        if depth == max(depths):
            raise _DeepEnough

    hooks = [_modules(blocks[d - 1])[-1].register_forward_hook(functools.partial(keep, d)) for d in depths]
    try:
        family.logits(model, batch)
    except _DeepEnough:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return found


class _FromBoundary:
    """A family whose `logits` start from a batch's `prefix`; all else is the family's own."""

    def __init__(self, family: Family, place: dict[str, Tensor]) -> None:
        self._family, self._place = family, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        self._place["prefix"] = batch["prefix"]
        try:
            return self._family.logits(model, batch)
        finally:
            self._place.clear()


_results: WeakKeyDictionary[nn.Module, tuple[int, tuple[int, ...]]] = WeakKeyDictionary()
"""Of a block's module: for one that returns a tuple (output first), how many things are in it, 0 for a plain tensor;
and the shape of its output for one example."""


@contextmanager
def starting_at(model: nn.Module, family: Family, depth: int, example: Batch) -> Iterator[Family]:
    """Within the `with`, the returned family's `logits` skip the first `depth` blocks and read the batch's `prefix`.

    Args:
        model: its first `depth` blocks are not run and not changed.
        family: of the model.
        depth: blocks to skip.
        example: any batch with whole inputs, for one look at what the blocks return.

    Raises:
        ValueError: a block to skip puts out something else than a tensor.
    """
    blocks = family.blocks(model)
    skipped = [module for block in blocks[:depth] for module in _modules(block)]
    if any(module not in _results for module in skipped):
        _look_at_results(model, family, blocks, example)
        if any(module not in _results for module in skipped):
            raise ValueError("a block puts out no tensor, or is not run")
    place: dict[str, Tensor] = {}
    ragged = family.mask(example) is not None

    def stand_in(length: int, shape: tuple[int, ...] | None, *_: Any, **__: Any) -> Any:
        output = place["prefix"]
        if shape is not None:
            output = output.new_zeros(len(output), *shape)  # what comes next may work in place
        return (output, *[None] * (length - 1)) if length else output

    for module in skipped:
        length, shape = _results[module]
        # The last one hands on the prefix, and what stands before it nothing that matters: of the right shape where
        # all inputs have one, since a model may do something between two modules (a vision transformer adds its
        # position embedding), else the prefix too.
        before = None if ragged or module is skipped[-1] else shape
        module.forward = functools.partial(stand_in, length, before)
    try:
        yield _FromBoundary(family, place)  # type: ignore[misc]
    finally:
        for module in skipped:
            del module.forward


def _look_at_results(model: nn.Module, family: Family, blocks: Blocks, example: Batch) -> None:
    def note(module: nn.Module, _inputs: Any, result: Any) -> None:
        length, output = len(result) if isinstance(result, tuple) else 0, _output(result)
        if output is not None:
            _results[module] = (length, tuple(output.shape[1:]))

    hooks = [module.register_forward_hook(note) for block in blocks for module in _modules(block)]
    was_training = {module: module.training for module in model.modules()}
    model.eval()  # nothing random is drawn by a look
    try:
        with torch.inference_mode():
            family.logits(model, example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in was_training.items():
            module.training = mode


# --- a look at a model -----------------------------------------------------------------------------


def survey(model: nn.Module, family: Family, examples: Examples) -> tuple[list[Boundary], bool]:
    """The boundaries at which training can start, found by trying each with two examples on the CPU.

    A model in which more than one tensor goes from block to block (or that does something between two) gives
    other scores when it is started there; such a boundary is left out. So is one at which the blocks before have
    read weights that are in none of them: these still train, and what is kept would not follow.

    Args:
        model: pretrained, on the CPU; nothing of it is frozen afterwards.
        family: of the model.
        examples: a few of those that will be trained on.

    Returns:
        The boundaries, shallowest first, and whether float16 has room for what was seen at them.
    """
    model.eval()
    blocks, mean = family.blocks(model), float(np.mean(examples.lengths))
    typical = int(np.argmin(np.abs(examples.lengths - mean)))
    pair = np.array([typical, int(np.argmin(examples.lengths))])  # two lengths, so that there is padding
    batch, depths = examples.batch(pair), range(1, len(blocks) + 1)
    flops = _flops(model, family, blocks, examples.batch(pair[:1]))
    _freezing.freeze(model, blocks, 0)
    with torch.enable_grad():
        linked = _outputs(model, family, blocks, batch, depths)
    kept = {depth: output.detach() for depth, output in linked.items()}
    with torch.inference_mode():
        expected = family.logits(model, batch)
    found = []
    for depth in sorted(depth for depth, output in linked.items() if _alone(model, blocks[:depth], output)):
        mask, first = family.mask(batch), family.first_token(batch)
        first_only = first is not None and _same(model, family, depth, batch, first, kept[depth][:, :1], expected)
        if not first_only and not _same(model, family, depth, batch, batch, _emptied(kept[depth], mask), expected):
            continue
        values = kept[depth][0].numel()
        if first_only:
            values = kept[depth][0, 0].numel()
        elif mask is not None:
            values = values / mask.shape[1] * mean
        found.append(Boundary(depth=depth, flops=flops[depth], values=float(values), first_only=first_only))
    return found, all(tensor.abs().max().item() < _FLOAT16_ROOM for tensor in kept.values())


def _alone(model: nn.Module, before: Blocks, output: Tensor) -> bool:
    """Whether no weights but those of the blocks before have a part in an output, which has its graph."""
    if not output.requires_grad:  # nothing before has weights
        return True
    own = {id(p) for block in before for part in block for p in _parameters(part)}
    others = [p for p in model.parameters() if id(p) not in own]
    reached = torch.autograd.grad(output.sum(), others, retain_graph=True, allow_unused=True)
    return all(gradient is None for gradient in reached)


def _parameters(part: nn.Module | nn.Parameter) -> Iterable[nn.Parameter]:
    return [part] if isinstance(part, nn.Parameter) else part.parameters()


def _same(
    model: nn.Module, family: Family, depth: int, whole: Batch, batch: Batch, prefix: Tensor, expected: Tensor
) -> bool:
    """Whether starting at `depth` from `prefix` gives the logits of a whole pass."""
    try:
        with torch.inference_mode(), starting_at(model, family, depth, whole) as started:
            return torch.allclose(started.logits(model, {**batch, "prefix": prefix}), expected, rtol=1e-3, atol=1e-4)
    except (RuntimeError, TypeError, AttributeError, IndexError, ValueError):
        return False  # something after the boundary needs more than this tensor


def _emptied(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Without what stands at padding, which is not kept."""
    return hidden if mask is None else hidden * mask[..., None]


def _flops(model: nn.Module, family: Family, blocks: Blocks, batch: Batch) -> dict[int, float]:
    """Floating-point operations from the input to each depth."""
    found: dict[int, float] = {}
    counter = FlopCounterMode(display=False)

    def note(depth: int, *_: Any) -> None:
        found[depth] = float(counter.get_total_flops())

    hooks = [
        _modules(block)[-1].register_forward_hook(functools.partial(note, d)) for d, block in enumerate(blocks, start=1)
    ]
    try:
        with torch.inference_mode(), counter:
            family.logits(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found
