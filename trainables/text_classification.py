"""Text classification with any model that transformers' `AutoModelForSequenceClassification` loads."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
import torch
import transformers
from torch import Tensor, nn

from frostline.spaces import OWN_POOLING, Data, Recipe
from frostline.trainables._baseline import TrainedBaseline
from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._freezing import Block
from frostline.trainables._modules import evaluation_mode
from frostline.trainables.data import model_files
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.corpus import SPLITS, Array, Corpus
from frostline.trainables.text import attention, heads, last_block, layers, sentence_folder, tfidf
from frostline.trainables.text.pretrained import fit_to_task, load_model
from frostline.trainables.text.tokenizer import check_belongs, load_tokenizer, longest_input, unknown_share

_PAD_TO = 8
"""Batches are padded to a multiple of this many tokens. With few shapes the allocator's memory stops growing."""


_SENTENCE = "A quiet film that stays with you for longer than you would like to admit."
_TRIED = 12
"""Tokens of the longest text that a model is tried with."""

_SAMPLE, _MOST_UNKNOWN = 32, 1 / 3
"""Texts whose tokens are looked at, and the share of unknown ones from which on a user is told."""
_FEWEST = 8
"""Tokens that a model must take, as `Data` has it."""


class TokenizedText(Examples):
    """Token ids of one split, ragged: no padding is stored."""

    def __init__(self, entry: Path, split: str) -> None:
        self.labels = open_array(entry, f"{split}-labels")
        self._tokens = open_array(entry, f"{split}-tokens")
        self._offsets = open_array(entry, f"{split}-offsets")
        self._pad, self._pads_left = (int(number) for number in open_array(entry, "pad"))
        self.lengths = np.diff(self._offsets)

    def batch(self, indices: Array) -> Batch:
        """`input_ids` and `attention_mask`, int64 [examples, length], and `labels`, int64 [examples]."""
        texts = [self._tokens[self._offsets[i] : self._offsets[i + 1]] for i in indices]
        inputs = _padded(texts, self._pad, bool(self._pads_left))
        return {**inputs, "labels": torch.from_numpy(self.labels[indices])}


def _padded(texts: Sequence[Array], pad: int, left: bool) -> Batch:
    """`input_ids` and `attention_mask` of texts of some lengths."""
    lengths = np.array([len(text) for text in texts])
    width = -(-int(lengths.max()) // _PAD_TO) * _PAD_TO
    mask = np.arange(width) < lengths[:, None]
    if left:
        mask = mask[:, ::-1].copy()
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate(texts)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


class TextClassification(Family):
    """One text in, one of several classes out."""

    baseline_name = tfidf.NAME
    code = (TokenizedText, _padded, attention.attention, attention._heads, last_block._with_first_only, heads.pooled)

    def try_out(self, folder: Path, model: nn.Module) -> tuple[str, ...]:
        tokenizer = load_tokenizer(folder)
        check_belongs(folder, tokenizer, model)
        longest = self.max_length(folder, model) or _TRIED
        with model_files.loading(folder, "does not run"):
            texts = [
                np.array(tokenizer(_SENTENCE, truncation=True, max_length=min(length, longest))["input_ids"])
                for length in (4, _TRIED)
            ]
            batch = _padded(texts, tokenizer.pad_token_id, tokenizer.padding_side == "left")
            alone = {"input_ids": torch.from_numpy(texts[0])[None]}
            alone["attention_mask"] = torch.ones_like(alone["input_ids"])
            with evaluation_mode(model), torch.inference_mode():
                [expected], [scores, _] = self.logits(model, alone), self.logits(model, batch)
        with model_files.loading(folder, "does not train"), torch.random.fork_rng(devices=[]), torch.no_grad():
            twice = []
            for _ in range(2):
                torch.manual_seed(0)
                twice.append(self.logits(model.train(), batch))
            model.eval()
        remarks = []
        if not torch.allclose(scores, expected, rtol=1e-2, atol=1e-3):
            remarks.append("the model reads padding: the scores of a text depend on the longest text of its batch")
        if not torch.equal(*twice):
            remarks.append("the model draws random numbers of its own: a training is not the same again")
        return tuple(remarks)

    def max_length(self, folder: Path, model: nn.Module) -> int | None:
        with model_files.loading(folder, "does not say how long its texts may be"):
            longest = longest_input(load_tokenizer(folder), model)
        if longest is not None and longest < _FEWEST:
            raise ValueError(f"{folder} takes texts of {longest} tokens at most, and {_FEWEST} are needed")
        return longest

    def lengths(self, folder: Path, inputs: Sequence[Any]) -> Array:
        return np.array(list(map(len, load_tokenizer(folder)(list(inputs), verbose=False)["input_ids"])))

    def remarks(self, folder: Path, data: Data, corpus: Corpus) -> list[str]:
        tokenizer, texts = load_tokenizer(folder), corpus.inputs["train"]
        unknown = unknown_share(tokenizer, texts[:_SAMPLE])
        if unknown == 1:
            raise ValueError(f"{folder}: its tokenizer knows no word of {data.source}")
        sentences = []
        if unknown > _MOST_UNKNOWN:
            sentences.append(
                f"{unknown:.0%} of the tokens of the first texts are unknown to the model's tokenizer, which reads "
                f"them all as {tokenizer.unk_token}: it was made for other texts"
            )
        return sentences

    def trained_baseline(self, folder: Path, data: Data, corpus: Corpus) -> TrainedBaseline:
        labels, classes = corpus.labels["train"].tolist(), len(corpus.classes)
        texts = {split: corpus.inputs[split] for split in SPLITS}
        return TrainedBaseline(
            name=self.baseline_name, compute=tfidf.answers, arguments={**texts, "labels": labels, "classes": classes}
        )

    def prepare(self, folder: Path, data: Data, corpus: Corpus) -> Path:
        tokenizer = _cutting_tokenizer(folder, data)
        key = {
            "family": "text_classification",
            "data": corpus.fingerprint,
            "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "library": [transformers.__version__, tokenizers.__version__],
            "padding": [tokenizer.pad_token_id, tokenizer.padding_side],
            "max_length": data.max_length,
            "truncation_side": data.truncation_side,
            "code": code_version(_tokenize),
        }
        return cached(key, lambda _: _tokenize(tokenizer, corpus))

    def open(self, entry: Path, split: str) -> TokenizedText:
        return TokenizedText(entry, split)

    def build(self, folder: Path, classes: int) -> nn.Module:
        model, info = load_model(folder, num_labels=classes)
        absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
        # A pooler that was never pretrained is part of the new head.
        body = [key for key in absent if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key]
        if body:
            raise ValueError(f"{folder} lacks {len(body)} weights of the model's body, first {min(body)}")
        with model_files.loading(folder, "does not load as a text classifier"):
            fit_to_task(model, folder)
        with model_files.loading(folder, "cannot be frozen layer by layer"):
            attention.speed_up(model)
            last = self.blocks(model)[-1][-1]
            assert isinstance(last, nn.Module)
            last_block.read_first_only(model, last)
        return cast(nn.Module, model)

    def reset_head(self, model: nn.Module) -> None:
        body = {id(module) for module in model.base_model.modules()}
        for module in model.modules():
            if isinstance(module, nn.Linear) and id(module) not in body:
                nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def blocks(self, model: nn.Module) -> list[Block]:
        return layers.blocks_of(model)

    def poolings(self, model: nn.Module) -> tuple[str, ...]:
        return heads.possible(model)

    def set_pooling(self, model: nn.Module, pooling: str) -> None:
        heads.switch(model, pooling)

    def pooled(self, hidden: Tensor, batch: Batch, pooling: str) -> Tensor | None:
        return None if pooling == OWN_POOLING else heads.pooled(hidden, self.mask(batch), pooling)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        if "pooled" in batch:
            return model.pooled_head(batch["pooled"])  # type: ignore[operator, no-any-return]
        logits: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits

    def mask(self, batch: Batch) -> Tensor:
        return batch["attention_mask"].bool()

    def first_token(self, batch: Batch) -> Batch:
        return {**batch, "input_ids": batch["input_ids"][:, :1], "attention_mask": batch["attention_mask"][:, :1]}

    def export(self, model: nn.Module, folder: Path, data: Data, classes: tuple[str, ...], out: Path) -> None:
        model.config.id2label = dict(enumerate(classes))
        model.config.label2id = {name: number for number, name in enumerate(classes)}
        if heads.head_of(model) is None:
            model.save_pretrained(out)
        else:
            sentence_folder.save(model, data.max_length, out)
        _cutting_tokenizer(folder, data).save_pretrained(out)

    def usage(self, recipe: Recipe) -> str:
        if recipe.pooling != OWN_POOLING:
            return sentence_folder.usage(recipe.pooling)
        return (
            "from transformers import pipeline\n\n"
            'classify = pipeline("text-classification", model="MODEL_FOLDER", truncation=True)\n'
            'print(classify("A quiet film that stays with you."))'
        )

    def load_export(self, folder: Path) -> Callable[..., Any]:
        model, _ = load_model(folder)
        with model_files.loading(folder, "has no head that fits its body"):
            sentence_folder.load(model, folder)
        classify: Callable[..., Any] = transformers.pipeline(
            "text-classification",
            model=model,
            tokenizer=load_tokenizer(folder),
            truncation=True,
            trust_remote_code=False,
        )
        return classify

    def load_line(self, recipe: Recipe) -> str:
        if recipe.pooling != OWN_POOLING:
            return 'frostline.load("MODEL_FOLDER")'
        return 'transformers.pipeline("text-classification", "MODEL_FOLDER", truncation=True)'


def _cutting_tokenizer(folder: Path, data: Data) -> Any:
    """The model's tokenizer, set to cut texts as `data` says. Saved with the model, it keeps these settings."""
    tokenizer = load_tokenizer(folder)
    tokenizer.truncation_side, tokenizer.model_max_length = data.truncation_side, data.max_length
    # transformers writes only the sides that it was given when it loaded the tokenizer.
    tokenizer.init_kwargs |= {"truncation_side": tokenizer.truncation_side, "padding_side": tokenizer.padding_side}
    return tokenizer


def _tokenize(tokenizer: Any, corpus: Corpus) -> dict[str, Array]:
    """The arrays of a cache entry. Of each split: the token ids of all texts in a row, where each starts, its label."""
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    arrays: dict[str, Array] = {"pad": np.array([tokenizer.pad_token_id, tokenizer.padding_side == "left"])}
    for split in SPLITS:
        ids = tokenizer(
            corpus.inputs[split],
            truncation=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        arrays[f"{split}-tokens"] = np.concatenate([np.asarray(row, dtype=dtype) for row in ids])
        arrays[f"{split}-offsets"] = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        arrays[f"{split}-labels"] = corpus.labels[split]
    return arrays


FAMILY = TextClassification()
