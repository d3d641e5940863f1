"""A last block that computes the first token only: the same training, and no other row."""

import functools
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from frostline.trainables.text import attention, last_block
from frostline.trainables.text_classification import FAMILY
from tests import tiny
from tests.trainables.encoders import SIZES, configs

OTHERS = [
    transformers.DebertaV2Config(**SIZES),  # an attention of its own
    transformers.ModernBertConfig(**SIZES, pad_token_id=0, classifier_pooling="mean"),
]
BATCH = {
    "input_ids": torch.arange(1, 25).view(3, 8),
    "attention_mask": (torch.arange(8) < torch.tensor([[8], [7], [3]])).long(),
}


def made(config: transformers.PretrainedConfig, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():  # no bias stays 0, no norm 1, no two logits the same
        nn.init.normal_(parameter, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    attention.speed_up(model)
    return model


def last_of(model: nn.Module) -> nn.Module:
    [block] = FAMILY.blocks(model)[-1]
    assert isinstance(block, nn.Module)
    return block


def rows_of(model: nn.Module, run: functools.partial[Tensor]) -> list[int]:
    """Positions that each block computes an output for in `run`."""
    rows: list[int] = []
    layers = [part for block in FAMILY.blocks(model)[1:] for part in block if isinstance(part, nn.Module)]
    hooks = [
        layer.register_forward_hook(
            lambda _m, _i, out: rows.append((out[0] if isinstance(out, tuple) else out).shape[1])
        )
        for layer in layers
    ]
    run()
    for hook in hooks:
        hook.remove()
    return rows


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    FAMILY.logits(model, BATCH).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("config", configs(), ids=lambda config: config.model_type)
def test_logits_and_gradients_are_those_of_the_whole_block(config: transformers.PretrainedConfig) -> None:
    model = made(config).train()
    logits, slopes = FAMILY.logits(model, BATCH), gradients(model)
    run = functools.partial(FAMILY.logits, model, BATCH)
    assert rows_of(model, run) == [8, 8]
    assert last_block.read_first_only(model, last_of(model))
    assert all(module.training for module in model.modules())
    assert rows_of(model, run) == [8, 1]
    torch.testing.assert_close(FAMILY.logits(model, BATCH), logits)
    torch.testing.assert_close(gradients(model), slopes, rtol=1e-4, atol=1e-6)
    model.eval()
    assert rows_of(model, run) == [8, 1]


def test_dropout_drops_in_the_one_row_too() -> None:
    model = made(configs()[0], dropout=0.5)
    last_block.read_first_only(model, last_of(model))
    model.train()
    torch.manual_seed(3)
    first, second = FAMILY.logits(model, BATCH), FAMILY.logits(model, BATCH)
    torch.manual_seed(3)
    assert torch.equal(FAMILY.logits(model, BATCH), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("config", OTHERS, ids=lambda config: config.model_type)
def test_an_unknown_block_and_a_head_that_reads_more_are_not_changed(
    config: transformers.PretrainedConfig,
) -> None:
    model = made(config).eval()
    logits = FAMILY.logits(model, BATCH)
    assert not last_block.read_first_only(model, last_of(model))
    assert torch.equal(FAMILY.logits(model, BATCH), logits)


def test_a_head_that_reads_the_mean_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(configs()[0]).eval()
    pool = model.bert.pooler.forward
    monkeypatch.setattr(model.bert.pooler, "forward", lambda hidden: pool(hidden.mean(1, keepdim=True)))
    assert not last_block.read_first_only(model, last_of(model))


def test_a_head_with_constant_logits_is_not_changed() -> None:
    model = made(configs()[0]).eval()
    nn.init.zeros_(model.classifier.weight)
    assert not last_block.read_first_only(model, last_of(model))


def test_a_model_that_does_not_take_the_made_up_texts_is_not_changed() -> None:
    """BART wants each text to end with a token of its own."""
    sizes = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 64}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.BartConfig(**sizes, **layers, eos_token_id=60)
    model = made(config)
    assert not last_block.read_first_only(model, last_of(model))


def test_it_can_be_compiled() -> None:
    """Up to the backend, which needs a C++ compiler here."""
    model = made(configs()[0]).eval()
    assert last_block.read_first_only(model, last_of(model))
    compiled = torch.compile(model, backend="eager", dynamic=True, fullgraph=True)
    torch.testing.assert_close(FAMILY.logits(compiled, BATCH), FAMILY.logits(model, BATCH))


def test_the_family_builds_its_models_with_it(tmp_path: Path) -> None:
    folder, _ = tiny.make_text_classification(tmp_path)
    model = FAMILY.build(folder, 2)
    batch = {name: tensor[:, :6] for name, tensor in BATCH.items()}
    batch["input_ids"] = batch["input_ids"] % 16
    assert rows_of(model, functools.partial(FAMILY.logits, model, batch)) == [6, 1]
