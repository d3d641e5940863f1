"""Where models and data sets come from: files in installed packages (hash-checked) and the Hugging Face hub.

Everything read here is data: weights are safetensors, no remote code is run, no pickle is opened.
"""

import functools
import hashlib
import importlib.resources
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.trainables._errors import first_line

PACKAGE = "package:"
"""Prefix of a source that is in an installed package."""

_WAYS_WITHOUT_NETWORK = "run with --profile small (works offline), or give --model FOLDER and --dataset FILE-OR-FOLDER"


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
        package = item.module.replace("_", "-")
        raise ValueError(f"package {package} is not installed; run: pip install {package}") from None
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if sha256 != item.sha256:
        raise ValueError(f"{path} is not the file this was tested with: sha256 {sha256}, expected {item.sha256}")
    return path


def packaged(source: str, known: Mapping[str, Packaged]) -> Packaged:
    """The item of `known` that `package:<name>` names.

    Raises:
        ValueError: `known` has no such name.
    """
    name = source.removeprefix(PACKAGE)
    if name not in known:
        raise ValueError(f"no packaged {source!r}; there is {', '.join(PACKAGE + key for key in sorted(known))}")
    return known[name]


class NotCachedError(ValueError):
    """Something that only the hub has, while the hub does not answer."""

    def __init__(self, *what: str) -> None:
        verb = "is" if len(what) == 1 else "are"
        *others, last = what
        names = f"{', '.join(others)} and {last}" if others else last
        problem = f"{names} {verb} not cached here and the Hugging Face hub cannot be reached"
        super().__init__(f"{problem}: {_WAYS_WITHOUT_NETWORK}")
        self.what = what


def from_hub(kind: str, name: str, load: Callable[[bool], Any]) -> Any:
    """`load(offline)` for a hub name: from the hub if it answers, else from its local cache.

    Raises:
        ValueError: not a hub name, or the hub does not have it.
        NotCachedError: the hub does not answer, and its local cache does not have it.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ValueError(f"{kind} {name!r} is neither an existing folder or file nor a hub name") from None
    offline = not _hub_reachable()
    try:
        return load(offline)
    except Exception as error:  # the hub's clients raise a dozen unrelated types
        if offline:
            raise NotCachedError(f"{kind} {name!r}") from error
        raise ValueError(f"{kind} {name!r} could not be loaded from the hub: {first_line(error)}") from error


@functools.cache
def _hub_reachable() -> bool:
    """True if the hub answers one request within 5 s.

    Without a network the hub's own client tries five times, for 23 s and with a log line each.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True
