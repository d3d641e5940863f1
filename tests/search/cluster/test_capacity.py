import pytest

from frostline.search.cluster import capacity
from frostline.search.cluster.capacity import GB, Need, Node, Offer

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
def test_trials_that_fit_are_summed_over_the_nodes(nodes: list[Node], need: Need, expected: int) -> None:
    assert capacity.places(Offer(nodes=tuple(nodes)), need).now == expected
    assert sum(int(part.rsplit("= ")[-1]) for part in capacity.arithmetic(nodes, need).split(" + ")) == expected


def test_a_trial_that_no_node_can_hold_is_refused_with_the_resources() -> None:
    with pytest.raises(ValueError, match=r"needs 1 CPU, 1 GPU, 2.0 GB; there is 8 CPU, 0 GPU, 10.0 GB"):
        capacity.places(Offer(nodes=(LAPTOP,)), Need(cpus=1, gpus=1, memory=2 * GB))


def test_equal_nodes_make_one_term() -> None:
    need = Need(cpus=4, gpus=1, memory=4 * GB)
    expected = "min(8 CPU / 4, 0 GPU / 1, 10.0 GB / 4.0 GB) = 0 + 3 × min(16 CPU / 4, 2 GPU / 1, 100.0 GB / 4.0 GB) = 6"
    assert capacity.arithmetic([LAPTOP, GPU_BOX, GPU_BOX, GPU_BOX], need) == expected


HEAD = Node(cpus=0, gpus=0, memory=10 * GB)
ON_A_GPU = Need(cpus=4, gpus=1, memory=4 * GB)


def test_a_cluster_that_can_grow_need_not_hold_a_trial_yet() -> None:
    places = capacity.places(Offer(nodes=(HEAD,), more=(GPU_BOX,) * 4, changes=True), ON_A_GPU)
    assert (places.now, places.grown, places.most) == (0, 8, None)
    assert places.reason.endswith(
        "; up to 8 when the cluster has grown: 4 × min(16 CPU / 4, 2 GPU / 1, 100.0 GB / 4.0 GB) = 8 more"
    )


def test_a_refusal_names_the_machines_that_may_come_too() -> None:
    offer = Offer(nodes=(HEAD,), more=(LAPTOP,), changes=True)
    with pytest.raises(ValueError, match=r"needs 4 CPU, 1 GPU, 4.0 GB; there is 0 CPU, 0 GPU, 10.0 GB; 8 CPU, 0 GPU"):
        capacity.places(offer, ON_A_GPU)


@pytest.mark.parametrize(
    ("changes", "concurrent", "trials", "now", "most"),
    [
        (False, None, None, 2, 2),  # one machine: what fits
        (False, 1, None, 1, 1),
        (False, 5, None, 2, 2),
        (True, None, None, 2, None),  # a cluster: whatever it will be
        (True, 5, None, 2, 5),
        (True, None, 1, 1, 1),  # no more than there are
        (True, 5, 3, 2, 3),
    ],
)
def test_how_many_at_once(
    changes: bool, concurrent: int | None, trials: int | None, now: int, most: int | None
) -> None:
    places = capacity.places(Offer(nodes=(GPU_BOX,), changes=changes), ON_A_GPU, concurrent, trials)
    assert (places.now, places.most) == (now, most)
    assert places.reason.endswith(f", at most {most}") == (most is not None and most < 2)


def test_less_than_one_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="--concurrent must be at least 1, got 0"):
        capacity.places(Offer(nodes=(GPU_BOX,)), ON_A_GPU, concurrent=0)


@pytest.mark.parametrize(
    ("now", "grown", "most", "expected"),
    [
        (4, 4, None, 4),  # nothing can come: what fits
        (0, 0, None, 0),  # the last node has left: nothing is asked for until one is back
        (0, 100, None, 1),  # one waits, for which a node is started
        (1, 100, None, 2),
        (8, 100, None, 16),  # twice as many, at each step
        (60, 100, None, 100),
        (8, 100, 10, 10),
        (8, 4, None, 8),
    ],
)
def test_enough_trials_wait_to_make_a_cluster_grow(now: int, grown: int, most: int | None, expected: int) -> None:
    assert capacity.asked_for(now, grown, most) == expected


def test_a_trial_gets_a_gpu_and_its_share_of_the_cores_on_a_machine_with_gpus() -> None:
    offer = Offer(nodes=(HEAD,), more=(Node(cpus=16, gpus=4, memory=100 * GB),), changes=True)
    need = capacity.trial_need(offer, None, None, 10**8)
    assert (need.cpus, need.gpus) == (4, 1)
    assert need.memory == pytest.approx(1.2 * GB + 4 * 10**8 * 2)
    assert capacity.trial_need(Offer(nodes=(LAPTOP,)), None, None, 10**8).gpus == 0


def test_the_reason_why_no_trial_runs_names_the_missing_resources() -> None:
    assert capacity.lacking(Offer(nodes=(HEAD, HEAD), more=(GPU_BOX,), changes=True), ON_A_GPU) == (
        "A trial needs 4 CPU, 1 GPU, 4.0 GB; the machines have 0 CPU, 0 GPU, 10.0 GB. "
        "A node that has room can be started"
    )
    assert capacity.lacking(Offer(nodes=(HEAD,), changes=True), ON_A_GPU).endswith(
        "No node that can be started has room either"
    )
    assert "others work on the cluster" in capacity.lacking(Offer(nodes=(GPU_BOX,), changes=True), ON_A_GPU)


def of(workers: int, cpus: float = 4, gpus: float = 1) -> Need:
    return Need(cpus=cpus, gpus=gpus, memory=4 * GB, workers=workers)


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([GPU_BOX], 2, 1),
        ([GPU_BOX] * 3, 2, 3),
        ([GPU_BOX] * 3, 4, 1),  # over two machines; with what is left of them none
        ([GPU_BOX] * 3, 6, 1),
        ([GPU_BOX, LAPTOP], 2, 1),  # the one without a GPU holds no worker
    ],
)
def test_workers_of_a_trial_may_be_on_several_nodes(nodes: list[Node], workers: int, expected: int) -> None:
    offer = Offer(nodes=tuple(nodes))
    assert capacity.places(offer, of(workers)).now == expected
    assert capacity.arithmetic(nodes, of(workers)).endswith(f" workers, {workers} a trial = {expected}")


def test_workers_left_over_today_count_when_the_cluster_has_grown() -> None:
    assert capacity.fit(Offer(nodes=(GPU_BOX,), more=(GPU_BOX,) * 2, changes=True), of(3)) == (0, 2)


def test_too_many_workers_are_refused_with_the_need_of_all_of_them() -> None:
    offer = Offer(nodes=(GPU_BOX,), changes=True)
    with pytest.raises(ValueError, match=r"the nodes cannot hold one trial: it needs 3 × \(4 CPU, 1 GPU, 4.0 GB\)"):
        capacity.places(offer, of(3))
    wanted = "A trial needs 3 × (4 CPU, 1 GPU, 4.0 GB); the machines have 16 CPU, 2 GPU"
    assert capacity.lacking(offer, of(3)).startswith(wanted)


def test_a_slot_and_its_workers_reserve_no_more_than_the_need() -> None:
    alone, need = of(1), of(2)
    assert alone.slot == alone.bundle == {"CPU": 4, "GPU": 1, "memory": 4 * GB}
    assert need.bundle["CPU"] == 4
    assert need.slot["memory"] > 0, "Tune starts nothing that asks for nothing"
    assert set(need.slot) == {"memory"}
    assert need.slot["memory"] + 2 * need.bundle["memory"] <= 2 * need.memory


def test_the_memory_of_a_worker_group_is_part_of_its_workers_need() -> None:
    offer = Offer(nodes=(LAPTOP,))
    one, two = (capacity.trial_need(offer, None, None, 10**6, workers) for workers in (1, 2))
    assert 2 * two.memory == pytest.approx(2 * one.memory + 1.0 * GB)
