"""The last block of an encoder whose head reads the first token: nothing else is computed of what it puts out.

Its queries, projections and feed-forward part are then done for one token a text, its keys and values for all. That is
exact, in training too: what is left out reaches no logit, and so no gradient. Per token a block of a BERT is 12 h^2
multiplications (h its width), of which 2 h^2 remain.
"""

from typing import Any

import torch
from torch import Tensor, nn

from frostline.trainables.text import attention


def read_first_only(model: nn.Module, block: nn.Module) -> bool:
    """Let `block`, the model's last, put out the first token only; undone, where the logits are then others.

    It works for blocks that hand what they do not know on to transformers' attention function. Whether this one does,
    and whether the head reads the first token alone, is tried, not assumed.

    Args:
        model: a transformers model for sequence classification, as `_attention.speed_up` leaves it, on the CPU.
        block: called with hidden states [examples, length, width] first.

    Returns:
        Whether it puts out the first token only from now on.
    """
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            if (expected := _logits_of_two(model)) is None or torch.allclose(*expected, rtol=1e-3, atol=1e-4):
                return False  # nothing to compare, or a head that says the same of any text
            hook = block.register_forward_pre_hook(_with_first_only, with_kwargs=True)
            found = _logits_of_two(model)
    finally:
        for module, mode in was_training.items():
            module.training = mode
    same = found is not None and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    if not same:
        hook.remove()
    return same


def _with_first_only(_block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    hidden: Tensor = given[0]
    return (hidden[:, :1], *given[1:]), {**named, attention.KEYS_FROM: hidden}


def _logits_of_two(model: nn.Module) -> Tensor | None:
    """Of two made-up texts of 8 and 5 tokens, no two tokens the same; None where the model does not take them."""
    ids = torch.arange(16).reshape(2, 8) % model.config.vocab_size  # type: ignore[union-attr, operator]
    mask = (torch.arange(8) < torch.tensor([[8], [5]])).long()
    try:
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    except (RuntimeError, TypeError, AttributeError, IndexError, ValueError):
        return None
    return logits
