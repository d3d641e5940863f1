"""The last block of an encoder whose head reads the first token: only the output for that token is computed.

Its queries, output projection and feed-forward part then run for one token a text, its keys and values for all tokens.
That is exact, in training too: the outputs left out reach no logit, so they have no gradient. A block of a BERT takes
12 h^2 multiplications a token (h: its width); 2 h^2 remain.
"""

from typing import Any

import torch
from torch import Tensor, nn

from frostline.trainables._modules import evaluation_mode
from frostline.trainables.text import attention


def read_first_only(model: nn.Module, block: nn.Module) -> bool:
    """Let `block`, the model's last one, compute its output for the first token only, if the logits stay the same.

    That needs a block that passes unknown arguments on to transformers' attention function, and a head that reads the
    first token alone. Both are tried, not assumed.

    Args:
        model: a transformers model for sequence classification, after `attention.speed_up`, on the CPU.
        block: a module whose first argument is the hidden states [examples, length, width].

    Returns:
        True if the block now computes the first token only.
    """
    with evaluation_mode(model), torch.inference_mode():
        if (expected := _logits_of_two(model)) is None or torch.allclose(*expected, rtol=1e-3, atol=1e-4):
            return False  # nothing to compare, or a head whose logits do not depend on the text
        block.first_only = True  # type: ignore[assignment]
        hook = block.register_forward_pre_hook(_with_first_only, with_kwargs=True)
        logits = _logits_of_two(model)
    same = logits is not None and torch.allclose(logits, expected, rtol=1e-4, atol=1e-6)
    if not same:
        hook.remove()
        del block.first_only
    return same


def use(model: nn.Module, on: bool) -> None:
    """Let the last block compute all tokens again (False), or the first one only (True) if `read_first_only` did so."""
    for module in model.modules():
        if hasattr(module, "first_only"):
            module.first_only = on  # type: ignore[assignment]


def _with_first_only(block: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if not block.first_only:
        return None
    hidden: Tensor = positional[0]
    return (hidden[:, :1], *positional[1:]), {**named, attention.KEYS_FROM: hidden}


def two_texts(model: nn.Module) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` of two made-up texts of 8 and 5 different tokens."""
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    mask = (torch.arange(8) < torch.tensor([[8], [5]])).long()
    return {"input_ids": torch.arange(16).reshape(2, 8) % rows, "attention_mask": mask}


def _logits_of_two(model: nn.Module) -> Tensor | None:
    """Logits of two made-up texts; None if the model does not take them."""
    try:
        logits: Tensor = model(**two_texts(model)).logits
    except Exception:  # each model fails in its own way
        return None
    return logits
