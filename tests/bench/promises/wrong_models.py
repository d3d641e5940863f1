"""Model folders that do not load, or that must not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.promises.case import PICKLE, Case, Place

_NAN = float("nan")

_CONFIG: dict[str, tuple[Any, ...]] = {
    "model_type": ("x", None, 5, [], {}, "", "../bert", "vit", "whisper"),
    "hidden_act": ("x", 5, None, [], {}),
    "dtype": ("float99", 5, [], {}),
    "quantization_config": ({}, {"quant_method": "x"}, {"quant_method": "bitsandbytes"}, "x", 5, [1]),
    "_attn_implementation": ("x", 5),
    "attn_implementation": ("x",),
    "num_hidden_layers": (0, -1, "x", None, 10**9, 1.5, [], 2**70, 5),
    "hidden_size": (0, -1, 33, "x", None, 10**6, 2**40, 1.5, 64),
    "num_attention_heads": (0, -1, 3, "x", None, 1.5),
    "intermediate_size": (0, -1, "x", None, 2**40, 65),
    "vocab_size": (0, -1, "x", None, 2**40, 3, 1000),
    "max_position_embeddings": (0, -1, "x", None, 2**40, 7, 1000),
    "type_vocab_size": (0, -1, "x", None, 3),
    "layer_norm_eps": ("x", None, [], -1, _NAN),
    "hidden_dropout_prob": ("x", -1, 2, _NAN, []),
    "attention_probs_dropout_prob": ("x", -1, 2, []),
    "pad_token_id": (10**6, -5, "x", 1.5, []),
    "initializer_range": ("x", -1, []),
    "id2label": ([], "x", 5, {"a": "b"}, {"0": None}),
    "label2id": ([], "x", 5),
    "num_labels": ("x", -1),
    "problem_type": ("x", 5),
    "architectures": ("x", 5, ["X"]),
    "is_decoder": ("x",),
    "chunk_size_feed_forward": (-1, "x", 3),
    "auto_map": ({"AutoConfig": "evil.C"}, {"AutoModelForSequenceClassification": "evil.M"}, "x", 5),
}
"""Fields of a BERT's `config.json` and odd values. Those in `_HARMLESS` may also be taken."""

_HARMLESS = {
    *(
        "dtype",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "architectures",
        "is_decoder",
        "initializer_range",
    ),
    *(
        "attn_implementation",
        "auto_map",
        "chunk_size_feed_forward",
        "pad_token_id",
        "quantization_config",
        "layer_norm_eps",
    ),
    *("_attn_implementation", "hidden_dropout_prob", "attention_probs_dropout_prob"),
}

_JSONS: dict[str, str | bytes] = {
    "empty": "",
    "torn": '{"model_type": "be',
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "a text": '"x"',
    "binary": bytes(range(256)),
    "not UTF-8": b'{"model_type": "\xff"}',
    "100,000 brackets": "[" * 100_000,
}
_OF_TOKENIZER: dict[str, dict[str, tuple[Any, ...]]] = {
    "tokenizer_config.json": {
        "model_max_length": (0, -1, "x", [], 3),
        "tokenizer_class": ("x", 5, "LlamaTokenizer"),
        "auto_map": ({"AutoTokenizer": ["evil.T", None]},),
        "pad_token": (None, 5, "none", []),
        "padding_side": ("x",),
        "truncation_side": ("x",),
    },
    "tokenizer.json": {
        "model": (None, "x", {}, {"type": "x"}),
        "version": ("x",),
        "post_processor": ("x", {"type": "x"}),
        "pre_tokenizer": ({"type": "x"}, "x"),
        "normalizer": ({"type": "x"}, "x"),
        "added_tokens": ("x", [{"id": -1}], [5]),
    },
}

_VISION: dict[str, tuple[Any, ...]] = {
    "library": (None, 5, "x", []),
    "architecture": (None, 5, "", "x", "resnet50", [], "../x", "list_models", "x" * 300),
    "transform": (None, 5, "x", [], {}),
    "label_names": (None, 5),
}
_TRANSFORM: dict[str, tuple[Any, ...]] = {
    "resize": (None, "x", 0, -1, 1.5, 10**9, []),
    "crop": (None, "x", 0, -1, 1.5, 10**9, []),
    "mean": (None, "x", 5, [], [1], ["a", "b", "c"], [_NAN] * 3),
    "std": (None, "x", 5, [], [1], [0, 0, 0], [_NAN] * 3),
    "interpolation": (None, "x", 5, []),
}


def cases() -> list[Case]:
    """All of them."""
    return [*_configs(), *_tokenizers(), *_weights(), *_vision(), *_other_timm()]


def _configs() -> Iterator[Case]:
    for name, values in _CONFIG.items():
        for value in values:
            yield Case(
                name=f"config: {name} = {_short(value)}",
                make=lambda p, n=name, v=value: p.text_search(model=p.model(**{n: v})),
                may_pass=name in _HARMLESS,
            )
    for name in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        yield Case(name=f"config: without {name}", make=_without("config.json", name), may_pass=name != "model_type")
    for name, text in _JSONS.items():
        yield Case(name=f"config file: {name}", make=_with_file("config.json", text))
    yield Case(name="config file: an object", make=_with_file("config.json", "{}"))
    for name, spoil in _SPOILERS.items():
        yield Case(name=f"config file: {name}", make=_spoilt("config.json", spoil))


def _tokenizers() -> Iterator[Case]:
    for file, fields in _OF_TOKENIZER.items():
        for field, values in fields.items():
            for value in values:
                make = _with_field(file, field, value)
                yield Case(name=f"tokenizer: {file} {field} = {_short(value)}", make=make, may_pass=True)
        for name, text in _JSONS.items():
            make = _with_file(file, text)
            yield Case(name=f"tokenizer: {file} {name}", make=make, may_pass=file == "tokenizer_config.json")
        for name, spoil in _SPOILERS.items():
            make = _spoilt(file, spoil)
            yield Case(name=f"tokenizer: {file} {name}", make=make, may_pass=file == "tokenizer_config.json")
    yield Case(name="tokenizer: no file of it", make=_without_tokenizer)


def _weights() -> Iterator[Case]:
    file = "model.safetensors"
    for name, text in (
        *(("empty", b""), ("torn header", b"\x10\0\0\0\0\0\0\0{"), ("NULs", b"\0" * 4096), ("a pickle", PICKLE)),
        *(("a huge header", b"\xff" * 8 + b"{}"), ("text", b"hello"), ("an empty header", b"\2\0\0\0\0\0\0\0{}")),
        ("100,000 brackets", (100_000).to_bytes(8, "little") + b"[" * 100_000),
    ):
        yield Case(name=f"weights: {name}", make=_with_file(file, text))
        yield Case(name=f"vision weights: {name}", make=_with_file(file, text, vision=True))
    for name, spoil in _SPOILERS.items():
        yield Case(name=f"weights: {name}", make=_spoilt(file, spoil))
        yield Case(name=f"vision weights: {name}", make=_spoilt(file, spoil, vision=True))
    yield Case(name="weights: cut", make=_cut())
    yield Case(name="vision weights: cut", make=_cut(vision=True))
    yield Case(name="weights: of the vision model", make=_swapped)
    yield Case(name="weights: only a .bin", make=_only_bin)
    yield Case(name="weights: a .bin beside others", make=_bin_beside_others(), may_pass=True)
    yield Case(name="vision weights: a .bin beside others", make=_bin_beside_others(vision=True), may_pass=True)
    for name, target in (
        *(("out of the folder", "../other.safetensors"), ("to a .bin", "pytorch_model.bin")),
        *(("to nothing", "none.safetensors"), ("to a number", 5), ("to an absolute path", "/etc/hostname")),
    ):
        yield Case(name=f"weights: an index that leads {name}", make=_index({"weight_map": {"a": target}}))
    for name, index in (("null", None), ("a list", []), ("without a map", {}), ("with a list", {"weight_map": []})):
        yield Case(name=f"weights: an index that is {name}", make=_index(index))


def _vision() -> Iterator[Case]:
    for name, values in _VISION.items():
        for value in values:
            yield Case(
                name=f"vision config: {name} = {_short(value)}",
                make=lambda p, n=name, v=value: p.picture_search(model=p.vision(**{n: v})),
                may_pass=name == "label_names",
            )
    for name, values in _TRANSFORM.items():
        for value in values:
            yield Case(name=f"vision config: transform.{name} = {_short(value)}", make=_transform(name, value))
    for name, text in (*_JSONS.items(), ("an object", "{}")):
        yield Case(name=f"vision config file: {name}", make=_with_file("config.json", text, vision=True))
    for name, spoil in _SPOILERS.items():
        yield Case(name=f"vision config file: {name}", make=_spoilt("config.json", spoil, vision=True))


def _other_timm() -> Iterator[Case]:
    for name, config in (
        *(("no pretrained_cfg", {}), ("pretrained_cfg null", {"pretrained_cfg": None})),
        *(("pretrained_cfg list", {"pretrained_cfg": []}), ("input_size x", {"pretrained_cfg": {"input_size": "x"}})),
        *(("crop_pct 0", {"pretrained_cfg": {"crop_pct": 0}}), ("crop_pct x", {"pretrained_cfg": {"crop_pct": "x"}})),
        *(("crop_mode border", {"pretrained_cfg": {"crop_mode": "border"}}), ("model_args x", {"model_args": "x"})),
        *(("model_args unknown", {"model_args": {"none": 1}}), ("num_classes x", {"num_classes": "x"})),
        *(("mean x", {"pretrained_cfg": {"mean": "x"}}), ("std 0", {"pretrained_cfg": {"std": [0, 0, 0]}})),
    ):
        fields = {"architecture": "resnet18", **config}
        make = _with_file("config.json", json.dumps(fields), vision=True)
        yield Case(name=f"timm config: {name}", make=make)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}... ({len(text)} characters)"


def _search(place: Place, model: Path, vision: bool) -> Sequence[str]:
    return place.picture_search(model=model) if vision else place.text_search(model=model)


def _model(place: Place, vision: bool) -> Path:
    return place.vision() if vision else place.model()


def _with_file(name: str, text: str | bytes, vision: bool = False) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = _model(place, vision)
        place.file(f"model/{name}", text)
        return _search(place, model, vision)

    return make


def _with_field(file: str, field: str, value: Any) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = place.model()
        fields = json.loads((model / file).read_text())
        (model / file).write_text(json.dumps({**fields, field: value}))
        return place.text_search(model=model)

    return make


def _without(file: str, field: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = place.model()
        fields = json.loads((model / file).read_text())
        fields.pop(field)
        (model / file).write_text(json.dumps(fields))
        return place.text_search(model=model)

    return make


def _transform(name: str, value: Any) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = place.vision()
        fields = json.loads((model / "config.json").read_text())
        fields["transform"][name] = value
        (model / "config.json").write_text(json.dumps(fields))
        return place.picture_search(model=model)

    return make


def _to_folder(path: Path) -> None:
    path.mkdir()


def _to_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _to_nothing(path: Path) -> None:
    path.symlink_to("none")


def _gone(path: Path) -> None:
    """Leave it removed."""


_SPOILERS: dict[str, Callable[[Path], None]] = {
    "missing": _gone,
    "a folder": _to_folder,
    "a FIFO": os.mkfifo,
    "a link to itself": _to_loop,
    "a link to nothing": _to_nothing,
}


def _spoilt(name: str, spoil: Callable[[Path], None], vision: bool = False) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = _model(place, vision)
        (model / name).unlink()
        spoil(model / name)
        return _search(place, model, vision)

    return make


def _without_tokenizer(place: Place) -> Sequence[str]:
    model = place.model()
    for path in model.glob("*token*"):
        path.unlink()
    return place.text_search(model=model)


def _cut(vision: bool = False) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = _model(place, vision)
        whole = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        return _search(place, model, vision)

    return make


def _swapped(place: Place) -> Sequence[str]:
    model = place.model()
    shutil.copy(place.materials.vision / "model.safetensors", model / "model.safetensors")
    return place.text_search(model=model)


def _only_bin(place: Place) -> Sequence[str]:
    model = place.model()
    (model / "model.safetensors").unlink()
    place.file("model/pytorch_model.bin", PICKLE)
    return place.text_search(model=model)


def _bin_beside_others(vision: bool = False) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = _model(place, vision)
        (model / "model.safetensors").rename(model / "other.safetensors")
        place.file("model/pytorch_model.bin", PICKLE)
        return _search(place, model, vision)

    return make


def _index(index: Any) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        model = place.model()
        shutil.copy(model / "model.safetensors", place.folder / "other.safetensors")
        (model / "model.safetensors").rename(model / "part.safetensors")
        place.file("model/pytorch_model.bin", PICKLE)
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        return place.text_search(model=model)

    return make
