"""Model folders of other people with something odd in them, each made by one change to a folder that trains."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Change = Callable[[Path], object]

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def config(**values: Any) -> Change:
    """Set values of `config.json`; `...` removes one."""

    def change(folder: Path) -> None:
        fields = json.loads((folder / CONFIG).read_text()) | values
        (folder / CONFIG).write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}))

    return change


def content(name: str, text: str | bytes) -> Change:
    """Give a file another content."""
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def without(*names: str) -> Change:
    """Remove files."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    """Change the tensors of the weights."""
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def inside(file: str, **values: Any) -> Change:
    """Set values of another JSON file."""
    return lambda folder: (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | values))


def sharded(place: str) -> Change:
    """Replace the weights by an index that maps all of them to the file `place`, where a pickle lies."""

    def change(folder: Path) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).rename(folder / "other.safetensors")
        target = folder / place
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.save({name: torch.zeros(1) for name in names}, target)
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, place)}))

    return change


def replaced_by_folder(name: str) -> Change:
    """Put a folder in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def halved(name: str) -> Change:
    """Cut a file."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def in_shards(folder: Path) -> None:
    """Split the weights into two files with an index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    shards = {f"model-0000{number + 1}-of-00002.safetensors": names[number::2] for number in range(2)}
    for shard, own in shards.items():
        save_file({name: tensors[name] for name in own}, folder / shard, {"format": "pt"})
    places = {name: shard for shard, own in shards.items() for name in own}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / WEIGHTS).unlink()


def _with(tensors: dict[str, torch.Tensor], value: float) -> dict[str, torch.Tensor]:
    """The tensors with one such number in each."""
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.view(-1)[-1:] = value
    return tensors


NESTED = "[" * 100_000

OF_ANY_FAMILY: dict[str, Change] = {
    "config is null": content(CONFIG, "null"),
    "config is a list": content(CONFIG, "[1]"),
    "config is a number": content(CONFIG, "3"),
    "config is a string": content(CONFIG, '"bert"'),
    "config is empty": content(CONFIG, ""),
    "config is cut": halved(CONFIG),
    "config is no text": content(CONFIG, b"\xff\xfe\x00\x80"),
    "config is NULs": content(CONFIG, b"\0" * 400),
    "config nests 100,000 times": content(CONFIG, '{"a": ' + NESTED),
    "config is a folder": replaced_by_folder(CONFIG),
    "config is missing": without(CONFIG),
    "weights are empty": content(WEIGHTS, ""),
    "weights are NULs": content(WEIGHTS, b"\0" * 4000),
    "weights are cut": halved(WEIGHTS),
    "weights claim a header of 2**60 bytes": content(WEIGHTS, (2**60).to_bytes(8, "little") + b"{}"),
    "weights are a pickle": lambda folder: torch.save({"a": torch.zeros(2)}, folder / WEIGHTS),
    "weights are a folder": replaced_by_folder(WEIGHTS),
    "weights are missing": without(WEIGHTS),
    "weights of nothing": weights(lambda tensors: {}),
    "weights of another model": weights(lambda tensors: {"a.weight": torch.zeros(3)}),
    "weights lack half": weights(lambda tensors: dict(sorted(tensors.items())[::2])),
    "weights are scalars": weights(lambda tensors: {name: torch.tensor(1.0) for name in tensors}),
    "weights have a NaN": weights(lambda tensors: _with(tensors, float("nan"))),
    "weights have an infinity": weights(lambda tensors: _with(tensors, float("-inf"))),
    "two files of weights": lambda folder: (
        [shutil.copy(folder / WEIGHTS, folder / f"{name}.safetensors") for name in ("a", "b")]
        and (folder / WEIGHTS).unlink()
    ),
    "index to a pickle": sharded("pytorch_model.bin"),
    "index out of the folder": sharded("../elsewhere/model.safetensors"),
    "index to an absolute path": sharded("/tmp/frostline-elsewhere.safetensors"),
    "index to a folder below": sharded("below/model.safetensors"),
    "index to a missing file": lambda folder: (
        (folder / WEIGHTS).unlink(),
        (folder / INDEX).write_text('{"weight_map": {"a": "missing.safetensors"}}'),
    ),
    "index is null": lambda folder: ((folder / WEIGHTS).unlink(), (folder / INDEX).write_text("null")),
    "index maps to numbers": lambda folder: (
        (folder / WEIGHTS).unlink(),
        (folder / INDEX).write_text('{"weight_map": {"a": 3}}'),
    ),
}

OF_TEXT: dict[str, Change] = {
    "hidden_act that does not exist": config(hidden_act="nonsense"),
    "hidden_act is a number": config(hidden_act=3),
    "hidden_act is null": config(hidden_act=None),
    "model_type that does not exist": config(model_type="nonsense"),
    "model_type is missing": config(model_type=...),
    "model_type is a list": config(model_type=["bert"]),
    "model_type of pictures": config(model_type="vit"),
    "model_type of speech": config(model_type="wav2vec2"),
    "dtype that does not exist": config(dtype="nonsense"),
    "dtype is a number": config(dtype=3),
    "quantization_config of bitsandbytes": config(
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
    ),
    "quantization_config of gptq": config(quantization_config={"quant_method": "gptq", "bits": 4}),
    "quantization_config that does not exist": config(quantization_config={"quant_method": "nonsense"}),
    "quantization_config is a string": config(quantization_config="int8"),
    "quantization_config is empty": config(quantization_config={}),
    "_attn_implementation that does not exist": config(_attn_implementation="nonsense"),
    "_attn_implementation of a hub kernel": config(_attn_implementation="some/kernel"),
    "_attn_implementation of a GPU": config(_attn_implementation="flash_attention_2"),
    "attn_implementation is a number": config(attn_implementation=3),
    "id2label is empty": config(id2label={}),
    "id2label is a list": config(id2label=["a", "b"]),
    "id2label is null": config(id2label=None),
    "id2label has other numbers": config(id2label={"7": "a"}, label2id={"a": 7}),
    "num_labels is a string": config(num_labels="two"),
    "label2id is a string": config(label2id="a"),
    "hidden_size is a string": config(hidden_size="wide"),
    "hidden_size is 0": config(hidden_size=0),
    "hidden_size is negative": config(hidden_size=-32),
    "hidden_size is null": config(hidden_size=None),
    "hidden_size is a list": config(hidden_size=[32]),
    "hidden_size of a billion": config(hidden_size=2_000_000_000),
    "hidden_size is not the weights'": config(hidden_size=64),
    "num_hidden_layers is 0": config(num_hidden_layers=0),
    "num_hidden_layers is negative": config(num_hidden_layers=-1),
    "num_hidden_layers is a string": config(num_hidden_layers="2"),
    "num_hidden_layers of a billion": config(num_hidden_layers=1_000_000_000),
    "num_hidden_layers is more than the weights'": config(num_hidden_layers=4),
    "num_attention_heads is 0": config(num_attention_heads=0),
    "num_attention_heads does not divide": config(num_attention_heads=5),
    "intermediate_size of a trillion": config(intermediate_size=10**12),
    "vocab_size is 1": config(vocab_size=1),
    "vocab_size of a trillion": config(vocab_size=10**12),
    "vocab_size is a float": config(vocab_size=29.5),
    "max_position_embeddings is 0": config(max_position_embeddings=0),
    "max_position_embeddings is 1": config(max_position_embeddings=1),
    "max_position_embeddings is a string": config(max_position_embeddings="long"),
    "max_position_embeddings of a billion": config(max_position_embeddings=1_000_000_000),
    "type_vocab_size is 0": config(type_vocab_size=0),
    "pad_token_id is not in the vocabulary": config(pad_token_id=99_999),
    "pad_token_id is a string": config(pad_token_id="[PAD]"),
    "dropout of 7": config(hidden_dropout_prob=7.0),
    "dropout is a string": config(hidden_dropout_prob="much"),
    "layer_norm_eps is a string": config(layer_norm_eps="small"),
    "chunk_size_feed_forward does not divide": config(chunk_size_feed_forward=3),
    "is a decoder with cross attention": config(is_decoder=True, add_cross_attention=True),
    "problem_type that does not exist": config(problem_type="nonsense"),
    "torch_dtype and dtype": config(torch_dtype="float64", dtype="int4"),
    "architectures is a number": config(architectures=3),
    "transformers_weights is a pickle": lambda folder: (
        torch.save({}, folder / "adapter_model.bin"),
        config(transformers_weights="adapter_model.bin")(folder),
        (folder / WEIGHTS).unlink(),
    ),
    "auto_map to code in the folder": lambda folder: (
        config(model_type="own", auto_map={"AutoConfig": "code.C", "AutoModelForSequenceClassification": "code.M"})(
            folder
        ),
        (folder / "code.py").write_text("raise SystemExit('the code of the folder ran')"),
    ),
    "embeddings are fewer than the tokenizer's words": lambda folder: (
        weights(lambda tensors: {name: t[:-3] if "word_embeddings" in name else t for name, t in tensors.items()})(
            folder
        ),
        config(vocab_size=27)(folder),
    ),
    "tokenizer of other texts": inside(
        "tokenizer.json",
        model={
            "type": "WordLevel",
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4},
            "unk_token": "[UNK]",
        },
    ),
    "tokenizer files are missing": without("tokenizer.json", "tokenizer_config.json"),
    "tokenizer.json is missing": without("tokenizer.json"),
    "tokenizer.json is null": content("tokenizer.json", "null"),
    "tokenizer.json is a list": content("tokenizer.json", "[]"),
    "tokenizer.json is empty": content("tokenizer.json", ""),
    "tokenizer.json is cut": halved("tokenizer.json"),
    "tokenizer.json is NULs": content("tokenizer.json", b"\0" * 500),
    "tokenizer.json nests 100,000 times": content("tokenizer.json", '{"a": ' + NESTED),
    "tokenizer.json without a model": inside("tokenizer.json", model=None),
    "tokenizer.json of an unknown kind": inside("tokenizer.json", model={"type": "nonsense"}),
    "tokenizer_config is null": content("tokenizer_config.json", "null"),
    "tokenizer_config is a list": content("tokenizer_config.json", "[]"),
    "tokenizer_class that does not exist": inside("tokenizer_config.json", tokenizer_class="Nonsense"),
    "tokenizer_class is a number": inside("tokenizer_config.json", tokenizer_class=3),
    "tokenizer's auto_map to code": lambda folder: (
        inside("tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["code.T", None]})(folder),
        (folder / "code.py").write_text("raise SystemExit('the code of the folder ran')"),
    ),
    "model_max_length is a string": inside("tokenizer_config.json", model_max_length="long"),
    "model_max_length is 0": inside("tokenizer_config.json", model_max_length=0),
    "model_max_length is negative": inside("tokenizer_config.json", model_max_length=-5),
    "truncation_side that does not exist": inside("tokenizer_config.json", truncation_side="middle"),
    "pad_token is a number": inside("tokenizer_config.json", pad_token=3),
    "an adapter": content("adapter_config.json", '{"base_model_name_or_path": "../elsewhere", "peft_type": "LORA"}'),
}


def _model_args(**values: Any) -> Change:
    return config(model_args=values)


def _pretrained_cfg(**values: Any) -> Change:
    def change(folder: Path) -> None:
        fields = json.loads((folder / CONFIG).read_text())["pretrained_cfg"]
        config(pretrained_cfg=fields | values)(folder)

    return change


OF_TIMM: dict[str, Change] = {
    "architecture that does not exist": config(architecture="nonsense"),
    "architecture is a number": config(architecture=3),
    "architecture is null": config(architecture=None),
    "architecture is a path": config(architecture="../elsewhere"),
    "architecture on the hub": config(architecture="hf-hub:timm/resnet18.a1_in1k"),
    "architecture of another model": config(architecture="resnet50"),
    "architecture is missing": config(architecture=...),
    "model_args is a list": config(model_args=[1]),
    "model_args of a value that does not exist": _model_args(nonsense=3),
    "depth of a billion": _model_args(depth=1_000_000_000),
    "embed_dim of a billion": _model_args(embed_dim=1_000_000_000),
    "embed_dim is a string": _model_args(embed_dim="wide"),
    "img_size of a million": _model_args(img_size=1_000_000),
    "num_heads is 0": _model_args(num_heads=0),
    "patch_size is 0": _model_args(patch_size=0),
    "act_layer that does not exist": _model_args(act_layer="nonsense"),
    "model_args of a pickle": _model_args(checkpoint_path="pytorch_model.bin"),
    "model_args with a pretrained_cfg": _model_args(pretrained_cfg={"file": "pytorch_model.bin"}),
    "num_classes is a string": config(num_classes="ten"),
    "pretrained_cfg is null": config(pretrained_cfg=None),
    "pretrained_cfg is a list": config(pretrained_cfg=[3]),
    "pretrained_cfg is a string": config(pretrained_cfg="resnet18"),
    "pretrained_cfg of a value that does not exist": _pretrained_cfg(nonsense=3),
    "input_size is empty": _pretrained_cfg(input_size=[]),
    "input_size is a string": _pretrained_cfg(input_size="large"),
    "input_size of a million": _pretrained_cfg(input_size=[3, 1_000_000, 1_000_000]),
    "input_size is 0": _pretrained_cfg(input_size=[3, 0, 0]),
    "crop_pct is negative": _pretrained_cfg(crop_pct=-1.0),
    "crop_mode that does not exist": _pretrained_cfg(crop_mode="nonsense"),
    "interpolation that does not exist": _pretrained_cfg(interpolation="nonsense"),
    "mean of one channel": _pretrained_cfg(mean=[0.5]),
    "mean is a string": _pretrained_cfg(mean="grey"),
    "std is 0": _pretrained_cfg(std=[0.0, 0.0, 0.0]),
    "classifier that does not exist": _pretrained_cfg(classifier="nonsense"),
    "weights in several files": in_shards,
    "label_offset of a million": _pretrained_cfg(label_offset=1_000_000),
}

_TRANSFORM = {"resize": 36, "crop": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}

OF_TORCHVISION: dict[str, Change] = {
    "architecture that does not exist": config(architecture="nonsense"),
    "architecture is a number": config(architecture=3),
    "architecture of another task": config(architecture="fasterrcnn_resnet50_fpn"),
    "architecture of films": config(architecture="r3d_18"),
    "architecture with auxiliary classifiers": config(architecture="googlenet"),
    "transform is missing": config(transform=...),
    "transform is null": config(transform=None),
    "transform of a value that does not exist": config(transform=_TRANSFORM | {"nonsense": 3}),
    "transform without mean": config(transform={"resize": 36, "crop": 32}),
    "crop of a million": config(transform=_TRANSFORM | {"crop": 1_000_000, "resize": 1_000_000}),
    "crop is 0": config(transform=_TRANSFORM | {"crop": 0}),
    "crop is a string": config(transform=_TRANSFORM | {"crop": "large"}),
    "mean is null": config(transform=_TRANSFORM | {"mean": None}),
    "std is 0": config(transform=_TRANSFORM | {"std": [0.25, 0, 0.25]}),
    "interpolation is a number": config(transform=_TRANSFORM | {"interpolation": 3}),
}

STILL_TRAINS = {
    "quantization_config that does not exist",
    "id2label is empty",
    "id2label is null",
    "id2label has other numbers",
    "label2id is a string",
    "problem_type that does not exist",
    "architectures is a number",
    "tokenizer_class that does not exist",
    "tokenizer's auto_map to code",
    "an adapter",
    "first_conv that does not exist",
}
"""Changes to values that no training reads."""
