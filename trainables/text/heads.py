"""What the head of a text model reads: the first token's output, or the mean over all tokens, in place of its own head.

A model's own head often reads the first token through a pooler that was trained for another task. The mean over the
tokens is what sentence encoders are trained for (Reimers and Gurevych 2019, arXiv:1908.10084).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from frostline.spaces import OWN_POOLING
from frostline.trainables._modules import evaluation_mode
from frostline.trainables.text import attention, last_block
from frostline.trainables.text.tokenizer import pads_left


class Head(nn.Module):
    """Class scores from one vector a text: dropout, then a linear layer."""

    def __init__(self, pooling: str, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = attention.Dropout(dropout)
        self.linear = nn.Linear(width * (2 if pooling == "both" else 1), classes)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores [examples, classes] from vectors [examples, width]."""
        return self.linear(self.dropout(vectors))  # type: ignore[no-any-return]


class _NoPooler(nn.Module):
    """In place of a pooler that nothing reads."""

    def forward(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _SetAside:
    """Modules of a model's own head, kept out of the model while another head is in use: they neither train nor are
    stored."""

    children: dict[str, nn.Module]
    """All children of the model, the body too, in their order: an optimizer's state goes by it."""
    pooler: nn.Module | None


def head_of(model: nn.Module) -> Head | None:
    """The head that `switch` has put in; None if the model has its own."""
    return getattr(model, "pooled_head", None)


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector a text: [examples, width], twice as wide for `both`.

    Args:
        hidden: outputs of the last block, [examples, length, width].
        mask: True at tokens that are not padding, bool [examples, length].
        pooling: `first`, `mean` or `both`.
    """
    if pooling == "first":
        return hidden[:, 0]
    mean = hidden.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).to(hidden.dtype)
    return mean if pooling == "mean" else torch.cat([hidden[:, 0], mean], 1)


def switch(model: nn.Module, pooling: str) -> None:
    """Give a transformers model for sequence classification a new head that reads what `pooling` says.

    Its `forward` then gives the scores of that head. `OWN_POOLING` puts the model's own head back, as it was.
    """
    _put_back(model)
    if pooling == OWN_POOLING:
        return
    body: nn.Module = model.base_model  # type: ignore[assignment]
    config: Any = model.config
    pooler = getattr(body, "pooler", None)
    aside = _SetAside(children=dict(model.named_children()), pooler=pooler if isinstance(pooler, nn.Module) else None)
    own = [(name, child) for name, child in aside.children.items() if child is not body]
    dropouts = [module.p for _, child in own for module in child.modules() if isinstance(module, nn.Dropout)]
    for name, _ in own:
        delattr(model, name)
    if aside.pooler is not None:
        body.pooler = _NoPooler()
    model.set_aside = aside  # type: ignore[assignment]
    last_block.use(model, pooling == "first")
    model.pooled_head = Head(pooling, _width(model), config.num_labels, dropouts[0] if dropouts else 0.0)
    model.pooled_head.to(next(body.parameters()).device).train(model.training)
    model.forward = functools.partial(_forward, model)


@contextmanager
def whole_body(model: nn.Module) -> Iterator[Any]:
    """The body of a model with a new head, within the `with` with its pooler: transformers would draw one for it."""
    body, pooler = model.base_model, model.set_aside.pooler  # type: ignore[union-attr]
    try:
        if pooler is not None:
            body.pooler = pooler  # type: ignore[union-attr]
        yield body
    finally:
        if pooler is not None:
            body.pooler = _NoPooler()  # type: ignore[union-attr]


def _put_back(model: nn.Module) -> None:
    aside: _SetAside | None = model.__dict__.pop("set_aside", None)
    if aside is None:
        return
    model.__dict__.pop("forward", None)
    if head_of(model) is not None:
        del model.pooled_head
    for name, child in aside.children.items():
        if hasattr(model, name):
            delattr(model, name)
        setattr(model, name, child)
    if aside.pooler is not None:
        model.base_model.pooler = aside.pooler  # type: ignore[union-attr]
    last_block.use(model, True)


def _forward(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, **more: Any) -> SequenceClassifierOutput:
    hidden = model.base_model(input_ids=input_ids, attention_mask=attention_mask, **more)[0]  # type: ignore[operator]
    head: Head = model.pooled_head  # type: ignore[assignment]
    return SequenceClassifierOutput(logits=head(pooled(hidden, attention_mask.bool(), head.pooling)))


def _width(model: nn.Module) -> int:
    """Width of the body's outputs, found once: a configuration may give that of its blocks instead (OPT)."""
    if not hasattr(model, "output_width"):
        tokens = torch.ones(1, 4, dtype=torch.long, device=next(model.parameters()).device)
        with evaluation_mode(model), torch.inference_mode():
            hidden = model.base_model(input_ids=tokens, attention_mask=tokens)[0]  # type: ignore[operator]
        model.output_width = hidden.shape[-1]
    return model.output_width  # type: ignore[return-value]


def possible(model: nn.Module) -> tuple[str, ...]:
    """The poolings that a newly built model can have, found by trying them with made-up texts.

    None but its own for a model with a decoder beside its encoder, whose outputs are those of the decoder. `first` and
    `both` need a first token that has seen the others, and that no padding stands before.
    """
    if model.base_model is model or model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return (OWN_POOLING,)
    try:
        with evaluation_mode(model), torch.inference_mode():
            switch(model, "both")
            texts = last_block.two_texts(model)
            other = {**texts, "input_ids": texts["input_ids"].clone()}
            other["input_ids"][:, 1:] = texts["input_ids"][:, :-1]
            hidden, changed = (model.base_model(**inputs)[0] for inputs in (texts, other))  # type: ignore[operator]
            if hidden.shape[:2] != texts["attention_mask"].shape or not model(**texts).logits.isfinite().all():
                return (OWN_POOLING,)
            sees_all = not pads_left(model.config) and not torch.allclose(
                hidden[:, 0], changed[:, 0], rtol=1e-4, atol=1e-6
            )
    except Exception:  # each model fails in its own way
        return (OWN_POOLING,)
    finally:
        _put_back(model)
    return (OWN_POOLING, "first", "mean", "both") if sees_all else (OWN_POOLING, "mean")
