"""`--new-space NAME`: a space with comments, to begin one's own with."""

from __future__ import annotations

from pathlib import Path

_TEMPLATE = Path(__file__).with_name("new_space.txt")


def template(name: str) -> str:
    """The text of a Python file that defines the space `name`.

    Raises:
        ValueError: the name is not one of letters, digits, hyphens and underscores.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"--new-space is a name of letters, digits, - and _, got {name!r}")
    return _TEMPLATE.read_text(encoding="utf-8").replace("NAME", name)
