"""Tiny folders of every kind of image classifier that transformers has: weights drawn at random, and a processor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

_VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
_VIT_WIDE = {**_VIT, "intermediate_size": 32}
_TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 20}
_CLIP = {"vision_config": _VIT_WIDE, "text_config": _TEXT}
_SWIN = {
    "embed_dim": 8,
    "depths": [1, 1, 2],
    "num_heads": [1, 2, 2],
    "image_size": 32,
    "window_size": 2,
    "patch_size": 2,
}
_FOUR = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_HEADS = {"num_attention_heads": [1, 1, 2, 2], "image_size": 64}
_HGNET = {
    "embedding_size": 8,
    "stem_channels": [3, 8, 8],
    "hidden_sizes": [16, 16, 32, 32],
    "stage_in_channels": [8, 16, 16, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 16, 32, 32],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A kind of model, as small as its configuration allows."""

    blocks: int
    """Blocks that can be frozen."""
    size: int = 64
    """Pixels of a side."""
    config: dict[str, Any] = field(default_factory=dict)


TRAINED = {
    "beit": Tiny(blocks=4, size=32, config=_VIT_WIDE),
    "bit": Tiny(
        blocks=4, config={"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 2], "num_groups": 4}
    ),
    "clip": Tiny(blocks=4, size=32, config=_CLIP),
    "convnext": Tiny(blocks=5, config=_FOUR),
    "convnextv2": Tiny(blocks=5, config=_FOUR),
    "cvt": Tiny(blocks=3, config={"embed_dim": [16, 32, 48], "depth": [1, 2, 3], "num_heads": [1, 2, 3]}),
    "data2vec-vision": Tiny(blocks=4, size=32, config=_VIT_WIDE),
    "deit": Tiny(blocks=4, size=32, config=_VIT_WIDE),
    "dinov2": Tiny(blocks=4, size=32, config=_VIT),
    "dinov2_with_registers": Tiny(blocks=4, size=32, config=_VIT),
    "efficientnet": Tiny(blocks=9, config={"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}),
    "focalnet": Tiny(
        blocks=4,
        size=32,
        config={
            "embed_dim": 8,
            "hidden_sizes": [8, 16, 32],
            "depths": [1, 1, 1],
            "focal_levels": [1, 1, 1],
            "focal_windows": [3, 3, 3],
            "image_size": 32,
            "patch_size": 2,
        },
    ),
    "hgnet_v2": Tiny(blocks=5, config=_HGNET),
    "hiera": Tiny(
        blocks=4,
        config={
            "embed_dim": 8,
            "image_size": [64, 64],
            "depths": [1, 1, 2],
            "num_heads": [1, 2, 2],
            "query_stride": [2, 2],
            "num_query_pool": 2,
            "masked_unit_size": [4, 4],
        },
    ),
    "ijepa": Tiny(blocks=4, size=32, config=_VIT_WIDE),
    "levit": Tiny(
        blocks=4,
        config={
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [1, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    "metaclip_2": Tiny(blocks=4, size=32, config=_CLIP),
    "mobilenet_v1": Tiny(blocks=27, size=32, config={"depth_multiplier": 0.1}),
    "mobilenet_v2": Tiny(blocks=18, size=32, config={"depth_multiplier": 0.1}),
    "mobilevit": Tiny(
        blocks=7,
        config={
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 8, 16, 16, 24, 32],
            "num_attention_heads": 2,
        },
    ),
    "mobilevitv2": Tiny(blocks=6, config={"image_size": 64, "width_multiplier": 0.25}),
    "poolformer": Tiny(blocks=4, config=_FOUR),
    "pvt": Tiny(blocks=4, config={**_FOUR, **_HEADS}),
    "pvt_v2": Tiny(blocks=4, config={**_FOUR, **_HEADS}),
    "regnet": Tiny(
        blocks=5,
        config={"embedding_size": 8, "hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1], "groups_width": 4},
    ),
    "resnet": Tiny(blocks=4, config={"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 2]}),
    "segformer": Tiny(blocks=4, config={**_FOUR, "num_attention_heads": [1, 1, 2, 2]}),
    "siglip": Tiny(blocks=5, size=32, config=_CLIP),
    "swin": Tiny(blocks=4, size=32, config=_SWIN),
    "swinv2": Tiny(blocks=4, size=32, config=_SWIN),
    "vit": Tiny(blocks=4, size=32, config=_VIT_WIDE),
    "vit_msn": Tiny(blocks=4, size=32, config=_VIT_WIDE),
}
"""Kinds that train: transformers' `model_type` -> its tiny model."""

REFUSED = {
    "donut-swin": Tiny(blocks=0, size=32, config=_SWIN),
    "imagegpt": Tiny(blocks=0, config={"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 20}),
    "perceiver": Tiny(
        blocks=0,
        size=32,
        config={
            "num_latents": 8,
            "d_latents": 16,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "image_size": 32,
        },
    ),
    "pp_lcnet": Tiny(blocks=0),
    "siglip2": Tiny(
        blocks=0,
        config={
            "vision_config": {**_VIT_WIDE, "num_patches": 16},
            "text_config": _TEXT,
        },
    ),
    "swiftformer": Tiny(blocks=0, config={"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]}),
    "textnet": Tiny(blocks=0),
}
"""Kinds that are refused."""


def make(folder: Path, kind: str, tiny: Tiny, classes: int = 5) -> Path:
    """Save a tiny model and its processor as `from_pretrained` reads them."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(7)
    config = AutoConfig.for_model(kind, num_labels=classes, **tiny.config)
    model = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    (model[0] if isinstance(model, tuple) else model)(config).save_pretrained(folder)
    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {"torchvision": "ViTImageProcessor"}
    kind_of_processor = getattr(transformers, names.get("torchvision") or names["pil"])
    own, size = kind_of_processor(), tiny.size
    fields: dict[str, Any] = {}
    if own.size:
        fields["size"] = dict.fromkeys(dict(own.size), size)
    if getattr(own, "do_center_crop", False):
        fields["crop_size"] = {"height": size, "width": size}
        fields["size"] = dict.fromkeys(dict(own.size), size if kind == "levit" else size + 8)
    kind_of_processor(**fields).save_pretrained(folder)
    return folder
