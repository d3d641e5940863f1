"""Attention with dropout on a CPU: PyTorch has no fused kernel for it there, and its plain path is slow.

The plain path goes over whole [examples, heads, length, length] tensors of scores a dozen times and draws each element
of the mask by itself. This module works on a few heads at a time while their scores are in a core's cache, as in
FlashAttention (Dao et al., 2022). For the backward pass it keeps only the mask, one bit an element, drawn by a fast bit
generator. tests/bench/README.md gives the time that it saves in a training step.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "sdpa_cpu_dropout"
"""Name of this attention in transformers' registry. No file of a saved model holds it."""

KEYS_FROM = "keys_from"
"""Named argument of `attention`: hidden states [examples, keys, width of the model] from which it makes keys and
values."""

_PROJECTIONS = (("key", "value"), ("k_lin", "v_lin"))
"""Names that models give the projections of keys and of values."""

_TILE = 2**18
"""Scores in work at once: 1 MB in float32, the fastest size at 128, 256 and 512 tokens (512 kB of L2 cache)."""

_STEPS = 2**16
"""16 random bits decide an element of a mask, so probabilities are multiples of 1/65536."""


def speed_up(model: nn.Module) -> None:
    """Let a transformers model that uses SDPA train with `attention`. Other models are not changed.

    Weights, their names and the saved files stay the same.
    """
    AttentionInterface.register(_NAME, attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    config: Any = model.config
    if config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)  # type: ignore[operator]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace).train(child.training))


def kept(p: float) -> float:
    """The probability that an element is kept if it is dropped with `p`: 1 - p to within 1/131072, and never 0."""
    return max(1, round((1 - p) * _STEPS)) / _STEPS


class Masks:
    """Masks drawn one after another; a seed always draws the same ones. SFC64 is the fastest of numpy's generators."""

    def __init__(self, seed: int, keep: float) -> None:
        self._bits, self._last = np.random.SFC64(seed), round(keep * _STEPS) - 1

    def draw(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """True where an element is kept."""
        size = math.prod(shape)
        bits = self._bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
        return np.less_equal(bits, np.uint16(self._last)).reshape(shape)


def new_seed() -> int:
    """A seed from torch's CPU generator: if that is set or restored, the masks are the same."""
    return int(torch.randint(2**63 - 1, ()))


class Dropout(nn.Dropout):
    """`nn.Dropout` that draws its mask from `Masks` on a CPU, 5 times as fast with its backward pass."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1 or self.inplace or not _by_numpy(input):
            return super().forward(input)
        keep = kept(self.p)
        mask = Masks(new_seed(), keep).draw(tuple(input.shape))
        return input * torch.from_numpy(np.multiply(mask, 1 / keep, dtype=_numpy_type(input)))


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls: SDPA, except for attention with dropout on a CPU.

    Args:
        module: the attention layer.
        query: shape [examples, heads, queries, width].
        key: shape [examples, heads, keys, width].
        value: shape [examples, heads, keys, width of the output].
        attention_mask: bool, True where a query sees a key, or a float added to the scores;
            shape [examples or 1, heads or 1, queries, keys].
        dropout: probability with which a weight is dropped.
        scaling: factor of the scores; None for 1 / sqrt(width).
        more: passed on to SDPA, which also does the whole call if one of them changes the scores. Except `KEYS_FROM`:
            with it, the queries are those of the first tokens, and `key` and `value` are replaced.

    Returns:
        Shape [examples, queries, heads, width of the output].
    """
    if (hidden := more.pop(KEYS_FROM, None)) is not None:
        key, value = (_heads(projection, hidden, key) for projection in _projections(module))
        attention_mask = None if attention_mask is None else attention_mask[:, :, : query.shape[2]]
    causal = more.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if (
        not 0 < dropout < 1
        or not _by_numpy(query)
        or query.shape[:2] != key.shape[:2]
        or (causal if attention_mask is None else attention_mask.requires_grad)
        or any(more.get(name) is not None for name in ("position_bias", "softcap", "cache"))
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    bias = None if attention_mask is None else _bias(attention_mask, query).expand(*query.shape[:2], -1, -1)
    output: Tensor = DroppingAttention.apply(query, key, value, bias, kept(dropout), scale, new_seed())
    return output.transpose(1, 2).contiguous(), None


def _projections(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The projections of an attention layer's keys and values.

    Raises:
        AttributeError: their names are not known here.
    """
    key, value = next((names for names in _PROJECTIONS if hasattr(module, names[0])), _PROJECTIONS[0])
    return getattr(module, key), getattr(module, value)


def _heads(projection: nn.Module, hidden: Tensor, like: Tensor) -> Tensor:
    """The projection of hidden states [examples, length, width of the model] as [examples, heads, length, width]."""
    return projection(hidden).unflatten(-1, (like.shape[1], like.shape[3])).transpose(1, 2)  # type: ignore[no-any-return]


def _by_numpy(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def _numpy_type(tensor: Tensor) -> npt.DTypeLike:
    return np.float64 if tensor.dtype == torch.float64 else np.float32


def _bias(mask: Tensor, like: Tensor) -> Tensor:
    """The term added to the scores of `_Tiles`: shape [examples or 1, heads or 1, queries or 1, keys].

    The lowest number instead of minus infinity, else a query that sees no key would give NaN.
    """
    lowest = torch.finfo(like.dtype).min
    if mask.dtype != torch.bool:
        return (mask.to(like.dtype) / math.log(2)).clamp_(min=lowest)
    if torch.equal(mask, mask[:, :, :1].expand_as(mask)):  # padding is the same for all queries
        mask = mask[:, :, :1]
    return torch.from_numpy(np.multiply(~mask.numpy(), lowest, dtype=_numpy_type(like)))


class DroppingAttention(torch.autograd.Function):
    """dropout(softmax(scale * query key^T + bias)) value, a few heads at a time."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, keep: float, scale: float, seed: int
    ) -> Tensor:
        """Shapes as in `attention`, `bias` as from `_bias`; returns [examples, heads, queries, width]."""
        q, k, v = (tensor.flatten(0, 1) for tensor in (query, key, value))
        output = q.new_empty(*q.shape[:2], v.shape[2])
        logsumexp = q.new_empty(*q.shape[:2], 1)
        tiles, masks, packed = _Tiles(q, k, bias, scale), Masks(seed, keep), []
        for rows in tiles.groups:
            weights = tiles.scores(rows)
            highest = weights.amax(-1, keepdim=True)
            total = weights.sub_(highest).exp2_().sum(-1, keepdim=True)
            torch.add(highest, total.log2(), out=logsumexp[rows])
            mask = masks.draw(tuple(weights.shape))
            packed.append(np.packbits(mask))
            weights.mul_(tiles.floats(mask))
            torch.bmm(weights, v[rows], out=output[rows]).div_(total.mul_(keep))
        ctx.save_for_backward(q, k, v, bias, output, logsumexp)
        ctx.constants = keep, scale, packed
        return output.view(*query.shape[:3], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The weights are computed again. With P the weights, M the mask / `keep`, O the output and dO its gradient:
        dV = (M P)^T dO, dS = P (M (dO V^T) - rowsum(dO O)), dQ = dS K, dK = dS^T Q (FlashAttention, appendix B).
        """
        q, k, v, bias, output, logsumexp = ctx.saved_tensors
        keep, scale, packed = ctx.constants
        shape, g = gradient.shape[:2], gradient.flatten(0, 1)
        mean = (g * output).sum(-1, keepdim=True).mul_(keep)  # the division by `keep` comes at the end
        dq = torch.empty_like(q)
        dk, dv = (tensor.new_empty(tensor.mT.shape) for tensor in (k, v))  # [heads, width, keys]: faster to multiply
        tiles = _Tiles(q, k, bias, scale)
        room = q.new_empty(tiles.shape)
        for rows, bits in zip(tiles.groups, packed, strict=True):
            weights = tiles.scores(rows, logsumexp).exp2_()
            dropped = tiles.floats(np.unpackbits(bits, count=weights.numel()).reshape(weights.shape)).mul_(weights)
            torch.bmm(g[rows].mT, dropped, out=dv[rows])
            slope = torch.bmm(g[rows], v[rows].mT, out=room[: len(weights)])
            slope.mul_(dropped).addcmul_(weights, mean[rows], value=-1)
            torch.bmm(slope, k[rows], out=dq[rows])
            torch.bmm(q[rows].mT, slope, out=dk[rows])
        gradients = dq.mul_(scale / keep), dk.mul_(scale / keep).mT, dv.div_(keep).mT
        return *(tensor.unflatten(0, shape) for tensor in gradients), None, None, None, None


class _Tiles:
    """The scores of a few heads at a time, divided by log(2), since `exp2` is at least twice as fast as `exp`."""

    def __init__(self, query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> None:
        heads, queries, keys = *query.shape[:2], key.shape[1]
        size = min(heads, max(1, _TILE // (queries * keys)))
        self.shape = (size, queries, keys)
        self.groups = [slice(start, start + size) for start in range(0, heads, size)]
        self._query, self._key, self._bias, self._scale = query, key, bias, scale / math.log(2)
        self._scores, self._floats = query.new_empty(2, *self.shape)
        self._nothing = query.new_zeros(1, 1, 1)

    def scores(self, rows: slice, logsumexp: Tensor | None = None) -> Tensor:
        """Scores of these heads minus `logsumexp`, shape [heads, queries, keys]; valid until the next call."""
        query, key = self._query[rows], self._key[rows]
        start = self._nothing if logsumexp is None else -logsumexp[rows]
        scores = self._scores[: len(query)]
        torch.baddbmm(start, query, key.mT, beta=0 if logsumexp is None else 1, alpha=self._scale, out=scores)
        if self._bias is not None:
            examples, heads = np.divmod(np.arange(rows.start, rows.start + len(query)), self._bias.shape[1])
            scores.add_(self._bias[torch.from_numpy(examples), torch.from_numpy(heads)])
        return scores

    def floats(self, mask: npt.NDArray[Any]) -> Tensor:
        """A mask of these heads as 0.0 and 1.0; valid until the next call."""
        room = self._floats[: len(mask)]
        np.copyto(room.numpy(), mask)
        return room
