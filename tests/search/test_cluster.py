import pytest

from search import cluster
from search.cluster import GB, Need, Node

LAPTOP = Node(cpus=8, gpus=0, memory=10 * GB)
GPU_BOX = Node(cpus=16, gpus=2, memory=100 * GB)


@pytest.mark.parametrize(
    ("nodes", "need", "expected"),
    [
        ([LAPTOP], Need(cpus=1, gpus=0, memory=1 * GB), 8),
        ([LAPTOP], Need(cpus=1, gpus=0, memory=3 * GB), 3),  # memory is the limit
        ([LAPTOP], Need(cpus=3, gpus=0, memory=1 * GB), 2),
        ([GPU_BOX], Need(cpus=4, gpus=1, memory=4 * GB), 2),
        ([GPU_BOX], Need(cpus=1, gpus=0.25, memory=4 * GB), 8),
        ([GPU_BOX, GPU_BOX, LAPTOP], Need(cpus=4, gpus=1, memory=4 * GB), 4),
        ([Node(cpus=1, gpus=0.3, memory=GB)], Need(cpus=0.1, gpus=0.1, memory=1), 3),  # 0.3 / 0.1 < 3 in floats
    ],
)
def test_slots(nodes: list[Node], need: Need, expected: int) -> None:
    assert cluster.slots(nodes, need) == expected
    assert sum(int(part.rsplit("= ")[-1]) for part in cluster.arithmetic(nodes, need).split(" + ")) == expected


def test_what_no_node_has_is_said_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"needs 1 CPU, 1 GPU, 2.0 GB; there is 8 CPU, 0 GPU, 10.0 GB"):
        cluster.slots([LAPTOP], Need(cpus=1, gpus=1, memory=2 * GB))


def test_no_cluster_at_an_address() -> None:
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        cluster.nodes("127.0.0.1:9")
    for address in ("ray://somewhere:10001", "somewhere", "somewhere:port"):
        with pytest.raises(ValueError, match="'auto' or HOST:PORT"):
            cluster.nodes(address)
