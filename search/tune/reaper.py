"""Removes placement groups that worker groups leave behind."""

from __future__ import annotations

import contextlib
import time

from frostline.search.cluster import ray_private


class Reaper:
    """Removes placement groups whose maker, the controller of a worker group, is dead.

    Ray removes them only when the job that made them ends too. For a search on somebody else's Ray that may be never.
    A dead actor makes no new groups, so none is missed, and nobody uses those it has left.
    """

    _EVERY = 1.0  # seconds between two polls
    _PATIENCE = 10.0  # seconds that all groups may take to go at the end

    def __init__(self) -> None:
        self._polled = time.monotonic()

    def poll(self) -> None:
        """Remove the groups of dead controllers; at most every second, in between it does nothing."""
        if time.monotonic() - self._polled >= self._EVERY:
            self._polled = time.monotonic()
            with contextlib.suppress(Exception):  # without Ray there are no groups either, and `Watch` reports it
                for made in ray_private.groups_made_by_actors():
                    if made.maker_died:
                        _remove(made)

    def close(self) -> None:
        """Wait until no group is left. Call it after the last slot has ended; after 10 s it removes the rest."""
        until = time.monotonic() + self._PATIENCE
        while groups := ray_private.groups_made_by_actors():
            late = time.monotonic() > until
            for made in groups:
                if made.maker_died or late:
                    _remove(made)
            if late:
                return
            time.sleep(0.1)


def _remove(made: ray_private.MadeGroup) -> None:
    from ray.util import remove_placement_group

    remove_placement_group(made.group)
