import math

import pytest

from frostline.search.plan import budget as budgets
from frostline.spaces import Budget


def budget(**changes: float | None) -> Budget:
    return Budget(**{"trials": 60, "epochs": 3, "first_rung": 1, "reduction_factor": 2, **changes})


@pytest.mark.parametrize(
    ("changes", "rungs", "reports"),
    [
        ({}, (1, 2), (1, 2, 3)),
        ({"reduction_factor": 3}, (1,), (1, 2, 3)),
        ({"first_rung": 0.5}, (0.5, 1, 2), (0.5, 1, 2, 3)),
        ({"first_rung": 3}, (), (1, 2, 3)),
        ({"epochs": 9, "reduction_factor": 3}, (1, 3), (1, 2, 3, 4, 5, 6, 7, 8, 9)),
        ({"first_rung": 0.5, "trials": 59}, (), (1, 2, 3)),
        ({"first_rung": 0.5, "trials": None, "seconds": 1.0}, (0.5, 1, 2), (0.5, 1, 2, 3)),
    ],
)
def test_rungs_and_reports(
    changes: dict[str, float | None], rungs: tuple[float, ...], reports: tuple[float, ...]
) -> None:
    assert budgets.rungs(budget(**changes)) == rungs
    assert budgets.report_points(budget(**changes)) == reports


@pytest.mark.parametrize(
    ("train", "validation", "looks"),
    [
        (288, 200, (100, 100, 100, 200, 200)),  # a hundred at least, where there are
        (288, 60, (60, 60, 60, 60, 60)),
        (20_000, 2_000, (1_250, 2_000, 2_000, 2_000, 2_000)),
        (20_000, 9_000, (1_250, 2_500, 5_000, 9_000, 9_000)),
    ],
)
def test_before_a_whole_epoch_fewer_examples_are_looked_at(train: int, validation: int, looks: tuple[int, ...]) -> None:
    made = budget(first_rung=0.125, epochs=2)
    assert budgets.report_points(made) == (0.125, 0.25, 0.5, 1.0, 2.0)
    assert budgets.validation_sizes(made, train, validation) == looks


def test_epochs_at_worst() -> None:
    assert budgets.worst_case_epochs(12, budget()) == 36


@pytest.mark.parametrize(
    ("changes", "seconds", "fit"),
    [
        ({}, 0.0, 60),
        ({}, 30.0, 60),
        ({"seconds": 100.0}, 0.0, 60),  # no trial has ended yet
        ({"seconds": 100.0}, 20.0, 10),
        ({"seconds": 1000.0}, 20.0, 60),
        ({"trials": None, "seconds": 100.0}, 0.0, math.inf),
        ({"trials": None, "seconds": 100.0}, 5.0, 40),
    ],
)
def test_whole_trainings_in_a_budget(changes: dict[str, float | None], seconds: float, fit: float) -> None:
    assert budgets.whole_trainings(budget(**changes), 2, seconds) == fit


@pytest.mark.parametrize(
    ("seconds", "test", "kept"),
    [
        (60.0, 1.0, 0.0),  # it may be 20 s late
        (60.0, 30.0, 26.0),
        (3600.0, 30.0, 0.0),  # it may be 3 min late
        (3600.0, 200.0, 116.0),
    ],
)
def test_time_is_kept_for_the_end_where_it_may_not_be_late(seconds: float, test: float, kept: float) -> None:
    assert budgets.closing(seconds, test) == kept
