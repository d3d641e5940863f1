"""cluster.yaml, and the alternatives that it holds as comments."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def read() -> dict[str, Any]:
    """The file, parsed."""
    return dict(yaml.safe_load((ROOT / "cluster.yaml").read_text()))


def alternative(title: str, **values: str) -> dict[str, Any]:
    """The lines under the heading `title`, with `values` for the names in capitals."""
    block = (ROOT / "cluster.yaml").read_text().split(f"# --- {title} ")[1].split("\n#\n")[1]
    lines = [line.removeprefix("# ") for line in block.split("\n\n")[0].splitlines()]
    text = "\n".join(lines)
    for name, value in values.items():
        text = text.replace(name, value)
    return dict(yaml.safe_load(text))
