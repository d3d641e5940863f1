"""The export of a text model with a pooled head: a folder that transformers and sentence-transformers load.

transformers has no class for such a head, so `AutoModel` loads the body, and the head lies beside it as a module of
sentence-transformers, whose folders say how tokens are pooled. `usage` shows the lines that put the two together.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from frostline.trainables.text import heads

_MODULES, _POOLING, _DENSE = "modules.json", "1_Pooling/config.json", "2_Dense"
HEAD = f"{_DENSE}/model.safetensors"
"""The file of the head: `linear.weight` [classes, width] and `linear.bias` [classes]."""

_MODES = {"first": ["cls_token"], "mean": ["mean_tokens"], "both": ["cls_token", "mean_tokens"]}
"""Pooling -> modes of sentence-transformers, which joins the vectors of several in this order."""

_POOLED = {
    "first": "hidden[:, 0]",
    "mean": "((hidden * mask).sum(1) / mask.sum(1))",
    "both": "torch.cat([hidden[:, 0], (hidden * mask).sum(1) / mask.sum(1)], 1)",
}

_USAGE = """import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("MODEL_FOLDER")
body, head = AutoModel.from_pretrained("MODEL_FOLDER"), load_file("MODEL_FOLDER/{head}")
inputs = tokenizer(["A quiet film that stays with you."], truncation=True, padding=True, return_tensors="pt")
with torch.inference_mode():
    hidden, mask = body.eval()(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    logits = {pooled} @ head["linear.weight"].T + head["linear.bias"]
for probabilities in logits.softmax(1):
    print({{body.config.id2label[number]: p for number, p in enumerate(probabilities.tolist())}})"""


def usage(pooling: str) -> str:
    """Python that loads the export from `MODEL_FOLDER` with transformers alone, and classifies a list of texts."""
    return _USAGE.format(head=HEAD, pooled=_POOLED[pooling])


def save(model: Any, max_length: int, out: Path) -> None:
    """Write body and head of a model whose head `heads.switch` has put in.

    Args:
        model: a transformers model for sequence classification.
        max_length: tokens to which texts are cut.
        out: the folder.
    """
    head = heads.head_of(model)
    assert head is not None
    with heads.whole_body(model) as body:
        body.save_pretrained(out)
    width, classes = head.linear.in_features, head.linear.out_features
    modes = _MODES[head.pooling]
    pooling = {f"pooling_mode_{mode}": mode in modes for mode in _MODES["both"]}
    dense = {
        "in_features": width,
        "out_features": classes,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), (_DENSE, "Dense")])
    ]
    _write(out / _MODULES, modules)
    _write(out / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write(out / _POOLING, {"word_embedding_dimension": width // len(modes), **pooling})
    _write(out / _DENSE / "config.json", dense)
    weights = {f"linear.{name}": weight.cpu() for name, weight in head.linear.state_dict().items()}
    save_file(weights, out / HEAD)


def load(model: nn.Module, folder: Path) -> None:
    """Put the head of an export into the model that was loaded from it; no change where the model has its own.

    Raises:
        Exception: any, where a file of the head is missing or belongs to another model.
    """
    if not (folder / _MODULES).is_file():
        return
    given = json.loads((folder / _POOLING).read_text(encoding="utf-8"))
    modes = [mode for mode in _MODES["both"] if given[f"pooling_mode_{mode}"]]
    heads.switch(model, next(pooling for pooling, own in _MODES.items() if own == modes))
    model.pooled_head.load_state_dict(load_file(folder / HEAD))  # type: ignore[union-attr]


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
