"""The tokenizer of a model folder: what reads it, what it pads with, and whether it belongs to the model."""

import importlib.util
import re
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoTokenizer

from frostline.trainables.data import model_files

_NO_LIMIT = 10**9
"""Lengths from here on mean that a tokenizer or a model does not know its limit; transformers writes 1e30."""


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder, with a token for padding.

    Many decoders are published without one (GPT-2, Llama). The end of a text takes its place: the model looks back
    only, so that nothing before reads it. Padding stands on the right, since models count positions from the left.
    XLNet reads the last position, so there it stands on the left.

    Raises:
        ValueError: there is none, or a package that reads it is missing.
    """
    _check_packages(folder)
    with model_files.loading(folder, "has no tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{folder} has no fast tokenizer (tokenizer.json)")
    names = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    if not any((folder / name).is_file() for name in names):  # transformers makes one that knows no word
        raise ValueError(f"{folder} has no tokenizer: it needs one of {', '.join(names)}")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.padding_side = "left" if pads_left(config) else "right"
    return tokenizer


def pads_left(config: Any) -> bool:
    """Whether padding stands before a text: the model of this configuration reads the last position (XLNet)."""
    return getattr(config, "summary_type", "") == "last"


def _check_packages(folder: Path) -> None:
    """Check that a tokenizer without `tokenizer.json` can be read. transformers asks for tiktoken whatever is missing.

    Raises:
        ValueError: the package that reads it is missing, or it is damaged.
    """
    if (folder / "tokenizer.json").is_file():
        return
    for path in filter(Path.is_file, sorted(folder.glob("*.model"))):
        with path.open("rb") as file:
            is_tiktoken = re.match(rb"[A-Za-z0-9+/]+=* \d+\s", file.read(1000))  # base64 and a rank in each line
        package = "tiktoken" if is_tiktoken else "sentencepiece"
        if importlib.util.find_spec(package) is None:
            problem = f"has its tokenizer in {path.name} alone, which the package {package} reads"
            raise ValueError(f"{folder} {problem}: pip install {package}")
        if not is_tiktoken:
            from sentencepiece import SentencePieceProcessor

            with model_files.loading(folder, f"has no tokenizer: {path.name} is no SentencePiece model"):
                SentencePieceProcessor(model_file=str(path))


def check_belongs(folder: Path, tokenizer: Any, model: nn.Module) -> None:
    """Check that the model has an embedding for each token of a text.

    Special tokens that no text is given may lie beyond it.

    Raises:
        ValueError: it lacks some.
    """
    try:
        rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    except NotImplementedError:  # CANINE hashes characters
        return
    with model_files.loading(folder, "has a tokenizer that does not run"):
        special = set(tokenizer.added_tokens_decoder) - {tokenizer.pad_token_id, *tokenizer("")["input_ids"]}
        highest = max(set(tokenizer.get_vocab().values()) - special, default=0)
    if highest >= rows:
        raise ValueError(
            f"{folder}: its tokenizer has token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}), and the "
            f"model has embeddings for 0 to {rows - 1} only: the tokenizer belongs to another model"
        )


def unknown_share(tokenizer: Any, texts: list[str]) -> float:
    """Share of the tokens of some texts that the tokenizer does not know; 0 if it has no token for unknown ones."""
    ids = [token for row in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in row]
    return ids.count(tokenizer.unk_token_id) / max(1, len(ids))


def longest_input(tokenizer: Any, model: nn.Module) -> int | None:
    """Tokens of the longest text that a model takes; None if there is no limit, as for relative positions."""
    config: Any = model.config
    limits = [int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", getattr(config, "max_seq_len", None))
    if positions not in (None, -1):  # XLNet says -1
        limits.append(int(positions) - _positions_before_the_first(model))
    limits = [limit for limit in limits if limit < _NO_LIMIT]
    return min(limits, default=None)


def _positions_before_the_first(model: nn.Module) -> int:
    """RoBERTa counts positions from 2: the one before is that of padding."""
    for name, module in model.named_modules():
        if name.endswith("embeddings.position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
