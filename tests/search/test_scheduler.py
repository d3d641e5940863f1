import pytest

from search import scheduler
from spaces import Budget


def budget(**changes: float) -> Budget:
    return Budget(**{"trials": 12, "epochs": 3, "first_rung": 1, "reduction_factor": 2, **changes})


@pytest.mark.parametrize(
    ("changes", "rungs", "reports"),
    [
        ({}, (1, 2), (1, 2, 3)),
        ({"reduction_factor": 3}, (1,), (1, 2, 3)),
        ({"first_rung": 0.5}, (0.5, 1, 2), (0.5, 1, 2, 3)),
        ({"first_rung": 3}, (), (1, 2, 3)),
        ({"epochs": 9, "reduction_factor": 3}, (1, 3), (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ],
)
def test_rungs_and_reports(changes: dict[str, float], rungs: tuple[float, ...], reports: tuple[float, ...]) -> None:
    assert scheduler.rungs(budget(**changes)) == rungs
    assert scheduler.report_points(budget(**changes)) == reports


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 9, 27])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("first", [0.125, 0.5, 1])
def test_ray_stops_trials_at_the_rungs_we_print(epochs: int, factor: int, first: float) -> None:
    made = budget(epochs=epochs, reduction_factor=factor, first_rung=first)
    of_ray = sorted(milestone for milestone, _ in scheduler.asha(made)._brackets[0]._rungs)
    assert scheduler.rungs(made) == tuple(at for at in of_ray if at < epochs)


def test_epochs_at_worst_and_as_expected() -> None:
    assert scheduler.worst_case_epochs(budget()) == 36
    assert scheduler.expected_epochs(budget()) == 12 * 1 + 6 * 1 + 3 * 1
    assert scheduler.expected_epochs(budget(first_rung=3)) == 36
