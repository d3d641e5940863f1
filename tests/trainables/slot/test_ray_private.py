from frostline.trainables.slot import ray_private


def test_a_node_that_stays_is_not_draining(ray_here: None) -> None:
    """`integration/test_nodes.py` drains a node and sees it listed."""
    assert ray_private.draining_nodes() == set()
