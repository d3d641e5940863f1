"""Names that are private to timm, transformers and torch, each used in one file of the product.

Ray's and Optuna's have a file of their own and a test beside it. W&B's are tried by
tests/search/tracking/test_tracker.py, in a process of their own.
"""

import timm
import torch
from timm.models import _manipulate
from transformers import BertConfig, BertModel


def test_timm_groups_parameters_from_the_input_on() -> None:
    """Used by trainables/vision/blocks.py."""
    model = timm.create_model("test_vit")
    groups = _manipulate.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert groups.keys() == {name for name, _ in model.named_parameters()}
    assert groups["patch_embed.proj.weight"] == min(groups.values()) < groups["blocks.0.norm1.weight"]


def test_a_transformers_model_names_its_attention() -> None:
    """Used by trainables/text/attention.py."""
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
    model = BertModel(config)
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"


def test_the_weights_of_a_torch_module_have_the_versions_of_its_layers() -> None:
    """Used by trainables/vision/network.py."""
    weights = torch.nn.Sequential(torch.nn.BatchNorm2d(1)).state_dict()
    assert weights._metadata["0"] == {"version": 2}  # type: ignore[attr-defined]
