"""Clears up what a worker group leaves behind that has not ended by itself."""

from __future__ import annotations

import contextlib
import time
from typing import Any


class Reaper:
    """Removes placement groups whose maker, a group's controller, is dead.

    Ray frees them only when the job that made them ends too, which for a search on another's Ray is never. A dead actor
    makes no new ones, so that none is missed, and nobody uses what it has left.
    """

    _EVERY = 1.0  # seconds between two looks
    _MOST = 10.0  # seconds that all may take to go at the end

    def __init__(self) -> None:
        self._looked = time.monotonic()

    def look(self) -> None:
        """Look, if it is time to."""
        if time.monotonic() - self._looked >= self._EVERY:
            self._looked = time.monotonic()
            with contextlib.suppress(Exception):  # with Ray gone, so are they, and `Watch` says it
                for _, group in _made(dead=True):
                    _remove(group)

    def close(self) -> None:
        """Wait until none is left, the slots being over; what has not gone by itself in 10 s is removed."""
        until = time.monotonic() + self._MOST
        while found := _made(dead=False):
            late = time.monotonic() > until
            for dead, group in found:
                if dead or late:
                    _remove(group)
            if late:
                return
            time.sleep(0.1)


def _remove(group: Any) -> None:
    from ray.util import remove_placement_group

    remove_placement_group(group)


def _made(dead: bool) -> list[tuple[bool, Any]]:
    """Placement groups that actors of this job have made and that are there, and whether their maker is dead.

    Args:
        dead: only those of which it is.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.util.placement_group import PlacementGroup

    job = ray.get_runtime_context().get_job_id()
    found = []
    for raw in state._connect_and_get_accessor().get_placement_group_table():
        data = PlacementGroupTableData.FromString(raw)
        if (
            data.state != PlacementGroupTableData.REMOVED
            and data.creator_job_id.hex() == job
            and data.creator_actor_id.strip(b"\xff")
            and (data.creator_actor_dead or not dead)
        ):
            found.append((data.creator_actor_dead, PlacementGroup(ray.PlacementGroupID(data.placement_group_id))))
    return found
