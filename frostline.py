"""Frostline finds the best way to fine-tune a pretrained model on your data.

    import frostline as fl

    summary = fl.search(space="bert_imdb", model="./my-bert", dataset="reviews.csv")
    classify = fl.load(f"{summary['run']}/best")

This module is the one name that an installation adds. `search/`, `trainables/` and `spaces/` are its submodules:
`frostline.search`, `frostline.trainables`, `frostline.spaces`. Importing it imports none of them; a public name is
loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

__path__ = [str(Path(__file__).resolve().parent)]

_PUBLIC = {
    **dict.fromkeys(("ALL", "Budget", "Data", "Depth", "Metric", "Profile", "Recipe", "Space"), "spaces"),
    "Family": "trainables._family",
    "load": "trainables",
    **dict.fromkeys(("resume", "search"), "search.api"),
}
"""Public name -> the submodule that defines it."""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"frostline.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


if __name__ == "__main__":
    from frostline.search.cli import main

    sys.exit(main())
