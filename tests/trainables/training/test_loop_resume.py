"""A training that is taken down between two steps and goes on in another model."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import training
from tests.trainables.points import EPOCHS, Points, Weights, assert_equal, build, fit, recipe, weights

TRAIN = Points(100)  # at batch 32: four steps an epoch, one of them on four examples
STEPS = 4 * EPOCHS
REPORT_AT = (0.3, 1.0, 1.6, 2.0, 3.0)


def net(seed: int) -> nn.Module:
    """A block and a head with all that a step changes: weights, running statistics, the random state."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))


def elsewhere(seed: int) -> nn.Module:
    """The same pretrained block, another new head and another random state, as a fresh process has them."""
    model = net(seed)
    model[0].load_state_dict(net(0)[0].state_dict())
    torch.manual_seed(seed)
    return model


@dataclass
class Whole:
    """A training that was never interrupted, and a snapshot of it after each step but the last."""

    recipe: Recipe
    folder: Path
    reports: list[training.Report]
    weights: Weights

    def snapshot(self, step: int) -> checkpoints.Snapshot:
        found = checkpoints.read(self.folder / f"{step}.safetensors")
        assert found
        return found


def begun(given: Recipe) -> nn.Module:
    """A model at the beginning of its training."""
    model = net(0)
    torch.manual_seed(given.seed)
    return model


def trained(depth: int, folder: Path | None) -> Whole:
    given, count = recipe(frozen_layers=depth, weight_decay=0.1, seed=5), 0

    def keep(take: training.Take) -> None:
        nonlocal count
        count += 1
        if folder:
            checkpoints.write(take(), folder / f"{count}.safetensors")

    model = begun(given)
    reports = fit(given, TRAIN, REPORT_AT, model=model, after_step=keep)
    assert count == STEPS - 1
    assert [report.step for report in reports] == [1, 4, 7, 8, 12], "two of them within an epoch"
    return Whole(recipe=given, folder=folder or Path(), reports=reports, weights=weights(model))


@pytest.fixture(scope="module", params=[0, 1], ids=["nothing-frozen", "one-block-frozen"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return trained(request.param, tmp_path_factory.mktemp("snapshots"))


@pytest.mark.parametrize("step", range(1, STEPS))
def test_gone_on_from_any_step_it_ends_the_same_to_the_bit(whole: Whole, step: int) -> None:
    snapshot = whole.snapshot(step)
    model = elsewhere(1000 + step)
    reports = fit(whole.recipe, TRAIN, REPORT_AT, model=model, resume=snapshot)
    assert reports == [report for report in whole.reports if report.step > step]
    assert_equal(weights(model), whole.weights)


def test_it_goes_on_again_and_again_to_the_same_end(whole: Whole, tmp_path: Path) -> None:
    """Every process dies after one more step."""
    path, told = tmp_path / "last.safetensors", list[training.Report]()

    def die(take: training.Take) -> None:
        checkpoints.write(take(), path)
        raise SystemExit

    for attempt in range(STEPS):
        model = elsewhere(50 + attempt) if attempt else begun(whole.recipe)
        options: dict[str, Any] = {"to": told.append, "resume": checkpoints.read(path)}
        try:
            fit(whole.recipe, TRAIN, REPORT_AT, model=model, after_step=die, **options)
        except SystemExit:
            continue
    assert told == whole.reports
    assert_equal(weights(model), whole.weights)


def test_taking_snapshots_changes_nothing(whole: Whole) -> None:
    undisturbed = trained(whole.recipe.frozen_layers, None)
    assert undisturbed.reports == whole.reports
    assert_equal(undisturbed.weights, whole.weights)


def test_a_snapshot_is_offered_after_every_step_but_the_last_and_after_the_report() -> None:
    events: list[str] = []
    fit(
        recipe(),
        TRAIN,
        (0.5, 1.0, 3.0),
        to=lambda report: events.append(f"report {report.step}"),
        after_step=lambda take: events.append(f"step {take().numbers['counters'][0]}"),
    )
    steps = [f"step {number}" for number in range(1, STEPS)]
    steps.insert(steps.index("step 2"), "report 2")
    steps.insert(steps.index("step 4"), "report 4")
    assert events == [*steps, "report 12"]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 2e-2},
        {"batch_size": 16},
        {"weight_decay": 0.2},
        {"seed": 6},
        {"metric": "loss"},
        {"data": Data(source="d", seed=1)},
        {"model": "another"},
        {"budget": Budget(trials=1, epochs=4, first_rung=1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_snapshot_of_another_recipe_is_refused(whole: Whole, changes: dict[str, Any]) -> None:
    other = dataclasses.replace(whole.recipe, **changes)
    with pytest.raises(ValueError, match=r"^the snapshot was taken of another recipe$"):
        fit(other, TRAIN, REPORT_AT, model=elsewhere(1), resume=whole.snapshot(3))


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 99},
        {"trials": None, "seconds": 3600.0},
        {"confirm_recipes": 0, "confirm_seeds": 7},
        {"first_rung": 0.3, "reduction_factor": 4.0},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_snapshot_of_the_same_recipe_in_a_search_with_another_budget_is_taken(
    whole: Whole, changes: dict[str, Any]
) -> None:
    other = dataclasses.replace(whole.recipe, budget=dataclasses.replace(whole.recipe.budget, **changes))
    model = elsewhere(1)
    reports = fit(other, TRAIN, REPORT_AT, model=model, resume=whole.snapshot(6))
    assert reports == whole.reports[2:]
    assert_equal(weights(model), whole.weights)


def test_a_snapshot_of_another_model_is_refused(whole: Whole) -> None:
    with pytest.raises(ValueError, match=r"^the snapshot does not belong to this model: .* tensors differ, first "):
        fit(whole.recipe, TRAIN, REPORT_AT, model=build(), resume=whole.snapshot(3))
