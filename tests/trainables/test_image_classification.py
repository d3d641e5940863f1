"""The parts that only this family has: augmentation, frozen batch norm, dropout, the exported transform."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables import _freezing
from frostline.trainables.data.corpus import Corpus
from frostline.trainables.image_classification import FAMILY, load
from frostline.trainables.training import loop, training
from frostline.trainables.vision.blocks import head_of
from frostline.trainables.vision.reading import decode
from tests import tiny
from tests.trainables.points import grouped

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data, Corpus, Path]:
    folder = tmp_path_factory.mktemp("made")
    data = tiny.make_image_classification(folder)[1]
    model = tiny.make_vision_model(folder / "resnet", "resnet18")
    corpus = tiny.corpus(data, 8, FAMILY.read_rows)
    return model, data, corpus, FAMILY.prepare(model, data, corpus)


def _recipe(data: Data, **changes: object) -> Recipe:
    fields = {"learning_rate": 1e-3, "batch_size": 16, "frozen_layers": 0, "weight_decay": 0.01, **changes}
    budget = Budget(trials=1, epochs=1, first_rung=1)
    return Recipe(family="image_classification", model="m", data=data, budget=budget, **fields)


def _fit(made: tuple[Path, Data, Corpus, Path], recipe: Recipe) -> tuple[nn.Module, list[training.Report]]:
    model_folder, _, corpus, entry = made
    torch.manual_seed(0)
    model = FAMILY.build(model_folder, len(corpus.classes))
    FAMILY.configure(model, recipe)
    reports: list[training.Report] = []
    train = FAMILY.augmented(FAMILY.open(entry, "train"), recipe)
    validation = FAMILY.open(entry, "validation")
    splits = {"train": train, "validation": validation}
    loop.fit(model, FAMILY, recipe, splits, **grouped(at=(1.0,), to=reports.append))
    return model, reports


def test_frozen_batch_norm_keeps_its_statistics_to_the_bit_and_the_rest_moves(
    made: tuple[Path, Data, Corpus, Path],
) -> None:
    before = {name: tensor.clone() for name, tensor in FAMILY.build(made[0], 2).state_dict().items()}
    model, _ = _fit(made, _recipe(made[1], frozen_layers=3))
    frozen = [n for n in before if "running" in n and not n.startswith(("layer3", "layer4"))]
    trained = [n for n in before if "running" in n and n.startswith(("layer3", "layer4"))]
    assert len(frozen) > 10
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in frozen)
    assert all(not torch.equal(before[name], model.state_dict()[name]) for name in trained)
    _freezing.training_mode(model, FAMILY.blocks(model), 3)
    norms = [
        m
        for block in FAMILY.blocks(model)[:3]
        for part in block
        for m in part.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    assert not any(norm.training for norm in norms)
    assert model.layer4.training


def test_a_batch_is_not_split_if_batch_norm_trains(made: tuple[Path, Data, Corpus, Path]) -> None:
    assert _fit(made, _recipe(made[1]))[1][0].micro_batch == 16
    assert _fit(made, _recipe(made[1], frozen_layers=5))[1][0].micro_batch == 8


@pytest.mark.parametrize("augmentation", ["light", "randaugment-9"])
def test_augmented_pictures_differ_at_each_read_and_come_from_the_seed(
    made: tuple[Path, Data, Corpus, Path], augmentation: str
) -> None:
    plain = FAMILY.open(made[3], "train")
    augmented = FAMILY.augmented(plain, _recipe(made[1], augmentation=augmentation))
    torch.manual_seed(1)
    one, two = (augmented.batch(np.arange(4))["pixels"] for _ in range(2))
    torch.manual_seed(1)
    again = augmented.batch(np.arange(4))["pixels"]
    assert one.shape == plain.batch(np.arange(4))["pixels"].shape == (4, 3, 32, 32)
    assert one.dtype == torch.uint8
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert not torch.equal(one, plain.batch(np.arange(4))["pixels"])
    assert _fit(made, _recipe(made[1], augmentation=augmentation))[1][0].metrics["accuracy"] >= 0


def test_dropout_is_the_recipes_or_else_the_models_own(tmp_path: Path) -> None:
    folder = tiny.make_vision_model(tmp_path / "model", "efficientnet_b0")  # its own: 0.2
    model, data = FAMILY.build(folder, 2).train(), Data(source="x")
    head, inputs = head_of(model)[1], torch.ones(64, 1280)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    for asked, expected in ((None, 0.2), (0.5, 0.5), (0.0, 0.0)):
        FAMILY.configure(model, _recipe(data, dropout=asked))
        kept = head(inputs)[:, 0] * (1 - expected) / 1280  # what is kept is scaled up
        assert kept.mean().item() == pytest.approx(1 - expected, abs=0.01)
    assert [m.p for m in model.classifier if isinstance(m, nn.Dropout)] == [0.0], "not twice"
    assert torch.equal(head.eval()(inputs), torch.full((64, 2), 1280.0))


def test_label_smoothing_reaches_the_training_loss_only(made: tuple[Path, Data, Corpus, Path]) -> None:
    logits, labels = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1])
    assert FAMILY.loss(logits, labels, 0.2) > 5 * FAMILY.loss(logits, labels)
    (plain,), (smooth,) = (_fit(made, _recipe(made[1], label_smoothing=s))[1] for s in (0.0, 0.3))
    assert smooth.metrics["train_loss"] != plain.metrics["train_loss"]


def test_macro_f1_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 4, generator=generator), torch.randint(0, 3, (50,), generator=generator)
    logits[:, 3] = -9  # a class that is neither there nor predicted
    scores = FAMILY.score(logits, labels)
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    assert scores["accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_the_export_predicts_what_the_trained_model_does(
    made: tuple[Path, Data, Corpus, Path], kind: str, tmp_path: Path
) -> None:
    model_folder, data, corpus, entry = made
    if kind == "timm":
        torch.manual_seed(0)
        model_folder = tmp_path / "timm"
        timm.models.save_for_hf(timm.create_model("resnet18"), model_folder, safe_serialization=True)
        data = Data(**{**_fields(data), "image_size": 48})
        entry = FAMILY.prepare(model_folder, data, corpus)
    model, _ = _fit((model_folder, data, corpus, entry), _recipe(data))
    FAMILY.export(model, model_folder, data, corpus.classes, tmp_path / "best")
    classify = load(tmp_path / "best")
    assert classify.classes == corpus.classes
    examples = FAMILY.open(entry, "test")
    with torch.inference_mode():
        expected = FAMILY.logits(model.eval(), examples.batch(np.arange(5)))
    images = [decode(picture.read()) for picture in corpus.inputs["test"][:5]]
    torch.testing.assert_close(torch.stack([classify.logits(image) for image in images]), expected)
    probabilities = classify(images[0])
    assert sum(probabilities.values()) == pytest.approx(1)
    assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
    assert FAMILY.describe(tmp_path / "best").blocks == FAMILY.describe(model_folder).blocks, (
        "it can be fine-tuned again"
    )


def _fields(data: Data) -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(data)


def test_timm_loads_the_export_of_its_model_with_the_same_transform(
    made: tuple[Path, Data, Corpus, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "timm"
    timm.models.save_for_hf(timm.create_model("resnet18"), folder, safe_serialization=True)
    data = Data(**{**_fields(made[1]), "image_size": 48})
    FAMILY.export(FAMILY.build(folder, 2), folder, data, ("blue", "red"), tmp_path / "best")
    model = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))
    with torch.inference_mode():
        torch.testing.assert_close(model(transform(image)[None])[0], load(tmp_path / "best").logits(image))


def test_a_size_that_the_model_does_not_take_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    vit = timm.create_model("vit_tiny_patch16_224", depth=2)
    timm.models.save_for_hf(vit, folder, safe_serialization=True, model_args={"depth": 2})
    assert FAMILY.inputs(folder, Data(source="x")) == "224 x 224 pixels"
    with pytest.raises(ValueError, match="does not take pictures of 64 pixels"):
        FAMILY.inputs(folder, Data(source="x", image_size=64))
