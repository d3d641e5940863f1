"""Everything that a slot uses of Ray beyond its public API, written for Ray 2.60. `test_ray_private.py` tries it.

What `search` uses is in `search/cluster/ray_private.py`.
"""

from ray._private.state import state


def draining_nodes() -> set[str]:
    """Ids of the nodes that Ray was told will be taken away (`ray drain-node`)."""
    return set(state.get_draining_nodes())
