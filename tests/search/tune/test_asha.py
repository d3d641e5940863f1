import math
import random
from dataclasses import dataclass, field

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from frostline.search.plan import budget as budgets
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Line, Outcome
from frostline.search.tune import asha as asha_rungs
from frostline.search.tune.asha import Rungs
from frostline.spaces import Budget
from tests.search.made import line


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
    assert budgets.rungs(budget(**changes)) == rungs
    assert budgets.report_points(budget(**changes)) == reports


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 9, 27])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("first", [0.125, 0.5, 1])
def test_ray_stops_trials_at_the_rungs_we_print(epochs: int, factor: int, first: float) -> None:
    made = budget(epochs=epochs, reduction_factor=factor, first_rung=first)
    of_ray = sorted(milestone for milestone, _ in asha_rungs.asha(made)._brackets[0]._rungs)
    assert budgets.rungs(made) == tuple(at for at in of_ray if at < epochs)


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


def test_epochs_at_worst_and_as_expected() -> None:
    assert budgets.worst_case_epochs(12, budget()) == 36
    assert budgets.expected_epochs(12, budget()) == 12 * 1 + 6 * 1 + 3 * 1
    assert budgets.expected_epochs(12, budget(first_rung=3)) == 36
    assert budgets.expected_epochs(5, budget()) == 5 * 1 + 3 * 1 + 2 * 1, "half a trial is a whole one"


# --- decisions that outlive a session ------------------------------------------------------------

BUDGETS = [
    budget(),
    budget(reduction_factor=3, epochs=2),
    budget(first_rung=0.5),
    budget(epochs=9, reduction_factor=3),
    budget(first_rung=3),
]
BUDGET_IDS = [f"{b.first_rung:g}-{b.epochs}-by-{b.reduction_factor:g}" for b in BUDGETS]


@dataclass
class OfRay:
    """Ray's own scheduler with Tune's own trials, whose ids are new in every session."""

    asha: AsyncHyperBandScheduler
    trials: dict[int, Trial] = field(default_factory=dict)

    def stops(self, number: int, epoch: float, objective: float) -> bool:
        if number not in self.trials:
            self.trials[number] = Trial("trial", stub=True)
            self.asha.on_trial_add(None, self.trials[number])
        result = {"epoch": epoch, "objective": objective}
        return bool(self.asha.on_trial_result(None, self.trials[number], result) == TrialScheduler.STOP)


def search(made: Budget, rng: random.Random, slots: int = 3, trials: int = 20) -> list[tuple[Line, bool]]:
    """The reports of a search in the order they come in, with what a scheduler that never stops decides."""
    rungs, points = Rungs(made), budgets.report_points(made)
    waiting, running, found = list(range(trials)), dict[int, int](), list[tuple[Line, bool]]()
    while waiting or running:
        while waiting and len(running) < slots:
            running[waiting.pop(0)] = 0
        number = rng.choice(sorted(running))
        at = running[number]
        score = rng.choice([0.1 * rng.randrange(10), rng.random()])  # equals come, too
        score = math.nan if number > 4 and rng.random() < 0.1 else score
        report = line(number, Outcome.RUNNING, score, epoch=points[at], samples=at + 1, time=float(len(found)))
        stops = rungs.stops(number, points[at], score)
        found.append((report, stops))
        running[number] += 1
        if stops:
            del running[number]
    return found


def decisions(rungs: Rungs | OfRay, lines: list[Line]) -> list[bool]:
    return [rungs.stops(line.number, line.epoch, line.metrics["accuracy"]) for line in lines]


@pytest.mark.parametrize("made", BUDGETS, ids=BUDGET_IDS)
@pytest.mark.parametrize("seed", range(3))
def test_every_decision_is_that_of_rays_own_scheduler(made: Budget, seed: int) -> None:
    found = search(made, random.Random(seed))
    assert decisions(OfRay(asha_rungs.asha(made)), [line for line, _ in found]) == [stops for _, stops in found]
    assert all(stops for line, stops in found if line.epoch >= made.epochs), "a trial is over at its last epoch"


@pytest.mark.parametrize("made", BUDGETS, ids=BUDGET_IDS)
@pytest.mark.parametrize("seed", range(3))
def test_after_a_replay_the_decisions_are_those_of_a_scheduler_that_never_stopped(made: Budget, seed: int) -> None:
    found = search(made, random.Random(seed))
    for cut in range(0, len(found), 5):
        earlier, later = found[:cut], found[cut:]
        again = Rungs(made)
        last = {line.number: stops for line, stops in earlier}
        stopped = again.replay(trial_records.collect(line for line, _ in earlier))
        assert stopped == {number for number, stops in last.items() if stops}
        assert decisions(again, [line for line, _ in later]) == [stops for _, stops in later]


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_rays_own_scheduler_forgets_its_rungs() -> None:
    """What the replay is for (ray#30838): a fresh one lets every loser through that is the first to arrive."""
    earlier = [line(number, Outcome.RUNNING, 0.9, time=float(number)) for number in range(5)]
    ours, fresh = Rungs(budget()), OfRay(asha_rungs.asha(budget()))
    ours.replay(trial_records.collect(earlier))
    assert (ours.stops(5, 1, 0.1), fresh.stops(5, 1, 0.1)) == (True, False)
    differ = 0
    for seed in range(10):
        found = search(budget(), random.Random(seed))
        later = found[len(found) // 2 :]
        differ += decisions(OfRay(asha_rungs.asha(budget())), [line for line, _ in later]) != [s for _, s in later]
    assert differ > 5


def test_the_replay_goes_by_the_time_of_the_reports_not_by_the_trials_numbers() -> None:
    good, bad = line(1, Outcome.RUNNING, 0.9, time=1.0), line(0, Outcome.RUNNING, 0.1, time=2.0)
    assert Rungs(budget()).replay(trial_records.collect([good, bad])) == {0}
    first = line(0, Outcome.RUNNING, 0.1, time=0.5)
    assert Rungs(budget()).replay(trial_records.collect([good, first])) == set(), "the first comer goes on"


def test_a_trial_that_went_on_after_all_is_not_among_the_stopped() -> None:
    lines = [
        line(0, Outcome.RUNNING, 0.9, time=1.0),
        line(1, Outcome.RUNNING, 0.1, time=2.0),
        line(1, Outcome.RUNNING, 0.95, epoch=2.0, samples=640, time=3.0),
    ]
    assert Rungs(budget()).replay(trial_records.collect(lines[:2])) == {1}
    assert Rungs(budget()).replay(trial_records.collect(lines)) == set()


def test_a_report_seen_twice_counts_once() -> None:
    once, twice = Rungs(budget()), Rungs(budget())
    for number, score in enumerate((0.5, 0.9, 0.7, 0.1)):
        assert once.stops(number, 1, score) == twice.stops(number, 1, score)
        for _ in range(5):
            twice.stops(number, 1, score)
    assert [once.stops(9, 1, 0.6), once.stops(10, 1, 0.62)] == [twice.stops(9, 1, 0.6), twice.stops(10, 1, 0.62)]
