"""The head of a README that names the files of each configuration and split, as data sets of the hub have it."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.formats.wanted import listed

_LONGEST = 200_000
"""Characters of a head that is read; GLUE's has 25,000."""


def shards_of(folder: Path, config: str | None, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The files of each split that the README of a folder names, by the split's own name; empty if it names none.

    Raises:
        ValueError: no such configuration, or there are several and none is given.
    """
    configs = _configs(folder)
    default = [name for name, given in configs.items() if given.get("default") is True or name == "default"]
    if config is not None and config not in configs:
        has = f"it has {listed(list(configs))}" if configs else "its README names none"
        raise ValueError(f"data set {folder} has no configuration {config!r}; {has}")
    if config is None and len(configs) > 1 and not default:
        names = list(configs)
        given = f"name one, such as {folder}:{names[0]}; it has {listed(names)}"
        raise ValueError(f"data set {folder} has several configurations; {given}")
    name = config or (default or list(configs) or [""])[0]
    patterns = _patterns(configs.get(name, {}))
    shards = {
        split: [entry for entry in entries if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in given)]
        for split, given in patterns.items()
    }
    return {split: own for split, own in shards.items() if own}


def _configs(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations that have files of their own."""
    import yaml

    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        start, head, *_ = text.split("---", 2)
        given = yaml.safe_load(head[:_LONGEST])["configs"] if not start.strip() else []
        named = {str(one["config_name"]): one for one in given}
        return {name: one for name, one in named.items() if _patterns(one)}
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return {}  # no README, or none with such a head


def _patterns(config: dict[str, Any]) -> dict[str, list[str]]:
    """The patterns of the files of each split."""
    files, root = config.get("data_files", []), str(config.get("data_dir") or "").strip("/")
    patterns: dict[str, list[str]] = {}
    for one in files if isinstance(files, list) else [files]:
        split, paths = (one.get("split"), one.get("path")) if isinstance(one, dict) else ("train", one)
        for path in paths if isinstance(paths, list) else [paths]:
            patterns.setdefault(str(split), []).append("/".join(filter(None, (root, str(path).removeprefix("./")))))
    return patterns
