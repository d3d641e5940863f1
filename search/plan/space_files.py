"""Where a space comes from: `spaces/`, a user's file or folder, or an installed package.

A file is Python (`SPACE = Space(...)`) or YAML (`space_yaml.py`). A name is looked for in the folder of `--space-path`,
in `spaces/`, and among the entry points `frostline.spaces` of installed packages, in this order. No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from frostline import spaces
from frostline.search.plan import space_yaml
from frostline.spaces import Depth, Space
from frostline.trainables import _code

GROUP = "frostline.spaces"
"""Entry points of this group are spaces: `reviews = "my_package.reviews:SPACE"`."""

_ENDINGS = (".py", ".yaml", ".yml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A space and the file that it is in."""

    space: Space
    file: Path | None = None
    """A user's own file; None for one of `spaces/`."""

    @property
    def copy(self) -> dict[str, str]:
        """Name and text of the copy in a run directory: `space.py` or `space.yaml`; empty for one of `spaces/`."""
        if self.file is None:
            return {}
        ending = ".py" if self.file.suffix == ".py" else ".yaml"
        return {f"space{ending}": self.file.read_text(encoding="utf-8")}


def find(name: str, folder: Path | None = None) -> Found:
    """The space that a user names: a file, or a name.

    Args:
        name: `./reviews.py`, `./reviews.yaml`, or the name of a space.
        folder: of `--space-path`.

    Raises:
        ValueError: as one line: there is none (the nearest name is suggested), or its file is wrong.
    """
    if name.endswith(_ENDINGS) or "/" in name:
        return _in_file(Path(name).expanduser(), folder)
    for path in () if folder is None else _files(folder):
        if path.stem == name:
            return _in_file(path, folder)
    if name in spaces.names():
        return Found(space=spaces.load(name))
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == name:
            return _of_package(entry)
    known = names(folder)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown space {name!r}: {hint}spaces are {', '.join(known)}")


def names(folder: Path | None = None) -> list[str]:
    """Names of all spaces that can be named, sorted.

    Raises:
        ValueError: `folder` is no folder.
    """
    own = [] if folder is None else [path.stem for path in _files(folder)]
    installed = [entry.name for entry in metadata.entry_points(group=GROUP)]
    return sorted({*own, *spaces.names(), *installed})


def to_json(found: Mapping[str, Found]) -> str:
    """Spaces as a JSON list: name, file, summary, family, metric, parameters as Optuna writes them, and the rest."""
    return json.dumps([_fields(name, one) for name, one in found.items()], indent=2)


def _fields(name: str, found: Found) -> dict[str, Any]:
    from optuna.distributions import distribution_to_json

    space = found.space
    return {
        "name": name,
        "file": None if found.file is None else str(found.file.resolve()),
        "summary": space.summary,
        "family": space.family,
        "metric": space.metric or None,
        "parameters": {
            name: {"name": "Depth", "attributes": dataclasses.asdict(values)}
            if isinstance(values, Depth)
            else json.loads(distribution_to_json(values))
            for name, values in space.parameters.items()
        },
        "recipes": {label: dict(recipe) for label, recipe in space.recipes.items()},
        "full": dataclasses.asdict(space.full),
        "small": dataclasses.asdict(space.small),
    }


def _files(folder: Path) -> list[Path]:
    """The files of a folder that hold spaces, by name."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise ValueError(f"--space-path {folder} is not a folder")
    return sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS and path.stem[0] not in "_.")


def _in_file(path: Path, folder: Path | None) -> Found:
    """The space in a file.

    Raises:
        ValueError: no such file, or there is no space in it.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"--space {path} {what}; spaces with a name are {', '.join(names(folder))}")
    if path.suffix not in _ENDINGS:
        raise ValueError(f"--space {path}: a space is a Python file or a YAML file, {', '.join(_ENDINGS)}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    if path.suffix != ".py":
        try:
            return Found(space=space_yaml.read(text, path, lambda base: find(base, folder).space), file=path)
        except RecursionError:
            raise ValueError(f"{path} extends itself") from None
    space = _code.run(text, str(path)).get("SPACE")
    if not isinstance(space, Space):
        raise ValueError(f"{path} defines no SPACE = Space(...); frostline --new-space {path.stem} writes an example")
    return Found(space=space, file=path)


def _of_package(entry: metadata.EntryPoint) -> Found:
    """The space of an entry point: a `Space`, or a module with a `SPACE`.

    Raises:
        ValueError: it cannot be imported, or is none.
    """
    origin = f"the entry point {entry.name} = {entry.value} of {GROUP}"
    try:
        loaded = entry.load()
    except Exception as error:  # any package may fail in its own way
        raise ValueError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
    space = getattr(loaded, "SPACE", loaded)
    if not isinstance(space, Space):
        raise ValueError(f"{origin} is no Space, but {type(space).__name__}")
    source = inspect.getsourcefile(sys.modules[entry.module])
    return Found(space=space, file=None if source is None else Path(source))
