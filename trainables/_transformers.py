"""Load a model of transformers from tensors, for families of texts and of pictures."""

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor


def with_new_head(kind: Any, config: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Any]]:
    """A pretrained model in float32, its head drawn again where the number of classes differs.

    transformers gets the tensors, not the folder: it would follow a `config.json` to files of other formats.

    Args:
        kind: class of the model.
        config: its configuration.
        tensors: its weights by name.

    Returns:
        The model, and transformers' report of its missing and mismatched weights.
    """
    quiet()
    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
    )
    return model, info


def quiet() -> None:
    """Silence transformers' report of a new head, which is expected, and its bar for a load that takes 0.1 s."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
