"""Load a model folder's text classifier, and make it fit its tokenizer and this task."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from frostline.trainables._modules import size_limit
from frostline.trainables._transformers import quiet, with_new_head
from frostline.trainables.data import model_files
from frostline.trainables.text.tokenizer import load_tokenizer


def load_model(folder: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A folder's model in float32 on the CPU, and transformers' report of its missing and mismatched weights.

    Args:
        folder: the model folder.
        changes: values of its configuration to replace.

    Raises:
        ValueError: it does not load.
    """
    quiet()
    problem = "does not load as a text classifier"
    weights = model_files.weights_in(folder, problem)
    with model_files.loading(folder, "is not a model that transformers knows"):
        model_files.check_depth(folder, weights)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
    with model_files.loading(folder, problem), size_limit(weights.tensors, weights.values):
        with torch.device("meta"):
            kind = type(AutoModelForSequenceClassification.from_config(config, trust_remote_code=False))
        return with_new_head(kind, config, weights.load())


def fit_to_task(model: nn.Module, folder: Path) -> None:
    """Prepare a newly loaded model to give one label a text, and to take batches that are padded.

    A decoder reads the token before the first padding, so that it must know what is padded with. An encoder that knows
    keeps its own: RoBERTa counts its positions by it.
    """
    config: Any = model.config
    if config.problem_type is not None:  # regression, say: it decides how others read the export
        config.problem_type = "single_label_classification"
    if hasattr(config, "function_to_apply"):
        del config.function_to_apply
    kind, text = config.model_type, config.get_text_config()
    looks_back = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    looks_back = looks_back and not config.is_encoder_decoder
    if looks_back or getattr(text, "pad_token_id", None) is None:
        text.pad_token_id = config.pad_token_id = load_tokenizer(folder).pad_token_id
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id  # as T5 was trained
    for module in model.modules():
        # Weights that the class itself fixes (sinusoidal positions) must not train where nothing is frozen.
        for name, weight in [*module.named_parameters(recurse=False)]:
            if not weight.requires_grad:
                delattr(module, name)
                module.register_buffer(name, weight.data)
