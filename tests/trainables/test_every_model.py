"""Model types of each kind go through all that a search does. tests/bench/every_model.py tries all of transformers'."""

from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables.data.corpus import Corpus
from tests import tiny
from tests.trainables import model_trial, tiny_models

ENCODER, BOTH = tiny_models.LAYERS + 1, 2 * tiny_models.LAYERS + 1

# Model type -> blocks, depths at which training can start, and the weights of the body that train with the head.
TRAINS: dict[str, tuple[int, tuple[int, ...], set[str]]] = {
    # Encoders
    "bert": (ENCODER, (1, 2, 3, 4), {"pooler.dense.weight", "pooler.dense.bias"}),
    "deberta": (ENCODER, (1, 2, 3, 4), set()),
    "deberta-v2": (ENCODER, (1, 2, 3, 4), set()),
    "longformer": (ENCODER, (1, 2, 3, 4), set()),
    "nystromformer": (ENCODER, (1, 2, 3, 4), set()),
    "xlm": (ENCODER, (1,), set()),  # the parts of its layers are in lists of their own
    "xlnet": (ENCODER, (), set()),  # its outputs have the positions first
    # Decoders
    "gpt2": (ENCODER, (1, 2, 3, 4), {"ln_f.weight", "ln_f.bias"}),
    "gpt_neox": (ENCODER, (1, 2, 3, 4), {"final_layer_norm.weight", "final_layer_norm.bias"}),
    "llama": (ENCODER, (1, 2, 3, 4), {"norm.weight"}),
    "opt": (ENCODER, (2, 3, 4), {"decoder.final_layer_norm.weight", "decoder.final_layer_norm.bias"}),
    "qwen2": (ENCODER, (1, 2, 3, 4), {"norm.weight"}),
    # Encoders with a decoder
    "bart": (BOTH, (), set()),
    "mbart": (BOTH, (), {"decoder.layer_norm.weight", "decoder.layer_norm.bias"}),
    "t5": (BOTH, (), {"decoder.final_layer_norm.weight"}),
    # Texts and pictures
    "gemma3": (ENCODER, (2, 3, 4), {"language_model.norm.weight"}),
}

REFUSED = {
    "albert": "cannot tell the blocks of a albert: no list of 3 layers in it",
    "funnel": "cannot tell the blocks of a funnel: no list of 3 layers in it",
    "perceiver": "cannot tell the blocks of a perceiver: no list of None layers in it",
}

REMARKS = {"fnet": "the model reads padding", "reformer": "the model draws random numbers of its own"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Corpus]:
    """Eight texts to train on, of different lengths."""
    table = tiny.write_csv(tmp_path_factory.mktemp("texts") / "texts.csv", tiny.rows(24))
    data = Data(source=str(table), train=8, validation=6, test=6, max_length=32)
    return data, tiny.corpus(data, 4)


@pytest.mark.parametrize("kind", TRAINS)
def test_a_model_trains_goes_on_and_is_exported(kind: str, texts: tuple[Data, Corpus], tmp_path: Path) -> None:
    """Decoders come without a token for padding here."""
    outcome = model_trial.run(tiny_models.make(kind, tmp_path / "model"), *texts, tmp_path)
    assert (outcome.blocks, outcome.boundaries, set(outcome.body), outcome.remarks) == (*TRAINS[kind], ())


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_without_layers_is_refused_in_one_line(kind: str, texts: tuple[Data, Corpus], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^\S+ cannot be frozen layer by layer: {REFUSED[kind]}$"):
        model_trial.run(tiny_models.make(kind, tmp_path / "model"), *texts, tmp_path)


@pytest.mark.parametrize("kind", REMARKS)
def test_what_is_odd_about_a_model_is_said(kind: str, texts: tuple[Data, Corpus], tmp_path: Path) -> None:
    [remark] = model_trial.run(tiny_models.make(kind, tmp_path / "model"), *texts, tmp_path).remarks
    assert remark.startswith(REMARKS[kind])
