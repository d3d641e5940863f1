"""Build hook of hatchling: a wheel and an editable installation make one top-level name, `frostline`.

PyPI has another package called `spaces`, and a user's project may have a folder called `search`. So nothing is
installed under these names. Configuration alone cannot do this: hatchling copies the files in `force-include` into an
editable installation too, and the copies would hide later edits in the checkout.
"""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDERS = ("search", "trainables", "spaces")
_FOR_READERS = {"README.md", "report.png"}
"""Files that people read in the checkout. The program does not use them."""

_STUB = '''"""Editable installation: the code is in the checkout."""

__file__ = {source!r}
with open(__file__, encoding="utf-8") as _source:
    exec(compile(_source.read(), __file__, "exec"))
'''


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files of `frostline` to a wheel."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Choose the files. `version` is `editable` for an editable installation, else `standard`."""
        root = Path(self.root)
        if version == "editable":
            self._scratch = tempfile.TemporaryDirectory()
            stub = Path(self._scratch.name) / "frostline.py"
            stub.write_text(_STUB.format(source=str(root / "frostline.py")), encoding="utf-8")
            build_data["force_include_editable"] = {str(stub): "frostline.py"}
            return
        files = {
            path: path.relative_to(root).as_posix()
            for folder in _FOLDERS
            for path in sorted((root / folder).rglob("*"))
            if path.is_file() and path.name not in _FOR_READERS and "__pycache__" not in path.parts
        }
        # The entry files of the checkout have other names in a package.
        files |= {root / "frostline.py": "__init__.py", root / "search" / "run.py": "__main__.py"}
        build_data["force_include"] |= {str(path): f"frostline/{name}" for path, name in files.items()}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the stub of an editable installation, which the wheel now has."""
        if self._scratch is not None:
            self._scratch.cleanup()
