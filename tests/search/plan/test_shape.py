"""What a time budget makes of a search."""

import pytest

from frostline.search.plan.budget import FEWEST, report_points, rungs, validation_sizes
from frostline.search.plan.shape import LONGEST, Costs, shaped
from frostline.spaces import Budget, Data

OWN = Data(source="own.csv", most=5000)


def budget(minutes: float, **changes: object) -> Budget:
    return Budget(**{"trials": None, "epochs": 2, "first_rung": 0.5, "seconds": 60.0 * minutes, **changes})  # type: ignore[arg-type]


SENTENCES = {"train": 6824, "validation": 853, "test": 853}, Costs(trained=0.012, evaluated=0.006)
REVIEWS = {"train": 20000, "validation": 2500, "test": 2500}, Costs(trained=0.3, evaluated=0.1)
FEW = {"train": 300, "validation": 60, "test": 60}, Costs(trained=0.012, evaluated=0.006)


@pytest.mark.parametrize(
    ("of", "minutes", "epochs", "trainings", "validation", "test"),
    [
        (SENTENCES, 5, 0.82, (6, 8), None, None),
        (SENTENCES, 20, 2, (11, 14), None, None),
        (SENTENCES, 80, 4, (20, 28), None, None),
        (REVIEWS, 5, 0.021, (3, 4), 200, 300),
        (REVIEWS, 20, 0.09, (3, 4), 500, 1200),
        (REVIEWS, 20 * 60, 2, (10, 12), None, None),
        (FEW, 1, 2, (8, 11), None, None),
        (FEW, 60, LONGEST, (100, 300), None, None),
    ],
)
def test_the_time_decides_the_epochs_and_the_slices(
    of: tuple[dict[str, int], Costs],
    minutes: float,
    epochs: float,
    trainings: tuple[int, int],
    validation: int | None,
    test: int | None,
) -> None:
    sizes, cost = of
    shape = shaped(budget(minutes), OWN, sizes, cost, 2, most=LONGEST)
    assert shape.budget.epochs == pytest.approx(epochs, rel=0.3)
    assert trainings[0] <= shape.trainings <= trainings[1]
    assert (shape.data.validation, shape.data.test) == (validation, test)
    assert len(shape.remarks) == sum(size is not None for size in (validation, test))


@pytest.mark.parametrize("minutes", [0.2, 0.5, 1, 3, 10, 100, 10_000])
@pytest.mark.parametrize(("sizes", "cost"), [SENTENCES, REVIEWS, FEW])
def test_every_shape_is_a_search_that_can_be_run(minutes: float, sizes: dict[str, int], cost: Costs) -> None:
    shape = shaped(budget(minutes), OWN, sizes, cost, 2, most=LONGEST)
    assert shape.trainings >= 1
    assert shape.budget.epochs * sizes["train"] > 0
    assert shape.budget.epochs < 1 or shape.budget.epochs == int(shape.budget.epochs)
    points = report_points(shape.budget)
    assert bool(rungs(shape.budget)) == (shape.trainings >= FEWEST), "too few trainings for a trial to stop early"
    assert points[-1] == shape.budget.epochs
    assert validation_sizes(shape.budget, sizes["train"], sizes["validation"])[-1] == sizes["validation"]


def test_more_time_never_means_shorter_trainings_nor_fewer_of_them() -> None:
    times = [1, 2, 5, 10, 20, 60, 240, 1000]
    shapes = [shaped(budget(minutes), OWN, *REVIEWS, 2, most=LONGEST) for minutes in times]
    examples = [shape.budget.epochs for shape in shapes]
    assert examples == sorted(examples)
    trainings = [shape.trainings for shape in shapes]
    assert trainings[-1] > trainings[0]


def test_a_shipped_profile_is_never_trained_longer_than_it_says() -> None:
    shape = shaped(budget(600), OWN, *FEW, 2, most=2)
    assert shape.budget.epochs == 2


def test_given_epochs_and_trials_are_kept() -> None:
    given = shaped(budget(5, epochs=3), OWN, *REVIEWS, 2, most=3, epochs=3)
    assert given.budget.epochs == 3
    few = shaped(budget(60, trials=2, confirm_recipes=0), OWN, *SENTENCES, 2, most=2)
    assert few.budget.trials == 2
    assert few.budget.epochs == 2
