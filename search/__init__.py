"""How a search runs. The package is also the function `frostline.search(...)` of the public API.

Python makes a submodule an attribute of its package, so the function and this package share the name. Called, the
package runs `search` in `search/api.py`.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from frostline.spaces import Space


class _Search(types.ModuleType):
    def __call__(
        self, space: str | Path | Space | None = None, *, quiet: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Run a new search to its end: see `frostline.search.api.search`."""
        from frostline.search import api

        return api.search(space, quiet=quiet, **options)


sys.modules[__name__].__class__ = _Search
