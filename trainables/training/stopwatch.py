"""Where the seconds of a training go, by the wall clock alone: nothing in here waits for a GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times a stretch of training and the evaluation after it."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new stretch begins."""
        self._began = self._trained = time.monotonic()
        self._data = 0.0

    @contextmanager
    def data(self) -> Iterator[None]:
        """Around what makes a batch, or waits for one that a thread makes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._data += time.monotonic() - began

    def trained(self) -> None:
        """The device has done all of the stretch; the evaluation begins."""
        self._trained = time.monotonic()

    def spent(self) -> dict[str, float]:
        """Seconds since `start` by what they went into; the evaluation ends now."""
        return {
            "training": self._trained - self._began - self._data,
            "evaluation": time.monotonic() - self._trained,
            "data": self._data,
        }
