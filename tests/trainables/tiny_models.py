"""A tiny model folder of every kind that transformers loads as a text classifier: random weights, a word tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from tests import tiny

KINDS = tuple(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
"""The model types that transformers has a class for, 127 in 5.23."""

LAYERS = 3

_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
_MASK = {"mask_token": "[MASK]"}

_VALUES: dict[str, Any] = {
    # widths
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "word_embed_proj_dim", "embedding_size"), 32
    ),
    **dict.fromkeys(("pooler_hidden_size", "input_embedding_size", "output_embedding_size", "d_latents"), 32),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "d_inner", "dff", "ffn_dim", "ffn_hidden_size"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "feed_forward_size", "moe_intermediate_size"), 48),
    **dict.fromkeys(("shared_expert_intermediate_size", "true_hidden_size", "intra_bottleneck_size"), 32),
    # heads
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_self_attention_heads", "num_cross_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "attention_head_size", "v_head_dim", "kv_channels"), 8),
    **dict.fromkeys(("rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim"), 4),
    **dict.fromkeys(("qk_head_dim", "kv_lora_rank", "q_lora_rank"), 8),
    # layers
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"), LAYERS),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), LAYERS),
    # positions
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("sliding_window", "local_attention", "attention_window"), 8),
    # experts
    **dict.fromkeys(("num_local_experts", "n_routed_experts", "num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group", "n_shared_experts"), 1),
    # words
    "vocab_size": 64,
    "type_vocab_size": 2,
    **dict.fromkeys(("pad_token_id", "pad_index"), 0),
    **dict.fromkeys(("unk_token_id", "unk_index"), 1),
    **dict.fromkeys(("bos_token_id", "cls_token_id", "bos_index", "decoder_start_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id", "eos_index", "eod_token_id", "forced_eos_token_id"), 3),
    **dict.fromkeys(("mask_token_id", "mask_index"), 4),
    # states and convolutions
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
}
"""Small values of what configurations call their sizes."""

_COMPRESSED = {"num_key_value_heads": 4, "head_dim": 4, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "qk_head_dim": 8}

_WITH_CACHE = {"layer_types": ["linear_attention", "full_attention"] * 2, "num_hidden_layers": 4}
"""At least one layer whose keys transformers keeps."""

_OWN: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "original_full"},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "canine": {"num_hash_buckets": 64, "local_transformer_stride": 8},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    },
    # Attention over compressed keys: as many keys as queries.
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3", "mistral4"), _COMPRESSED),
    "esmc": {"num_key_value_heads": 4},
    "falcon": {"head_dim": ...},
    "funnel": {"block_sizes": [1, 2], "num_hidden_layers": ..., "num_decoder_layers": 1},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "window_size": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "layoutlmv2": {"coordinate_size": 4, "shape_size": 4},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "input_size": 32},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 16, "entity_emb_size": 8},
    "markuplm": {"max_depth": 4},
    "modernbert": {"global_attn_every_n_layers": 2},
    "mra": {"num_blocks": 2, "block_per_row": 1},
    "mvp": {"prompt_length": 4, "prompt_mid_dim": 8},
    "nystromformer": {"segment_means_seq_len": 8, "num_landmarks": 8, "conv_kernel_size": 3},
    "perceiver": {"num_latents": 8, "num_self_attends_per_block": 2},
    "phi3": {"original_max_position_embeddings": 64},
    "qwen3_5_text": _WITH_CACHE,
    "qwen3_next": _WITH_CACHE,
    "reformer": {
        "axial_pos_embds": False,
        "attn_layers": ["local", "lsh", "local"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "is_decoder": False,
    },
    "roc_bert": {
        "pronunciation_vocab_size": 64,
        "shape_vocab_size": 64,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "t5": {"decoder_start_token_id": 0},
    "tapas": {"type_vocab_sizes": [3, 8, 8, 2, 8, 8, 4]},
    "xlnet": {"max_position_embeddings": ...},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": {"hash_code_len": 4, "num_hash": 4},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "hybrid"],
        "mamba_dt_rank": 4,
        "n_mamba_heads": 1,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "mamba_ngroups": 1,
        "n_mamba_heads": 2,
        "mamba_headdim": 32,
        "chunk_size": 8,
        "adapter_rank": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "use_mamba_kernels": False,
    },
}
"""Values that one kind needs beside its sizes; `...` for one that cannot be given."""


_PADS = ("modernbert-decoder",)
"""Decoders whose configuration must name what they pad with."""


def is_decoder(kind: str) -> bool:
    """Whether the models of a kind only look back: their tokenizers often have no token for padding."""
    others = MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not any(kind in names for names in others)


def config(kind: str, **more: Any) -> PreTrainedConfig:
    """A configuration of a few thousand weights."""
    make = CONFIG_MAPPING[kind]
    whole, given = make(), _VALUES | _OWN.get(kind, {}) | more
    known = {name for name in given if hasattr(whole, name)} | _OWN.get(kind, {}).keys() | more.keys()
    values = {name: given[name] for name in known if given[name] is not ...}
    # A name and its other name in `attribute_map` are one value.
    for name, other in getattr(make, "attribute_map", {}).items():
        if name in values and other in values:
            values.pop(name)
    return make(**values | _parts(whole))


def _parts(whole: PreTrainedConfig) -> dict[str, Any]:
    """The configurations inside of one, such as those of an encoder and a decoder, small."""
    parts = {name: part for name, part in vars(whole).items() if isinstance(part, PreTrainedConfig)}
    return {
        name: {key: value for key, value in _VALUES.items() if hasattr(part, key)}
        | _OWN.get(part.model_type, {})
        | _parts(part)
        for name, part in parts.items()
    }


def tokenizer(kind: str, *, pad: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of tiny's words; that of a decoder adds no tokens to a text."""
    words = [*_SPECIAL.values(), *_MASK.values(), *tiny.WORDS]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict(_SPECIAL)
    if not is_decoder(kind):
        ends = [(token, vocabulary[token]) for token in ("[BOS]", "[EOS]")]
        backend.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=ends)
        special |= _MASK
    if not pad:
        del special["pad_token"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def make(kind: str, folder: Path, *, pad: bool | None = None, **more: Any) -> Path:
    """Save a tiny model of a kind with its tokenizer; a decoder has no token for padding unless `pad` says so."""
    pad = not is_decoder(kind) if pad is None else pad
    torch.manual_seed(7)
    own = config(kind, **more)
    if not pad and kind not in _PADS:
        own.pad_token_id = own.get_text_config().pad_token_id = None
    model = AutoModelForSequenceClassification.from_config(own)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name.lower():
                parameter.mul_(4)  # transformers draws with 0.02, from which a model this narrow tells nothing apart
    model.save_pretrained(folder)
    tokenizer(kind, pad=pad).save_pretrained(folder)
    return folder
