"""The blocks of a transformers model: its embeddings, then its layers; of an encoder-decoder those of both, in turn."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from frostline.trainables._freezing import Block
from frostline.trainables._modules import evaluation_mode, outputs_until, weights_of

_memory: WeakKeyDictionary[nn.Module, list[Block]] = WeakKeyDictionary()
"""The weights beside the layers of a model, found once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stack:
    """Layers that run one after the other."""

    name: str
    """Of the list of layers inside the model's body, such as `encoder.layer`."""
    layers: list[list[nn.Module]]
    """The modules of each layer. A model may keep its layers' parts in lists of their own (XLM)."""


def blocks_of(model: nn.Module) -> list[Block]:
    """The blocks that can be frozen, without the head.

    The head is what is new, and of the body its pooler and the norms after its last layer. Weights beside the layers
    are frozen with the first layer that reads them: relative positions with the embeddings, those of a decoder with
    its first layer. Other matrices, which nothing or only the head reads, are frozen with the last layer.

    Args:
        model: for sequence classification.

    Raises:
        ValueError: its layers cannot be told.
    """
    body: nn.Module = model.base_model  # type: ignore[assignment]
    stacks = _stacks(model, body)
    stem: Block = []
    for name, child in body.named_children():
        if name == stacks[0].name.split(".")[0]:
            break
        # What is outside of the part that reads texts may not be run: a tower for pictures, embeddings that are shared.
        stem += list(child.parameters()) if _is_composite(model) else [child]
    beside = _beside(model, stem, stacks)
    blocks = [[*stem, *beside[0]]]
    for stack, first in zip(stacks, ([], *beside[1:-1]), strict=True):
        blocks += [[*first, *layer] if number == 0 else list(layer) for number, layer in enumerate(stack.layers)]
    blocks[-1] = [*beside[-1], *blocks[-1]]
    return blocks


def _is_composite(model: nn.Module) -> bool:
    """Whether the body has parts of its own: an encoder and a decoder, or one for texts and one for pictures."""
    config: Any = model.config
    return bool(config.is_encoder_decoder) or config.get_text_config() is not config


def _stacks(model: nn.Module, body: nn.Module) -> list[_Stack]:
    config: Any = model.config
    if not config.is_encoder_decoder:
        text = config.get_text_config()
        kinds = {name: getattr(child, "config", config).model_type for name, child in body.named_children()}
        parts = (name for name, kind in kinds.items() if kind == text.model_type)
        within = next(parts, "") if _is_composite(model) else ""
        return [_stack(config, body, getattr(text, "num_hidden_layers", None), within)]
    encoder, decoder = (getattr(config, name, config) for name in ("encoder", "decoder"))
    deep = next(n for n in ("decoder_layers", "num_decoder_layers", "num_hidden_layers") if hasattr(decoder, n))
    counts = getattr(encoder.get_text_config(), "num_hidden_layers", None), getattr(decoder, deep)
    return [_stack(config, body, count, name) for name, count in zip(("encoder", "decoder"), counts, strict=True)]


def _stack(config: Any, body: nn.Module, count: int | None, within: str) -> _Stack:
    """The layers of the module called `within`, or of the whole body where that is empty."""
    for name, module in body.named_modules():
        inside = not within or name.startswith(f"{within}.")
        if count and inside and isinstance(module, nn.ModuleList) and len(module) == count:
            parent = body.get_submodule(name.rpartition(".")[0])
            lists = [part for part in parent.children() if isinstance(part, nn.ModuleList) and len(part) == count]
            return _Stack(name=name, layers=[list(parts) for parts in zip(*lists, strict=True)])
    raise ValueError(f"cannot tell the blocks of a {config.model_type}: no list of {count} layers in it")


def _beside(model: nn.Module, stem: Block, stacks: list[_Stack]) -> list[Block]:
    """Weights of the body that are in no layer: those that each stack is the first to read, and other matrices.

    A norm after the last layer is not one of them: no layer's output depends on it.
    """
    if model in _memory:
        return _memory[model]
    layers = [module for stack in stacks for layer in stack.layers for module in layer]
    own = {id(weight) for part in [*stem, *layers] for weight in weights_of(part)}
    body: nn.Module = model.base_model  # type: ignore[assignment]
    others = [p for name, p in body.named_parameters() if id(p) not in own and "pooler" not in name]
    places = _first_readers(model, [stack.layers[-1][-1] for stack in stacks], others) if others else []
    beside: list[Block] = [[] for _ in range(len(stacks) + 1)]
    for weight, place in zip(others, places, strict=True):
        if place < len(stacks) or weight.ndim > 1:
            beside[place].append(weight)
    _memory[model] = beside
    return beside


def _first_readers(model: nn.Module, ends: list[nn.Module], weights: list[nn.Parameter]) -> list[int]:
    """For each weight, the number of the first of the modules `ends` whose output depends on it; if none, their count.

    In a model that does not tell, the first one is taken to read all: what is frozen must not change.
    """
    tokens = torch.ones(1, 4, dtype=torch.long, device=weights[0].device)
    weights = [weight.requires_grad_() for weight in weights]  # as `freeze` sets them at depth 0
    readers = [len(ends)] * len(weights)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), evaluation_mode(model):
            outputs: dict[int, Tensor] = outputs_until(dict(enumerate(ends)), lambda: model(input_ids=tokens))
            for place in reversed(range(len(ends))):
                gradients = torch.autograd.grad(outputs[place].sum(), weights, allow_unused=True, retain_graph=True)
                readers = [
                    reader if gradient is None else place for reader, gradient in zip(readers, gradients, strict=True)
                ]
    except Exception:  # each model fails in its own way
        return [0] * len(weights)
    return readers
