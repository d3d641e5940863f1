"""The folder is the registry: `spaces/<name>.py` is the space <name>, unless its name starts with `_`."""

import difflib
import importlib
from pathlib import Path

from frostline.spaces._space import Space


def names_in(folder: Path) -> list[str]:
    """Names of the Python files in a folder, sorted, without those that start with `_`. None of them is imported."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def names() -> list[str]:
    """Names of all spaces, sorted."""
    return names_in(Path(__file__).parent)


def load(name: str) -> Space:
    """The space in `spaces/<name>.py`, its module-level `SPACE`.

    Raises:
        ValueError: no such file (the nearest name is suggested), or it defines no `SPACE`.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown space {name!r}: {hint}spaces are {', '.join(names())}")
    space = getattr(importlib.import_module(f"frostline.spaces.{name}"), "SPACE", None)
    if not isinstance(space, Space):
        raise ValueError(f"spaces/{name}.py defines no SPACE = Space(...)")
    if space.name != name:
        raise ValueError(f"spaces/{name}.py: its SPACE is named {space.name!r}; it must be {name!r}")
    return space
