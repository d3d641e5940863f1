"""A BERT of 30,000 parameters and a data set it can learn, made on the spot: real formats, no downloads."""

import csv
import random
import zlib
from collections.abc import Callable
from pathlib import Path

from frostline.spaces import Data
from frostline.trainables.data.corpus import Corpus, cut_corpus
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.tables import read_rows

_POSITIVE = ("good", "great", "fine", "lovely", "warm", "bright")
_NEGATIVE = ("bad", "dull", "poor", "cold", "flat", "weak")
_FILLER = ("the", "a", "film", "plot", "actor", "scene", "and", "was", "is", "with", "of", "it")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*_POSITIVE, *_NEGATIVE, *_FILLER)
"""The words of all texts."""


def make_model(folder: Path, layers: int = 2) -> Path:
    """Save a randomly initialised `BertModel` with its tokenizer, as `from_pretrained` reads it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = [*_SPECIAL, *WORDS]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,  # of BERT's 0.02 a model this narrow learns nothing
    )
    BertModel(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    return folder


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label) pairs, all different; half of a text's words tell its label."""
    rng, made = random.Random(seed), set[tuple[str, str]]()
    while len(made) < count:
        label = rng.choice(("neg", "pos"))
        size = rng.randint(3, 10)
        words = rng.choices(_POSITIVE if label == "pos" else _NEGATIVE, k=size) + rng.choices(_FILLER, k=size)
        rng.shuffle(words)
        made.add((" ".join(words), label))
    return sorted(made)


def write_csv(path: Path, table: list[tuple[str, str]], columns: tuple[str, str] = ("text", "label")) -> Path:
    """Write the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *table])
    return path


def make_text_classification(folder: Path) -> tuple[Path, Data]:
    """A model folder and data for the contract test of the family `text_classification`."""
    table = write_csv(folder / "sentences.csv", rows(120))
    data = Data(source=str(table), train=60, validation=20, test=20, max_length=16)
    return make_model(folder / "model"), data


def make_pictures(folder: Path, counts: dict[str, int], size: tuple[int, int] = (40, 32)) -> Path:
    """Save an `ImageFolder` tree of noisy pictures, each class with a colour of its own; class -> pictures."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))  # other pictures in another folder
    for number, (name, count) in enumerate(sorted(counts.items())):
        (folder / name).mkdir(parents=True)
        colour = np.eye(3)[number % 3] * 100
        for i in range(count):
            pixels = (rng.uniform(0, 120, (size[1], size[0], 3)) + colour).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


def make_vision_model(folder: Path, name: str = "resnet18") -> Path:
    """Save a randomly initialised torchvision model as the family reads it; it is made for 32 x 32 pixels."""
    import torch
    import torchvision

    from frostline.trainables.vision import network
    from frostline.trainables.vision.transform import Transform

    torch.manual_seed(7)
    model = torchvision.models.get_model(name, weights=None)
    transform = Transform(resize=36, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")
    folder.mkdir(parents=True, exist_ok=True)
    network.write_torchvision(folder, name, model.state_dict(), transform, ["any"] * 1000)
    return folder


def make_image_classification(folder: Path) -> tuple[Path, Data]:
    """A model folder and data for the contract test of the family `image_classification`."""
    pictures = make_pictures(folder / "pictures", {"blue": 50, "red": 50})
    return make_vision_model(folder / "model", "shufflenet_v2_x0_5"), Data(
        source=str(pictures), train=60, validation=20, test=20
    )


def corpus(data: Data, smallest_batch: int = 8, read: Callable[[Data], dict[str, Rows]] = read_rows) -> Corpus:
    """The slices of a source, read now."""
    return cut_corpus(data, read(data), smallest_batch)
