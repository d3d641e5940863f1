"""Image classifiers of transformers: each kind trains at every depth, is exported, and answers as it was evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from PIL import Image

from frostline.spaces import Data
from frostline.trainables import _freezing
from frostline.trainables._modules import weights_of
from frostline.trainables.image_classification import FAMILY, load
from frostline.trainables.prefix import boundary
from frostline.trainables.vision import network
from frostline.trainables.vision.pictures import cropped, resized
from tests import tiny
from tests.trainables.vision import tiny_transformers
from tests.trainables.vision.tiny_transformers import TRAINED

_CLASSES = ("cat", "dog", "fox")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def _photo(seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((150, 110), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", TRAINED)
def test_each_kind_trains_at_every_depth_and_answers_as_it_was_evaluated(kind: str, made: Path, tmp_path: Path) -> None:
    folder = tiny_transformers.make(made / kind, kind, TRAINED[kind])
    size = TRAINED[kind].size
    assert FAMILY.inputs(folder, Data(source="x")) == f"{size} x {size} pixels"
    assert FAMILY.describe(folder).blocks == TRAINED[kind].blocks
    torch.manual_seed(0)
    model = FAMILY.build(folder, len(_CLASSES))
    FAMILY.reset_head(model)
    blocks, transform = FAMILY.blocks(model), network.transform_of(folder)
    images = [_photo(seed) for seed in range(4)]
    pixels = torch.stack(
        [cropped(torch.from_numpy(np.array(resized(image, transform))).permute(2, 0, 1), transform) for image in images]
    ).contiguous(memory_format=torch.channels_last)
    for depth in (0, len(blocks) // 2, len(blocks)):
        _freezing.freeze(model, blocks, depth)
        _freezing.training_mode(model, blocks, depth)
        before = {name: weights.clone() for name, weights in model.named_parameters()}
        trained = [weights for weights in model.parameters() if weights.requires_grad]
        optimizer = torch.optim.SGD(trained, 0.01)
        FAMILY.loss(FAMILY.logits(model, {"pixels": pixels}), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()
        frozen = {id(weights) for block in blocks[:depth] for part in block for weights in weights_of(part)}
        moved = {name for name, weights in model.named_parameters() if not torch.equal(weights, before[name])}
        assert moved
        assert not any(id(weights) in frozen and name in moved for name, weights in model.named_parameters())
    model.eval()
    with torch.inference_mode():
        expected = FAMILY.logits(model, {"pixels": pixels})
    FAMILY.export(model, folder, Data(source="x"), _CLASSES, tmp_path / "best")
    classify = load(tmp_path / "best")
    assert classify.classes == _CLASSES
    torch.testing.assert_close(
        torch.stack([classify.logits(image) for image in images]), expected, rtol=1e-4, atol=1e-4
    )
    pipe = transformers.pipeline("image-classification", str(tmp_path / "best"))
    for image, scores in zip(images, expected.softmax(1), strict=True):
        likely = {answer["label"]: answer["score"] for answer in pipe(image)}
        # transformers resizes with another library: pixels differ by 1 of 255.
        assert [likely[name] for name in _CLASSES] == pytest.approx(scores.tolist(), abs=0.04)


_REFUSED = {
    "donut-swin": "takes|not known here|only square",
    "imagegpt": "Clusters must be provided",
    "perceiver": "not known here",
    "pp_lcnet": "not known here",
    "siglip2": "has no image processor that can be used here",
    "swiftformer": "has 2 heads; one is needed",
    "textnet": "has no image processor that can be used here",
}


@pytest.mark.parametrize("kind", _REFUSED)
def test_a_kind_that_cannot_train_is_one_line(kind: str, tmp_path: Path) -> None:
    tiny = tiny_transformers.REFUSED[kind]
    folder = tiny_transformers.make(tmp_path / kind, kind, tiny)
    with pytest.raises(ValueError, match=_REFUSED[kind]) as refused:
        FAMILY.inputs(folder, Data(source="x"))
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_processor_or_with_a_model_of_texts_is_one_line(made: Path, tmp_path: Path) -> None:
    folder = tiny_transformers.make(tmp_path / "vit", "vit", TRAINED["vit"])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"no image processor .* it has no preprocessor_config\.json; write it there"):
        FAMILY.inputs(folder, Data(source="x"))
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    safetensors.torch.save_file({}, tmp_path / "bert" / "model.safetensors")
    with pytest.raises(ValueError, match=r"is not an image classifier of .*, and its model_type is 'bert'$"):
        FAMILY.build(tmp_path / "bert", 2)


def test_weights_without_a_head_are_a_pretrained_body_and_others_are_refused(tmp_path: Path) -> None:
    """As `google/vit-base-patch16-224-in21k` and `facebook/dinov2-base` are."""
    folder = tiny_transformers.make(tmp_path / "vit", "vit", TRAINED["vit"])
    whole = transformers.AutoModelForImageClassification.from_pretrained(folder)
    whole.vit.save_pretrained(folder)
    assert torch.equal(FAMILY.build(folder, 2).vit.layernorm.weight, whole.vit.layernorm.weight)
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state[min(state)]
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 weights of the model's body, first vit"):
        FAMILY.build(folder, 2)


@pytest.mark.parametrize("name", ["DeiTForImageClassificationWithTeacher", "LevitForImageClassificationWithTeacher"])
def test_a_distilled_model_is_trained_as_a_usual_one(name: str, tmp_path: Path) -> None:
    """As `facebook/deit-base-distilled-patch16-224` and `facebook/levit-128S` are."""
    kind = name.partition("For")[0].lower()
    folder = tiny_transformers.make(tmp_path / kind, kind, TRAINED[kind])
    config = transformers.AutoConfig.from_pretrained(folder)
    getattr(transformers, name)(config).save_pretrained(folder)
    assert FAMILY.describe(folder).blocks == TRAINED[kind].blocks


def test_a_network_of_convolutions_takes_another_size_and_its_processor_is_exported_with_it(tmp_path: Path) -> None:
    folder, data = (
        tiny_transformers.make(tmp_path / "resnet", "resnet", TRAINED["resnet"]),
        Data(source="x", image_size=48),
    )
    assert FAMILY.inputs(folder, data) == "48 x 48 pixels"
    FAMILY.export(FAMILY.build(folder, 2), folder, data, ("a", "b"), tmp_path / "best")
    assert network.transform_of(tmp_path / "best") == network.transform_of(folder).at(48)
    pipe = transformers.pipeline("image-classification", str(tmp_path / "best"))
    scores = load(tmp_path / "best")(_photo())
    assert {answer["label"]: answer["score"] for answer in pipe(_photo())} == pytest.approx(scores, abs=0.01)
    config = json.loads((tmp_path / "best" / "config.json").read_text())
    assert config["id2label"] == {"0": "a", "1": "b"}


# A stage of Swin hands on a size beside its output, so a training cannot start there.
@pytest.mark.parametrize(("kind", "depths"), [("vit", [1, 2, 3, 4]), ("resnet", [1, 2, 3, 4]), ("swin", [])])
def test_outputs_of_its_blocks_can_be_kept(kind: str, depths: list[int], tmp_path: Path) -> None:
    folder = tiny_transformers.make(tmp_path / kind, kind, TRAINED[kind])
    data = Data(source=str(tiny.make_pictures(tmp_path / "pictures", {"blue": 20, "red": 20})))
    entry = FAMILY.prepare(folder, data, tiny.corpus(data, 8, FAMILY.read_rows))
    boundaries, _ = boundary.survey(FAMILY.build(folder, 2), FAMILY, FAMILY.open(entry, "train"))
    assert [each.depth for each in boundaries] == depths
