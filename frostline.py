"""Frostline finds the best way to fine-tune a pretrained model on your data.

    import frostline as fl

    summary = fl.search("bert_imdb", model="./my-bert", dataset="reviews.csv")
    classify = fl.load(f"{summary['run']}/best")

An installation adds this one name. `search/`, `trainables/` and `spaces/` are its submodules: `frostline.search`,
`frostline.trainables`, `frostline.spaces`. `import frostline` imports none of them. A public name is loaded when it is
first used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.search.api import export as export
    from frostline.search.api import resume as resume
    from frostline.search.api import search as search
    from frostline.spaces import ALL as ALL
    from frostline.spaces import Budget as Budget
    from frostline.spaces import Data as Data
    from frostline.spaces import Depth as Depth
    from frostline.spaces import Metric as Metric
    from frostline.spaces import Profile as Profile
    from frostline.spaces import Recipe as Recipe
    from frostline.spaces import Space as Space
    from frostline.trainables import load as load
    from frostline.trainables._family import Family as Family

__path__ = [str(Path(__file__).resolve().parent)]

_PUBLIC = {
    **dict.fromkeys(("ALL", "Budget", "Data", "Depth", "Metric", "Profile", "Recipe", "Space"), "spaces"),
    "Family": "trainables._family",
    "export": "search.api",
    "load": "trainables",
    "resume": "search.api",
    "search": "",  # the submodule itself, which can be called
}
"""Public name -> the submodule that defines it."""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    place = _PUBLIC[name]
    if not place:
        return importlib.import_module(f"frostline.{name}")
    return getattr(importlib.import_module(f"frostline.{place}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


if __name__ == "__main__":
    from frostline.search.cli import main

    sys.exit(main())
