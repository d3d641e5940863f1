from frostline.trainables.slot import ray_private


def test_a_node_that_stays_is_not_draining(ray_here: None) -> None:
    """That one which is taken is among them is seen in `integration/test_nodes.py`."""
    assert ray_private.draining_nodes() == set()
