"""Image classification with any classifier of timm, torchvision or transformers."""

import dataclasses
import functools
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import InterpolationMode, v2

from frostline.spaces import Data, Recipe
from frostline.trainables import _sizes
from frostline.trainables._baseline import Answers, TrainedBaseline
from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._freezing import Block
from frostline.trainables.data import model_files
from frostline.trainables.data.cache import cached, code_version, entry_of, open_array
from frostline.trainables.data.corpus import SPLITS, Array, Corpus
from frostline.trainables.data.rows import Rows
from frostline.trainables.vision import features, network, picture_rows, picture_store, zoo
from frostline.trainables.vision.blocks import CODE as BLOCKS_CODE
from frostline.trainables.vision.blocks import blocks_of, draw_again, head_of
from frostline.trainables.vision.picture_store import Stored
from frostline.trainables.vision.pictures import channels_first, cropped, resized
from frostline.trainables.vision.reading import PLAIN, Reading, converted
from frostline.trainables.vision.transform import Transform

_READING = "reading.json"
"""The file of an export that says how its data set's pictures were read, where that is not the usual way."""

_WITH_ALPHA = 4
"""Channels of a picture whose transparency is kept."""

_ON_TENSORS = {InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC}
"""Filters with which torchvision can resize tensors."""


class Pictures(Examples):
    """The pictures of one split. All have one shape, so none costs more than another."""

    def __init__(
        self, stored: Stored, labels: Array, transform: Transform, view: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """`view`: makes the model's input of a resized picture, uint8 [channels, crop, crop]; by default its middle."""
        self.labels, self.stored, self.transform = labels, stored, transform
        self.lengths = np.ones_like(labels)
        self._view = view or functools.partial(cropped, transform=transform)

    def batch(self, indices: Array) -> Batch:
        """`pixels`, uint8 [examples, channels, crop, crop], channels last, and `labels`, int64 [examples]."""
        pixels = torch.stack([self._view(picture) for picture in self.stored(indices)])
        return {
            "pixels": pixels.contiguous(memory_format=torch.channels_last),
            "labels": torch.from_numpy(self.labels[indices]),
        }


class ImageClassification(Family):
    """One picture in, one of several classes out."""

    baseline_name = features.NAME
    code = (Pictures, Stored, cropped, network.build, *BLOCKS_CODE)
    knobs = frozenset(("augmentation", "dropout"))
    library_name = "pytorch"

    def model_folder(self, source: str) -> Path:
        return zoo.model_folder(source)

    def read_rows(self, data: Data) -> dict[str, Rows]:
        return picture_rows.read_rows(data)

    def try_out(self, folder: Path, model: nn.Module) -> tuple[str, ...]:
        network.check_weights(folder)
        return ()

    def inputs(self, folder: Path, data: Data) -> str:
        transform = network.transform_of(folder).at(data.image_size)
        model, own = self.build(folder, 2).eval(), network.transform_of(folder).crop
        advice = (
            ""
            if own == transform.crop
            else f" (the profile's image_size; the model's own size is {own}, which --profile full takes)"
        )
        problem = f"does not take pictures of {transform.crop} pixels{advice}"
        with model_files.loading(folder, problem), torch.inference_mode():
            self.logits(
                model,
                {"pixels": torch.zeros(1, len(transform.mean), transform.crop, transform.crop, dtype=torch.uint8)},
            )
        return f"{transform.crop} x {transform.crop} pixels"

    def remarks(self, folder: Path, data: Data, corpus: Corpus) -> list[str]:
        transform = network.transform_of(folder).at(data.image_size)
        notes = [picture_store.storage(corpus, transform, entry_of(_key(corpus, transform)))[1]]
        if len(transform.mean) == _WITH_ALPHA:
            notes.append("pictures of 4 channels are cropped and mirrored only: RandAugment knows 1 and 3")
        return notes

    def trained_baseline(self, folder: Path, data: Data, corpus: Corpus) -> TrainedBaseline:
        entry = self.prepare(folder, data, corpus)
        arguments = {"folder": str(folder), "entry": str(entry), "classes": len(corpus.classes)}
        return TrainedBaseline(name=self.baseline_name, compute=baseline, arguments=arguments)

    def prepare(self, folder: Path, data: Data, corpus: Corpus) -> Path:
        transform = network.transform_of(folder).at(data.image_size)

        def make(entry: Path) -> dict[str, Array]:
            (entry / "transform.json").write_text(json.dumps(dataclasses.asdict(transform)), encoding="utf-8")
            return picture_store.arrays(corpus, transform, picture_store.storage(corpus, transform)[0], entry)

        return cached(_key(corpus, transform), make)

    def open(self, entry: Path, split: str) -> Pictures:
        transform = Transform.of(json.loads((entry / "transform.json").read_text(encoding="utf-8")))
        labels = open_array(entry, f"{split}-labels")
        return Pictures(Stored(entry, split, transform), labels, transform)

    def augmented(self, examples: Examples, recipe: Recipe) -> Examples:
        if recipe.augmentation == "none":
            return examples
        assert isinstance(examples, Pictures)
        transform = examples.transform
        mode = InterpolationMode(transform.interpolation)
        if mode not in _ON_TENSORS:
            mode = InterpolationMode.BICUBIC
        views: list[Any] = [
            v2.RandomResizedCrop(transform.crop, scale=(0.5, 1.0), interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        if recipe.augmentation != "light" and len(transform.mean) != _WITH_ALPHA:
            magnitude = int(recipe.augmentation.rpartition("-")[2])
            views.append(v2.RandAugment(magnitude=magnitude))
        return Pictures(examples.stored, examples.labels, transform, v2.Compose(views))

    def build(self, folder: Path, classes: int) -> nn.Module:
        model, transform = network.build(folder, classes), network.transform_of(folder)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(transform, name)).view(1, -1, 1, 1)
            model.register_buffer(f"pixel_{name}", values, persistent=False)
        model.pixel_is_reversed = transform.is_reversed  # type: ignore[assignment]
        _take_over_dropout(model)
        return model

    def configure(self, model: nn.Module, recipe: Recipe) -> None:
        dropout = head_of(model)[1].dropout  # type: ignore[union-attr]
        dropout.p = dropout.pretrained if recipe.dropout is None else recipe.dropout  # type: ignore[union-attr]

    def reset_head(self, model: nn.Module) -> None:
        draw_again(head_of(model)[1])

    def blocks(self, model: nn.Module) -> list[Block]:
        return blocks_of(model)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        pixels = batch["pixels"].float() / 255
        if model.pixel_is_reversed:
            pixels = pixels.flip(1)
        output = model((pixels - model.pixel_mean) / model.pixel_std)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def export(self, model: nn.Module, folder: Path, data: Data, classes: tuple[str, ...], out: Path) -> None:
        network.save(model, folder, network.transform_of(folder).at(data.image_size), classes, out)

    def complete_export(self, entry: Path, out: Path) -> None:
        record = (entry / "reading.json").read_text(encoding="utf-8")
        if Reading(**json.loads(record)) != PLAIN:
            (out / _READING).write_text(record + "\n", encoding="utf-8")

    def load_export(self, folder: Path) -> "Classifier":
        return load(folder)

    def load_line(self, recipe: Recipe) -> str:
        return 'frostline.load("MODEL_FOLDER")'

    def usage(self, recipe: Recipe) -> str:
        return (
            "from PIL import Image\n"
            "from frostline.trainables.image_classification import load\n\n"
            'classify = load("MODEL_FOLDER")\n'
            'print(classify(Image.new("RGB", (300, 200))))'
        )


def baseline(*, folder: str, entry: str, classes: int) -> Answers:
    """The answers of a logistic regression on what the pretrained network makes of the pictures.

    Args:
        folder: the model's.
        entry: the prepared pictures.
        classes: number of classes.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, splits = FAMILY.build(Path(folder), classes), {split: FAMILY.open(Path(entry), split) for split in SPLITS}

    def run(split: str, pictures: Array) -> None:
        FAMILY.logits(model, splits[split].batch(pictures))

    sizes = {split: len(pictures.labels) for split, pictures in splits.items()}
    return features.answers(model, run, np.asarray(splits["train"].labels), sizes, classes)


def _key(corpus: Corpus, transform: Transform) -> dict[str, Any]:
    """Everything that decides the pictures a model sees. How they are stored is not part of it: each machine decides
    that by the room it has."""
    return {
        "family": "image_classification",
        "data": corpus.fingerprint,
        "transform": dataclasses.asdict(transform),
        "reading": dataclasses.asdict(picture_store.reading_of(corpus)),
        "library": [version("pillow")],
        "code": code_version(*picture_store.CODE),
    }


def _reading_in(folder: Path) -> Reading:
    path = folder / _READING
    if not path.is_file():
        return PLAIN
    with model_files.loading(folder, f"has an unreadable {_READING}"):
        return Reading(**json.loads(path.read_text(encoding="utf-8")))


class Classifier:
    """An exported model with its transform."""

    def __init__(self, folder: Path) -> None:
        self.classes = network.class_names(folder)
        self.transform = network.transform_of(folder)
        self.reading = _reading_in(folder)
        self._model = FAMILY.build(folder, len(self.classes)).eval()

    @torch.inference_mode()
    def logits(self, image: Image.Image) -> Tensor:
        """Score of each class, float32 [classes]."""
        image = converted(image, self.reading, self.transform.mode)
        view = cropped(channels_first(np.array(resized(image, self.transform))), self.transform)[None].contiguous(
            memory_format=torch.channels_last
        )
        return FAMILY.logits(self._model, {"pixels": view})[0]

    def __call__(self, image: Image.Image) -> dict[str, float]:
        """Probability of each class by its name, the likeliest first."""
        probabilities = dict(zip(self.classes, self.logits(image).softmax(0).tolist(), strict=True))
        return dict(sorted(probabilities.items(), key=lambda item: -item[1]))


def load(folder: str | Path) -> Classifier:
    """The model in an export's folder (`best/`), ready to be called with a picture.

    Raises:
        ValueError: the folder holds no export.
    """
    _sizes.check(Path(folder))
    return Classifier(Path(folder))


def _take_over_dropout(model: nn.Module) -> None:
    """Replace all dropout outside of the blocks by one on the input of the head, so that a recipe can set its rate."""
    in_blocks = {
        id(module)
        for block in blocks_of(model)
        for part in block
        if isinstance(part, nn.Module)
        for module in part.modules()
    }
    outside = [m for m in model.modules() if isinstance(m, nn.Dropout) and id(m) not in in_blocks]
    pretrained = max((dropout.p for dropout in outside), default=0.0)
    for dropout in outside:
        dropout.p = 0.0
    head = head_of(model)[1]
    head.dropout = _Rate(pretrained)  # type: ignore[assignment]
    head.register_forward_pre_hook(_drop)


class _Rate:
    """Probability of the head's dropout: the pretrained model's, and the one in use."""

    def __init__(self, pretrained: float) -> None:
        self.pretrained = self.p = pretrained


def _drop(head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (functional.dropout(inputs[0], head.dropout.p, head.training), *inputs[1:])  # type: ignore[union-attr]


FAMILY = ImageClassification()
