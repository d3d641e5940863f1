"""A user's mistake is one line: whatever a message quotes, and also where a path cannot be opened."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from frostline.trainables._atomic import DISK_FULL

_LONGEST = 1000
"""Characters of a word that are shown. The longest path that Linux takes, or name that S3 takes, is about that long."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(text: str) -> str:
    """A message as one line that every terminal can show: line ends are spaces, control characters are escaped.

    A longer word keeps its beginning and its end.
    """
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    line = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), line)
    return re.sub(rf"\S{{{_LONGEST},}}", lambda found: f"{found[0][:100]}...{found[0][-100:]}", line)


@contextlib.contextmanager
def one_line_each() -> Iterator[None]:
    """Turn every mistake that is met in a `with` block into a `ValueError` of one line.

    A path that cannot be opened is such a mistake: a name is too long, no permission, a link that leads to itself.

    Raises:
        ValueError: a mistake.
        OSError: the disk is full, or the error names no path.
    """
    try:
        yield
    except ValueError as error:
        line = one_line(str(error))
        if line == str(error):
            raise
        raise ValueError(line) from error
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # `Path.resolve` hides a link to itself
        if not isinstance(cause, OSError) or cause.errno in DISK_FULL or cause.filename is None:
            raise
        if cause is not error and cause.errno != errno.ELOOP:
            raise
        raise ValueError(one_line(f"{os.fsdecode(cause.filename)}: {cause.strerror}")) from error
