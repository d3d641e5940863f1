"""Seconds of a training by activity, from the wall clock alone: nothing here waits for a GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Times a stretch of training and the evaluation after it."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin a new stretch."""
        self._began = self._trained = time.monotonic()
        self._data = 0.0

    @contextmanager
    def data(self) -> Iterator[None]:
        """Put this around code that makes a batch, or waits for a thread that makes it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._data += time.monotonic() - began

    def trained(self) -> None:
        """The device has finished the stretch, and the evaluation begins."""
        self._trained = time.monotonic()

    def spent(self) -> dict[str, float]:
        """Seconds since `start` by activity: `training`, `evaluation`, `data`. The evaluation ends now."""
        return {
            "training": self._trained - self._began - self._data,
            "evaluation": time.monotonic() - self._trained,
            "data": self._data,
        }
