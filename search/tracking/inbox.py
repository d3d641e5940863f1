"""The events that the driver sends to the process that speaks to W&B, in their order."""

from __future__ import annotations

import collections
import json
import threading
import time
from typing import Any, TextIO


class Inbox:
    """Events in their order. A thread reads them, so that the sender never waits."""

    def __init__(self, source: TextIO) -> None:
        self._events: collections.deque[dict[str, Any]] = collections.deque()
        self._arrived = threading.Condition()
        self.closed_at: float | None = None
        """When the last event came, by `time.monotonic`."""
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: TextIO) -> None:
        for line in source:
            with self._arrived:
                self._events.append(json.loads(line))
                self._arrived.notify()
        with self._arrived:
            self.closed_at = time.monotonic()
            self._arrived.notify()

    def take(self) -> dict[str, Any] | None:
        """The next event; None after the last."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._events or self.closed_at is not None)
            return self._events.popleft() if self._events else None
