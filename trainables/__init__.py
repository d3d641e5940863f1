"""How to train: one family of tasks a file. Torch is imported here; Ray only in `trainables/slot/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(folder: str | Path) -> Callable[..., Any]:
    """The model in an export's folder (`best/`), ready to be called with an example.

    It answers as the loader of its field does: transformers' pipeline for texts, class probabilities for pictures.

    Raises:
        ValueError: the folder holds no export.
    """
    from frostline.spaces import Recipe
    from frostline.trainables import _family, _sizes

    folder = Path(folder).expanduser()
    try:
        recipe = Recipe.from_json((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not the best/ of a run directory: {error}") from error
    _sizes.check(folder)
    return _family.load(recipe.family).load_export(folder)
