"""Standard output that closes (`| head`), or whose disk is full, does not end a search."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class Output:
    """A text stream. After its first error nothing more is written to it, and no error is raised."""

    def __init__(self, stream: TextIO | None) -> None:
        """Take a stream; None if the process was started without it."""
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        self.error = None if stream else OSError(errno.EBADF, "it is closed")
        """The first error."""
        self._promise = ""

    def promise(self, text: str) -> None:
        """Tell on standard error, when the first error comes or has come, what goes on without this stream."""
        self._promise = text
        self._tell()

    def _tell(self) -> None:
        if self._promise and self.error is not None:
            print(f"frostline: stdout: {self.error.strerror}; {self._promise}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def check(self) -> None:
        """Raise the first error, unless the reader has simply gone or there was none.

        Raises:
            OSError: the disk is full, say.
        """
        self.flush()
        if self.error is not None and self.error.errno not in {errno.EPIPE, errno.EBADF}:
            raise self.error

    def write(self, text: str) -> int:
        """Write a text."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Write what was kept back."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[..., object], *arguments: str) -> None:
        if self.error is not None:
            return
        try:
            do(*arguments)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError, ValueError):  # else Python writes the rest when it exits, and fails too
                _open_nothing_as(self._stream.fileno())
            self._tell()


@contextlib.contextmanager
def guarded() -> Iterator[Output]:
    """Make both standard streams an `Output` during a `with` block; yields standard output."""
    for number in (0, 1, 2):  # else the next file that is opened gets the number, and what Ray prints
        try:
            os.fstat(number)
        except OSError:
            _open_nothing_as(number)
    before = sys.stdout, sys.stderr
    output, errors = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def _open_nothing_as(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
