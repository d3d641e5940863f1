"""A user's own Python file, run from its text: its copy works where the file itself is not."""

from __future__ import annotations

import sys
import traceback
from types import ModuleType
from typing import Any

from frostline.trainables._errors import first_line


def run(text: str, origin: str) -> dict[str, Any]:
    """The names that a file defines, by running it. Files beside it cannot be imported.

    Args:
        text: of the file.
        origin: the file as the user names it, for messages.

    Raises:
        ValueError: it does not run; one line with the place and the reason.
    """
    module = ModuleType(f"frostline_own_{abs(hash(text))}")
    module.__file__ = origin
    sys.modules[module.__name__] = module  # a dataclass looks for its module
    try:
        exec(compile(text, origin, "exec"), module.__dict__)
    except SyntaxError as error:
        raise ValueError(f"{origin}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
        place = f"{origin}, line {lines[-1]}" if lines else origin
        alone = "; a copy of the file goes into the run directory, so it imports installed packages only"
        why = alone if isinstance(error, ImportError) else ""
        raise ValueError(f"{place}: {type(error).__name__}: {first_line(error)}{why}") from error
    return vars(module)
