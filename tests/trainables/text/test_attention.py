"""Attention with dropout on a CPU, compared with torch's own."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from frostline.trainables.text import attention
from frostline.trainables.text.attention import DroppingAttention
from frostline.trainables.text_classification import FAMILY
from tests import tiny
from tests.trainables.encoders import SIZES, configs

WIDTH, SCALE = 4, 0.5


def inputs(
    examples: int, heads: int, queries: int, keys: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = ((queries, WIDTH), (keys, WIDTH), (keys, WIDTH + 1))
    # Examples, positions, heads, width in memory, as a layer hands them over.
    made = [torch.randn(examples, n, heads, width, generator=draw, dtype=dtype) for n, width in shapes]
    query, key, value = (tensor.transpose(1, 2).requires_grad_() for tensor in made)
    return query, key, value


def padding(examples: int, queries: int, keys: int) -> Tensor:
    """Bool [examples, 1, queries, keys]: the first example whole, each one after it a key shorter."""
    real = torch.arange(keys) < keys - torch.arange(examples)[:, None]
    return real[:, None, None].expand(-1, 1, queries, -1)


def window(examples: int, queries: int, keys: int) -> Tensor:
    """Bool, shape as in `padding`: each query sees two keys to either side, as in a sliding window."""
    near = (torch.arange(queries)[:, None] - torch.arange(keys)).abs() <= 2
    return near & padding(examples, queries, keys)


def slopes(examples: int, queries: int, keys: int) -> Tensor:
    """Float, a few heads: a term of the scores that all but masks the last keys."""
    bias = torch.arange(5.0, dtype=torch.float64)[:, None, None] * torch.arange(keys)
    return bias.masked_fill(torch.arange(keys) >= keys - 1, torch.finfo(torch.float64).min).expand(1, 5, queries, -1)


MASKS = [None, padding, window, slopes]


def plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, seed: int, keep: float) -> Tensor:
    """The same attention in whole tensors, with the same masks."""
    scores = SCALE * query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1)
    kept = attention.Masks(seed, keep).draw(tuple(weights.shape))
    return weights * torch.from_numpy(kept) / keep @ value


@pytest.fixture(params=[2**18, 1, 50], ids=["one tile", "a head a tile", "a ragged last tile"])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_TILE", request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("mask_of", MASKS)
@pytest.mark.parametrize("keep", [1.0, 0.75])
def test_values_and_gradients_are_those_of_whole_tensors(
    mask_of: Callable[[int, int, int], Tensor] | None, keep: float
) -> None:
    # 24 scores a head: a tile draws whole words of four elements, so the masks do not depend on the tiles.
    tensors, mask = inputs(3, 5, 4, 6), mask_of(3, 4, 6) if mask_of else None
    bias = None if mask is None else attention._bias(mask, tensors[0]).expand(3, 5, -1, -1)
    output = DroppingAttention.apply(*tensors, bias, keep, SCALE, 11)
    expected = plain(*tensors, mask, 11, keep)
    if keep == 1:
        own = scaled_dot_product_attention(*tensors, attn_mask=mask, scale=SCALE)
        torch.testing.assert_close(expected, own)
    torch.testing.assert_close(output, expected)
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=output.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(output, tensors, slope), torch.autograd.grad(expected, tensors, slope)
    )


@pytest.mark.parametrize("padded", [False, True])
def test_gradients_are_those_of_finite_differences(padded: bool) -> None:
    tensors = inputs(2, 2, 3, 5)
    bias = attention._bias(padding(2, 3, 5), tensors[0]).expand(2, 2, -1, -1) if padded else None
    assert torch.autograd.gradcheck(lambda *t: DroppingAttention.apply(*t, bias, 0.75, SCALE, 5), tensors)


def test_a_bias_is_one_row_if_all_queries_see_the_same_keys() -> None:
    like = torch.empty(0)
    row = attention._bias(padding(3, 4, 6), like)
    assert torch.equal(row == 0, padding(3, 1, 6))
    assert torch.equal(attention._bias(window(3, 4, 6), like) == 0, window(3, 4, 6))
    assert torch.isfinite(attention._bias(slopes(3, 4, 6), like)).all()


def test_dropout_changes_nothing_on_average() -> None:
    query, key, value = (tensor.detach() for tensor in inputs(1, 2, 5, 7))
    seeds, whole = range(1000), scaled_dot_product_attention(query, key, value, scale=SCALE)
    runs = torch.stack([DroppingAttention.apply(query, key, value, None, 0.9, SCALE, seed) for seed in seeds])
    error = runs.std(0) / len(runs) ** 0.5
    assert ((runs.mean(0) - whole).abs() < 4.5 * error).all()
    assert (error > 0).all()


@pytest.mark.parametrize(("p", "keep"), [(0.1, 58982 / 65536), (0.5, 0.5), (1e-9, 1.0), (1 - 1e-9, 1 / 65536)])
def test_elements_are_kept_with_the_probability_that_they_are_scaled_by(p: float, keep: float) -> None:
    assert attention.kept(p) == keep
    size = 400_000
    mask = attention.Masks(9, keep).draw((size,))
    assert abs(mask.mean() - keep) <= 5 * (keep * (1 - keep) / size) ** 0.5
    neighbours = np.corrcoef(mask[:-1], mask[1:])[0, 1] if 0 < keep < 1 else 0.0
    assert abs(neighbours) < 5 / size**0.5


def test_a_mask_has_any_shape_and_comes_from_torchs_generator() -> None:
    torch.manual_seed(4)
    first, second = attention.new_seed(), attention.new_seed()
    torch.manual_seed(4)
    assert (attention.new_seed(), first != second) == (first, True)
    masks = [attention.Masks(seed, 0.5).draw((3, 7, 11)) for seed in (first, first, second)]
    assert (masks[0] == masks[1]).all()
    assert 0.3 < (masks[0] == masks[2]).mean() < 0.7


def test_dropout_layers_drop_and_scale_and_their_gradient_does_the_same() -> None:
    layer, x = attention.Dropout(0.25), torch.ones(100, 100, requires_grad=True)
    y = layer(x)
    scale = torch.tensor(1 / 0.75)
    assert y.unique().tolist() == [0, scale.item()]
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert layer.eval()(x) is x
    torch.manual_seed(0)
    bfloat16 = nn.Dropout(0.25)(x.bfloat16())
    torch.manual_seed(0)
    assert torch.equal(layer.train()(x.bfloat16()), bfloat16)  # what numpy does not know is torch's


MODELS = [
    *configs(),
    transformers.DebertaV2Config(**SIZES),
    transformers.ModernBertConfig(**SIZES, pad_token_id=0, attention_dropout=0.1),
]


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.model_type)
def test_a_model_trains_with_it_evaluates_as_before_and_is_saved_as_before(
    config: transformers.PretrainedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    batch = {"input_ids": torch.arange(1, 25).view(3, 8), "attention_mask": padding(3, 1, 8)[:, 0, 0].long()}
    names, takes_sdpa = list(model.state_dict()), model.config.model_type != "deberta-v2"
    assert takes_sdpa == (model.config._attn_implementation == "sdpa")
    with torch.inference_mode():
        before = FAMILY.logits(model, batch)
    model.save_pretrained(tmp_path / "before")
    attention.speed_up(model)
    with torch.inference_mode():
        assert torch.equal(FAMILY.logits(model, batch), before)
    calls = []
    apply = DroppingAttention.apply
    monkeypatch.setattr(DroppingAttention, "apply", lambda *args: (calls.append(args), apply(*args))[1])
    model.train()
    torch.manual_seed(0)
    logits = FAMILY.logits(model, batch)
    logits.sum().backward()
    assert len(calls) == (2 if takes_sdpa else 0)
    torch.manual_seed(0)
    assert torch.equal(FAMILY.logits(model, batch), logits)
    assert not torch.equal(FAMILY.logits(model, batch), logits)
    model.save_pretrained(tmp_path / "after")
    assert list(model.state_dict()) == names
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "after" / file).read_bytes() == (tmp_path / "before" / file).read_bytes()


def test_an_export_knows_nothing_of_it(tmp_path: Path) -> None:
    folder, data = tiny.make_text_classification(tmp_path)
    model = FAMILY.build(folder, 2)
    assert model.config._attn_implementation == attention._NAME
    FAMILY.export(model, folder, data, ("neg", "pos"), tmp_path / "out")
    assert "attn" not in json.dumps(json.loads((tmp_path / "out" / "config.json").read_text()))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert loaded.config._attn_implementation == "sdpa"
    assert not any(isinstance(module, attention.Dropout) for module in loaded.modules())


def test_without_dropout_a_causal_layer_and_learnt_biases_are_left_to_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DroppingAttention, "apply", lambda *_: pytest.fail("not SDPA"))
    query, key, value = inputs(2, 2, 4, 4)
    layer = nn.Module()
    layer.is_causal = False  # type: ignore[assignment]
    output, _ = attention.attention(layer, query, key, value, None)
    torch.testing.assert_close(output, scaled_dot_product_attention(query, key, value).transpose(1, 2))
    attention.attention(layer, query, key, value, None, dropout=0.1, is_causal=True)
    bias = torch.zeros(2, 1, 4, 4, dtype=query.dtype, requires_grad=True)
    attention.attention(layer, query, key, value, bias, dropout=0.1)
    attention.attention(layer, query, key, value, None, dropout=0.1, position_bias=bias.detach())
