"""Tokenizers of model folders: what reads them, what they pad with, how long a text may be, and which are refused."""

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

from frostline.spaces import Data
from frostline.trainables.text.tokenizer import load_tokenizer
from frostline.trainables.text_classification import FAMILY
from tests import tiny
from tests.trainables import model_trial, tiny_models

DATA = Data(source="d", max_length=32)


# --- padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pad", "token", "side"),
    [
        ("gpt2", False, "[EOS]", "right"),
        ("gpt_neox", False, "[EOS]", "right"),
        ("llama", False, "[EOS]", "right"),
        ("qwen2", True, "[PAD]", "right"),  # its tokenizer has one, its configuration does not
        ("xlnet", False, "[EOS]", "left"),
        ("bert", True, "[PAD]", "right"),
    ],
)
def test_padding_is_the_same_in_training_and_in_the_export(
    kind: str, pad: bool, token: str, side: str, tmp_path: Path
) -> None:
    folder = tiny_models.make(kind, tmp_path / "model", pad=pad)
    fields = json.loads((folder / "config.json").read_text())
    if kind != "bert":
        (folder / "config.json").write_text(json.dumps(fields | {"pad_token_id": None}))
    FAMILY.export(FAMILY.build(folder, 2), folder, DATA, ("neg", "pos"), tmp_path / "best")
    exported, config = AutoTokenizer.from_pretrained(tmp_path / "best"), AutoConfig.from_pretrained(tmp_path / "best")
    assert (exported.pad_token, exported.padding_side) == (token, side)
    assert config.pad_token_id == exported.pad_token_id == load_tokenizer(folder).pad_token_id


@pytest.mark.parametrize("field", [-1, 0, 5, 63], ids=lambda number: f"pad_token_id {number}")
def test_a_decoder_pads_as_its_tokenizer_does_whatever_its_configuration_says(field: int, tmp_path: Path) -> None:
    folder = tiny_models.make("llama", tmp_path / "model", pad=True)
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"pad_token_id": field}))
    if field == -1:
        assert FAMILY.describe(folder).remarks == ()
    assert FAMILY.build(folder, 2).config.pad_token_id == load_tokenizer(folder).pad_token_id


# --- SentencePiece, tiktoken --------------------------------------------------------------------------


def spm(folder: Path, name: str = "spm.model") -> Path:
    """Give a folder a SentencePiece model as its only tokenizer, as DeBERTa v3 has it on the hub."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": false}')
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text for text, _ in tiny.rows(200)),
        model_writer=made,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / name).write_bytes(made.getvalue())
    return folder


@pytest.mark.usefixtures("cache")
def test_a_model_with_a_sentencepiece_tokenizer_alone_trains(tmp_path: Path) -> None:
    folder = spm(tiny_models.make("deberta-v2", tmp_path / "model"))
    table = tiny.write_csv(tmp_path / "texts.csv", tiny.rows(24))
    data = Data(source=str(table), train=8, validation=6, test=6, max_length=32)
    corpus = tiny.corpus(data, 4)
    assert model_trial.run(folder, data, corpus, tmp_path).remarks == ()
    assert FAMILY.remarks(folder, data, corpus) == []
    assert (tmp_path / "best" / "tokenizer.json").is_file(), "the export needs no other package"


def _file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: ((folder / "tokenizer.json").unlink(), (folder / name).write_bytes(content))


@pytest.mark.parametrize(
    ("change", "missing", "expected"),
    [
        (spm, "sentencepiece", "spm.model alone, which the package sentencepiece reads: pip install sentencepiece"),
        (
            _file("tokenizer.model", b"SGVsbG8= 0\nYQ== 1\n"),
            "tiktoken",
            "the package tiktoken reads: pip install tiktoken",
        ),
        (_file("spm.model", b"no model" * 100), "", "spm.model is no SentencePiece model"),
        (_file("spm.model", b""), "", "has no tokenizer"),
    ],
    ids=["sentencepiece is missing", "tiktoken is missing", "a damaged file", "an empty file"],
)
def test_a_tokenizer_that_cannot_be_read_is_refused_with_the_reason(
    change: Callable[[Path], Any], missing: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, find = tiny_models.make("deberta-v2", tmp_path / "model"), importlib.util.find_spec
    change(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    with pytest.raises(ValueError, match=r"^.+$") as refused:
        load_tokenizer(folder)
    assert str(folder) in str(refused.value)
    assert expected in str(refused.value)


# --- none, or one of another model --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "llama", "t5", "deberta-v2", "xlnet", "canine", "fnet"])
@pytest.mark.parametrize("names", [("tokenizer.json",), ("tokenizer.json", "tokenizer_config.json")], ids=len)
def test_a_folder_without_tokenizer_files_is_refused(kind: str, names: tuple[str, ...], tmp_path: Path) -> None:
    """transformers would make a tokenizer that knows no word."""
    folder = tiny_models.make(kind, tmp_path / "model")
    for name in names:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"^\S+ has no (fast )?tokenizer.*$"):
        load_tokenizer(folder)


def _cut_embeddings(folder: Path, rows: int) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[name] = tensors[name][:rows].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"vocab_size": rows}))


@pytest.mark.parametrize(("rows", "works"), [(64, True), (29, True), (28, False), (6, False)])
def test_each_word_has_an_embedding(rows: int, works: bool, tmp_path: Path) -> None:
    folder = tiny_models.make("bert", tmp_path / "model")
    assert len(load_tokenizer(folder)) == 29
    _cut_embeddings(folder, rows)
    if works:
        assert FAMILY.describe(folder).remarks == ()
        return
    problem = rf"^\S+: its tokenizer has token 28 \('it'\), and the model has embeddings for 0 to {rows - 1} only: .*$"
    with pytest.raises(ValueError, match=problem):
        FAMILY.describe(folder)


def test_a_special_token_that_no_text_is_given_may_lack_one(tmp_path: Path) -> None:
    folder = tiny_models.make("bert", tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    _cut_embeddings(folder, 29)
    assert FAMILY.describe(folder).remarks == ()


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("a good film", None),
        ("a good film nobody saw", "40% of the tokens of the first texts are unknown to the model's tokenizer"),
        ("ein guter Film", "refused"),
    ],
)
def test_a_tokenizer_of_other_texts_is_named(text: str, remark: str | None, tmp_path: Path) -> None:
    folder = tiny_models.make("bert", tmp_path / "model")
    table = tiny.write_csv(tmp_path / "texts.csv", [(" ".join([text] * (n + 1)), "ab"[n % 2]) for n in range(24)])
    data = Data(source=str(table), train=8, validation=6, test=6, max_length=512)
    corpus = tiny.corpus(data, 4)
    if remark == "refused":
        with pytest.raises(ValueError, match=r"^\S+: its tokenizer knows no word of \S+$"):
            FAMILY.remarks(folder, data, corpus)
        return
    assert [said.startswith(remark or "") for said in FAMILY.remarks(folder, data, corpus)] == [True] * bool(remark)


# --- lengths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "config", "tokenizer", "limit"),
    [
        ("bert", 64, None, 64),
        ("bert", 64, 10**30, 64),
        ("bert", 64, 16, 16),
        ("roberta", 66, None, 65),  # it counts its positions from the one after padding, here 0
        ("gpt2", 64, None, 64),
        ("mpt", 64, None, 64),
        ("xlnet", None, None, None),  # it says -1
        ("xlnet", None, 16, 16),
        ("t5", None, None, None),
        ("bloom", None, None, None),
    ],
)
def test_the_longest_text(
    kind: str, config: int | None, tokenizer: int | None, limit: int | None, tmp_path: Path
) -> None:
    names = {"mpt": "max_seq_len", "gpt2": "n_positions"}
    more = {} if config is None else {names.get(kind, "max_position_embeddings"): config}
    folder = tiny_models.make(kind, tmp_path / "model", **more)
    if tokenizer is not None:
        fields = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(fields | {"model_max_length": tokenizer}))
    model = FAMILY.build(folder, 2).eval()
    assert FAMILY.max_length(folder, model) == limit
    tokens = torch.full((1, limit or 200), 9)
    tokens[:, -1] = 3  # the end of a text, which T5 reads
    with torch.inference_mode():
        FAMILY.logits(model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})


# --- the task --------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "single_label_classification"])
def test_a_checkpoint_of_another_task_is_one_of_a_single_label_afterwards(problem: str, tmp_path: Path) -> None:
    folder = tiny_models.make("bert", tmp_path / "model")
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"problem_type": problem, "function_to_apply": "none"}))
    FAMILY.export(FAMILY.build(folder, 3), folder, DATA, ("a", "b", "c"), tmp_path / "best")
    exported = json.loads((tmp_path / "best" / "config.json").read_text())
    assert exported["problem_type"] == "single_label_classification"
    assert "function_to_apply" not in exported
    answers = FAMILY.load_export(tmp_path / "best")("a good film", top_k=None)
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)
