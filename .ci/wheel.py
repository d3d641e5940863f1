"""Build hook of hatchling: one top-level name, `frostline`, in a wheel and in an editable installation.

PyPI has another package called `spaces`, and a user's project may have a folder called `search`, so nothing is
installed under these names. Configuration alone cannot say this: hatchling copies what `force-include` names into
editable installations too, where the copies would hide later changes of the checkout.
"""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_STUB = '''"""Editable installation: the code is in the checkout."""

__file__ = {source!r}
with open(__file__, encoding="utf-8") as _source:
    exec(compile(_source.read(), __file__, "exec"))
'''


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files of `frostline` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Choose the files: `version` is `editable` for an editable installation, else `standard`."""
        root = Path(self.root)
        if version == "editable":
            stub = Path(tempfile.mkdtemp()) / "frostline.py"
            stub.write_text(_STUB.format(source=str(root / "frostline.py")), encoding="utf-8")
            build_data["force_include_editable"] = {str(stub): "frostline.py"}
            return
        build_data["force_include"] |= {
            str(root / "frostline.py"): "frostline/__init__.py",
            str(root / "search" / "run.py"): "frostline/__main__.py",
            **{str(root / name): f"frostline/{name}" for name in ("search", "trainables", "spaces")},
        }
