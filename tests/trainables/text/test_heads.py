"""Heads that read the first token, the mean of all, or both: trained, exported, loaded, and cached as one vector."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import frostline
from frostline.spaces import OWN_POOLING, POOLINGS
from frostline.trainables import _family, _freezing
from frostline.trainables.data.model_files import digest
from frostline.trainables.prefix import features, store
from frostline.trainables.prefix.boundary import Body, survey
from frostline.trainables.text import heads
from frostline.trainables.text_classification import FAMILY
from frostline.trainables.training import training
from tests import tiny
from tests.trainables import tiny_models
from tests.trainables.test_contract import Case

NEW = [pooling for pooling in POOLINGS if pooling != OWN_POOLING]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case("text_classification", tmp_path_factory.mktemp("heads"))


def built(case: Case, pooling: str) -> nn.Module:
    """A new model whose head reads what `pooling` says."""
    model = case.build()
    FAMILY.set_pooling(model, pooling)
    torch.manual_seed(0)
    FAMILY.reset_head(model)
    return model


def trained(case: Case, pooling: str, depth: int = 1) -> tuple[nn.Module, list[training.Report]]:
    model = built(case, pooling)
    return model, case.fit(model, case.recipe(frozen_layers=depth, pooling=pooling))


def test_a_vector_is_what_its_pooling_says_and_heeds_no_padding() -> None:
    hidden = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    spoiled = hidden.masked_fill(~mask[..., None], float("nan"))
    first, mean = hidden[:, 0], torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    for pooling, expected in {"first": first, "mean": mean, "both": torch.cat([first, mean], 1)}.items():
        torch.testing.assert_close(heads.pooled(spoiled, mask, pooling), expected)


@pytest.mark.parametrize("pooling", NEW)
def test_only_the_new_head_trains_beside_the_blocks(case: Case, pooling: str) -> None:
    model = built(case, pooling)
    _freezing.freeze(model, FAMILY.blocks(model), case.info.blocks)
    trains = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    width = 32 * (2 if pooling == "both" else 1)
    assert trains == {"pooled_head.linear.weight": (2, width), "pooled_head.linear.bias": (2,)}


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "gpt2"])
def test_the_models_own_head_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    """To the bit, with its parameters in their order: the state of an optimizer goes by it."""
    model = FAMILY.build(tiny_models.make(kind, tmp_path / "model"), 3).eval()
    batch = {"input_ids": torch.arange(1, 13).view(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    names, before = [name for name, _ in model.named_parameters()], FAMILY.logits(model, batch)
    for pooling in [p for p in FAMILY.poolings(model) if p != OWN_POOLING]:
        FAMILY.set_pooling(model, pooling)
        assert [name for name, _ in model.named_parameters()] != names
        assert not torch.equal(FAMILY.logits(model, batch), before)
    FAMILY.set_pooling(model, OWN_POOLING)
    assert [name for name, _ in model.named_parameters()] == names
    assert torch.equal(FAMILY.logits(model, batch), before)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bert", POOLINGS),
        ("deberta-v2", POOLINGS),
        ("modernbert", POOLINGS),
        ("gpt2", (OWN_POOLING, "mean")),  # its first token has seen no other
        ("opt", (OWN_POOLING, "mean")),  # its outputs are not as wide as its blocks
        ("xlnet", (OWN_POOLING, "mean")),  # padding stands before its first token
        ("bart", (OWN_POOLING,)),
        ("t5", (OWN_POOLING,)),
    ],
)
def test_a_model_has_the_poolings_that_make_sense_for_it(kind: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    model = FAMILY.build(tiny_models.make(kind, tmp_path / "model"), 2)
    assert FAMILY.poolings(model) == expected
    assert heads.head_of(model) is None


def test_a_family_without_poolings_refuses_them(tmp_path: Path) -> None:
    family = _family.load("image_classification")
    model = family.build(tiny.make_vision_model(tmp_path / "model"), 2)
    assert family.poolings(model) == (OWN_POOLING,)
    with pytest.raises(ValueError, match=r"^this family has no pooling 'mean', only 'model'$"):
        family.set_pooling(model, "mean")


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [*((kind, pooling) for kind in ("bert", "roberta") for pooling in NEW), ("gpt2", "mean"), ("xlnet", "mean")],
)
def test_an_export_gives_the_logits_of_the_training(
    kind: str, pooling: str, case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loaded by `frostline.load`, and by the lines of transformers that the model card shows."""
    folder = tiny_models.make(kind, tmp_path / "model")
    model = FAMILY.build(folder, 2)
    FAMILY.set_pooling(model, pooling)
    FAMILY.reset_head(model)
    model.eval()
    recipe = dataclasses.replace(case.recipe(), family="text_classification", pooling=pooling)
    texts, out = case.corpus.inputs["test"], tmp_path / "best"
    examples = FAMILY.open(FAMILY.prepare(folder, case.data, case.corpus), "test")
    batch = examples.batch(np.arange(len(texts)))
    with torch.inference_mode():
        expected = FAMILY.logits(model, batch)
        FAMILY.export(model, folder, case.data, case.corpus.classes, out)
        assert torch.equal(FAMILY.logits(model, batch), expected), "an export leaves the model as it is"
        (out / "recipe.json").write_text(recipe.to_json())
        classify = frostline.load(out)
        inputs = classify.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")  # type: ignore[attr-defined]
        torch.testing.assert_close(classify.model(**inputs).logits, expected, rtol=0, atol=1e-5)  # type: ignore[attr-defined]
    [answer] = classify([texts[0]], top_k=None)
    shares = expected.softmax(1).tolist()
    assert {row["label"]: row["score"] for row in answer} == pytest.approx(
        dict(zip(case.corpus.classes, shares[0], strict=True)), abs=1e-5
    )
    lines = FAMILY.usage(recipe).replace("MODEL_FOLDER", str(out))
    shown: dict[str, Any] = {}
    exec(compile(lines.replace('["A quiet film that stays with you."]', repr(texts)), "usage", "exec"), shown)
    torch.testing.assert_close(shown["logits"], expected, rtol=0, atol=1e-5)
    assert len(capsys.readouterr().out.splitlines()) == len(texts)


@pytest.mark.parametrize("pooling", NEW)
def test_it_can_be_compiled(case: Case, pooling: str) -> None:
    """Up to the backend, which needs a C++ compiler here."""
    model, batch = built(case, pooling).eval(), FAMILY.open(case.entry, "train").batch(np.arange(3))
    compiled = torch.compile(model, backend="eager", dynamic=True, fullgraph=True)
    torch.testing.assert_close(FAMILY.logits(compiled, batch), FAMILY.logits(model, batch))  # type: ignore[arg-type]


def test_an_export_without_its_head_is_one_line(case: Case, tmp_path: Path) -> None:
    """Not a model with a head drawn at random."""
    FAMILY.export(built(case, "mean"), case.model_folder, case.data, case.corpus.classes, tmp_path / "best")
    (tmp_path / "best" / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"best has no head that fits its body: ") as caught:
        FAMILY.load_export(tmp_path / "best")
    assert "\n" not in str(caught.value)


def test_an_export_can_be_trained_again(case: Case, tmp_path: Path) -> None:
    """As a pretrained model, whose head is new."""
    model, _ = trained(case, "mean")
    FAMILY.export(model, case.model_folder, case.data, case.corpus.classes, tmp_path / "best")
    again = FAMILY.build(tmp_path / "best", 3)
    for name, weight in model.base_model.state_dict().items():  # type: ignore[union-attr, operator]
        assert torch.equal(weight, again.base_model.state_dict()[name])  # type: ignore[union-attr, operator]


# --- the prefix cache


def cached(case: Case, pooling: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[nn.Module, Any]:
    """A model, and the vectors of its splits."""
    monkeypatch.setattr(store, "root", lambda: tmp_path / "features")
    splits = {split: FAMILY.open(case.entry, split) for split in features.SPLITS}
    boundaries, _ = survey(case.build(), FAMILY, splits["train"], [pooling])
    assert [b.depth for b in boundaries] == list(range(1, case.info.blocks + 1))
    assert boundaries[-1].pooled == (pooling,)
    wanted = features.Wanted(
        entry=case.entry,
        weights=digest(case.model_folder),
        boundaries=tuple(b.depth for b in boundaries),
        first_only=(),
        pooled=pooling,
        dtype="float32",
        device="cpu",
        threads=1,
        limit=1e9,
    )
    model = built(case, pooling)
    return model, features.prepare(Body.of(model, FAMILY), splits, wanted, case.info.blocks)


@pytest.mark.parametrize("pooling", NEW)
def test_a_linear_probe_trains_from_one_vector_an_example(
    pooling: str, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It scores as one that reads the texts, and runs nothing of the body."""
    _, expected = trained(case, pooling, case.info.blocks)
    model, splits = cached(case, pooling, monkeypatch, tmp_path)
    batch = splits["train"].batch(np.arange(5))
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "labels": (5,),
        "pooled": (5, 64 if pooling == "both" else 32),
    }
    ran: list[nn.Module] = []
    for module in model.base_model.modules():  # type: ignore[union-attr]
        module.register_forward_pre_hook(lambda module, _: ran.append(module))
    monkeypatch.setattr(FAMILY, "open", lambda _entry, split: splits[split])
    found = case.fit(model, case.recipe(frozen_layers=case.info.blocks, pooling=pooling))
    assert ran == []
    for with_, without in zip(found, expected, strict=True):
        assert with_.metrics == pytest.approx(without.metrics, rel=1e-4)


def test_a_norm_after_the_last_block_goes_on_training_so_that_its_input_is_stored(case: Case, tmp_path: Path) -> None:
    folder = tiny_models.make("gpt2", tmp_path / "model")
    examples = FAMILY.open(FAMILY.prepare(folder, case.data, case.corpus), "train")
    boundaries, _ = survey(FAMILY.build(folder, 2), FAMILY, examples, [OWN_POOLING, "mean"])
    assert [b.depth for b in boundaries] == [1, 2, 3, 4]
    assert not any(b.pooled or b.first_only for b in boundaries)


def test_a_weight_after_the_last_block_is_noticed_where_it_changes_no_number_yet(case: Case) -> None:
    model, examples = case.build(), FAMILY.open(case.entry, "train")
    scale = nn.Parameter(torch.ones(1))
    model.base_model.register_parameter("scale", scale)  # type: ignore[union-attr, operator]

    def scaled(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * scale
        return output

    model.base_model.encoder.register_forward_hook(scaled)  # type: ignore[union-attr]
    assert not survey(model, FAMILY, examples, ["mean"])[0][-1].pooled
    scale.requires_grad_(False)
    scale.data = torch.full((1,), 2.0)
    assert not survey(model, FAMILY, examples, ["mean"])[0][-1].pooled


def test_several_poolings_share_all_boundaries_but_the_last(case: Case) -> None:
    examples = FAMILY.open(case.entry, "train")
    one, _ = survey(case.build(), FAMILY, examples)
    all_, _ = survey(case.build(), FAMILY, examples, POOLINGS)
    assert [(b.depth, b.values) for b in all_[:-1]] == [(b.depth, b.values) for b in one[:-1]]
    assert all_[-1].first_only
    assert all_[-1].pooled == tuple(NEW)
    assert (one[-1].values, all_[-1].values) == (32, 32 + 32 + 32 + 64)
