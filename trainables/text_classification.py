"""Text classification with any encoder that transformers' `AutoModelForSequenceClassification` loads."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import tokenizers
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from frostline.spaces import Data
from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._freezing import Block
from frostline.trainables._modules import evaluation_mode, outputs_until, size_limit
from frostline.trainables.data import model_files
from frostline.trainables.data.cache import cached, code_version, open_array
from frostline.trainables.data.corpus import SPLITS, Array, Corpus
from frostline.trainables.text import attention, last_block

_PAD_TO = 8
"""Batches are padded to a multiple of this many tokens. With few shapes the allocator's memory stops growing."""


class TokenizedText(Examples):
    """Token ids of one split, ragged: no padding is stored."""

    def __init__(self, entry: Path, split: str) -> None:
        self.labels = open_array(entry, f"{split}-labels")
        self._tokens = open_array(entry, f"{split}-tokens")
        self._offsets = open_array(entry, f"{split}-offsets")
        self._pad = int(open_array(entry, "pad")[0])
        self.lengths = np.diff(self._offsets)

    def batch(self, indices: Array) -> Batch:
        """`input_ids` and `attention_mask`, int64 [examples, length], and `labels`, int64 [examples]."""
        lengths = self.lengths[indices]
        width = -(-int(lengths.max()) // _PAD_TO) * _PAD_TO
        mask = np.arange(width) < lengths[:, None]
        ids = np.full(mask.shape, self._pad, dtype=np.int64)
        ids[mask] = np.concatenate([self._tokens[self._offsets[i] : self._offsets[i + 1]] for i in indices])
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(self.labels[indices]),
        }


class TextClassification(Family):
    """One text in, one of several classes out."""

    code = (TokenizedText, attention.attention, attention._heads, last_block._with_first_only)

    def try_out(self, folder: Path, model: nn.Module) -> None:
        tokenizer = _tokenizer(folder)
        with model_files.loading(folder, "does not run"), evaluation_mode(model), torch.inference_mode():
            tokens = tokenizer("A film that stays.", truncation=True, max_length=4)["input_ids"]
            batch = torch.tensor([tokens])
            self.logits(model, {"input_ids": batch, "attention_mask": torch.ones_like(batch)})

    def max_length(self, folder: Path, model: nn.Module) -> int | None:
        with model_files.loading(folder, "does not say how long its texts may be"):
            # RoBERTa counts positions from 2; only its tokenizer knows the real limit.
            positions = getattr(model.config, "max_position_embeddings", 10**9)
            return min(int(positions), int(_tokenizer(folder).model_max_length))

    def prepare(self, folder: Path, data: Data, corpus: Corpus) -> Path:
        tokenizer = _cutting_tokenizer(folder, data)
        key = {
            "family": "text_classification",
            "data": corpus.fingerprint,
            "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "library": [transformers.__version__, tokenizers.__version__],
            "max_length": data.max_length,
            "truncation_side": data.truncation_side,
            "code": code_version(_tokenize),
        }
        return cached(key, lambda _: _tokenize(tokenizer, corpus))

    def open(self, entry: Path, split: str) -> TokenizedText:
        return TokenizedText(entry, split)

    def build(self, folder: Path, classes: int) -> nn.Module:
        model, info = _load(folder, num_labels=classes)
        absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
        # A pooler that was never pretrained is part of the new head.
        body = [key for key in absent if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key]
        if body:
            raise ValueError(f"{folder} lacks {len(body)} weights of the model's body, first {min(body)}")
        with model_files.loading(folder, "cannot be frozen layer by layer"):
            attention.speed_up(model)
            [last] = self.blocks(model)[-1]
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
        body, count = model.base_model, model.config.num_hidden_layers
        for name, layers in body.named_modules() if count else ():
            if isinstance(layers, nn.ModuleList) and len(layers) == count:
                holder = name.split(".")[0]
                break
        else:
            raise ValueError(f"cannot tell the blocks of a {model.config.model_type}: no list of {count} layers in it")
        stem: Block = []
        for name, child in body.named_children():
            if name == holder:
                break
            stem.append(child)
        return [[*stem, *_read_by_all(model, layers, getattr(body, holder))], *([layer] for layer in layers)]

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        logits: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits

    def mask(self, batch: Batch) -> Tensor:
        return batch["attention_mask"].bool()

    def first_token(self, batch: Batch) -> Batch:
        return {**batch, "input_ids": batch["input_ids"][:, :1], "attention_mask": batch["attention_mask"][:, :1]}

    def export(self, model: nn.Module, folder: Path, data: Data, classes: tuple[str, ...], out: Path) -> None:
        model.config.id2label = dict(enumerate(classes))
        model.config.label2id = {name: number for number, name in enumerate(classes)}
        model.save_pretrained(out)
        _cutting_tokenizer(folder, data).save_pretrained(out)

    def usage(self) -> str:
        return (
            "from transformers import pipeline\n\n"
            'classify = pipeline("text-classification", model="MODEL_FOLDER", truncation=True)\n'
            'print(classify("A quiet film that stays with you."))'
        )

    def load_export(self, folder: Path) -> Callable[..., Any]:
        model, _ = _load(folder)
        classify: Callable[..., Any] = transformers.pipeline(
            "text-classification", model=model, tokenizer=_tokenizer(folder), truncation=True, trust_remote_code=False
        )
        return classify

    def load_line(self) -> str:
        return 'transformers.pipeline("text-classification", "MODEL_FOLDER", truncation=True)'


def _quiet() -> None:
    """Silence transformers' report of a new head, which is expected, and its bar for a load that takes 0.1 s."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


_shared: WeakKeyDictionary[nn.Module, list[nn.Parameter]] = WeakKeyDictionary()


def _read_by_all(model: nn.Module, layers: nn.ModuleList, holder: nn.Module) -> list[nn.Parameter]:
    """Parameters of `holder` outside of its layers that the layers read: DeBERTa's and MPNet's relative positions.

    They are frozen with the stem, else the outputs of frozen layers would change. A norm after the last layer is not
    one of them: the last layer's output does not depend on it.
    """
    own = {id(parameter) for parameter in layers.parameters()}
    beside = [parameter for parameter in holder.parameters() if id(parameter) not in own]
    if not beside or model in _shared:
        return _shared.get(model, [])

    beside = [parameter.requires_grad_() for parameter in beside]  # as `freeze` sets them at depth 0
    tokens = torch.ones(1, 4, dtype=torch.long, device=beside[0].device)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        last = outputs_until({"last": layers[-1]}, lambda: model(input_ids=tokens))["last"]
        gradients = torch.autograd.grad(last.sum(), beside, allow_unused=True)
    _shared[model] = [p for p, gradient in zip(beside, gradients, strict=True) if gradient is not None]
    return _shared[model]


def _load(folder: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A folder's model in float32 on the CPU, and transformers' report of its missing and mismatched weights.

    transformers gets the tensors, not the folder: it would follow a `config.json` to files of other formats.

    Args:
        folder: the model folder.
        changes: values of its configuration to replace.

    Raises:
        ValueError: it does not load.
    """
    _quiet()
    problem = "does not load as a text classifier"
    weights = model_files.weights_in(folder, problem)
    with model_files.loading(folder, "is not a model that transformers knows"):
        model_files.check_depth(folder, weights)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
    with model_files.loading(folder, problem), size_limit(weights.tensors, weights.values):
        with torch.device("meta"):
            kind = type(AutoModelForSequenceClassification.from_config(config, trust_remote_code=False))
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=weights.load(),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head for another number of classes is drawn again
            trust_remote_code=False,
        )
    return model, info


def _tokenizer(folder: Path) -> Any:
    with model_files.loading(folder, "has no tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{folder} has no fast tokenizer (tokenizer.json)")
    names = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    if not any((folder / name).is_file() for name in names):  # transformers makes one that knows no word
        raise ValueError(f"{folder} has no tokenizer: it needs one of {', '.join(names)}")
    return tokenizer


def _cutting_tokenizer(folder: Path, data: Data) -> Any:
    """The model's tokenizer, set to cut texts as `data` says. Saved with the model, it keeps these settings."""
    tokenizer = _tokenizer(folder)
    tokenizer.truncation_side, tokenizer.model_max_length = data.truncation_side, data.max_length
    return tokenizer


def _tokenize(tokenizer: Any, corpus: Corpus) -> dict[str, Array]:
    """The arrays of a cache entry. Of each split: the token ids of all texts in a row, where each starts, its label."""
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    arrays: dict[str, Array] = {"pad": np.array([pad])}
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
