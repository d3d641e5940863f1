import time

from frostline.search.tune.health import PATIENCE, STRIKES, Health, Waiting


def test_a_machine_that_only_loses_trials_is_set_aside_once() -> None:
    health = Health()
    assert [health.lost("bad", others=1) for _ in range(STRIKES + 2)] == [False] * (STRIKES - 1) + [True, False, False]
    assert health.aside == {"bad"}


def test_a_machine_that_reports_in_between_is_not_set_aside() -> None:
    health = Health()
    for _ in range(10):
        assert not health.lost("weak", others=1)
        health.works("weak")
    assert not health.aside


def test_each_machine_is_counted_by_itself() -> None:
    health = Health()
    assert not any(health.lost(f"node{number}", others=9) for number in range(10))


def test_the_last_machine_is_never_set_aside() -> None:
    health = Health()
    assert not any(health.lost("only", others=0) for _ in range(10))
    assert health.lost("only", others=1), "but when another has joined"


def test_from_the_second_time_that_memory_runs_out_fewer_trials_run_at_once() -> None:
    health, at_once = Health(), []
    for _ in range(6):
        at_once.append([health.at_once(places) for places in (0, 1, 2, 4)])
        health.out_of_memory()
    assert at_once == [[0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 1, 3], [0, 1, 1, 2], [0, 1, 1, 1], [0, 1, 1, 1]]


def test_that_no_trial_runs_is_said_once_with_the_time() -> None:
    now = [1_800_000_000.0]
    waiting = Waiting(lambda: now[0])
    said = []
    for runs, seconds in (
        (True, 100),
        (False, 1),
        (False, PATIENCE - 1),
        (False, 1),
        (False, 1),
        (True, 1),
        (False, 99),
    ):
        now[0] += seconds
        said.append(waiting.poll(runs))
    assert said[:3] == said[4:] == [None] * 3
    assert said[3] == time.strftime("%H:%M:%S", time.localtime(1_800_000_101))


def test_trials_that_start_slowly_get_more_time() -> None:
    now = [0.0]
    waiting = Waiting(lambda: now[0], patience=3 * PATIENCE)
    said = []
    for seconds in (0, 2 * PATIENCE, 2 * PATIENCE):
        now[0] += seconds
        said.append(waiting.poll(runs=False) is not None)
    assert said == [False, False, True]
