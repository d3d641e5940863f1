"""What FACTS of Ray's own OptunaSearch get wrong, each held against ours; a real study on a real journal."""

import math
import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search import study

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "batch_size": CategoricalDistribution((8, 16)),
    "frozen_layers": IntDistribution(0, 7),
}
RECIPES = {
    "default": {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0},
    "linear probe": {"learning_rate": 1e-3, "batch_size": 8, "frozen_layers": 7},
}


def make(path: Path, seed: int = 0) -> tuple[optuna.Study, study.StudySearch]:
    made = study.create(path, "test", seed, trials=12, recipes=RECIPES)
    return made, study.StudySearch(made, DISTRIBUTIONS)


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[optuna.Study, study.StudySearch]:
    return make(tmp_path / "study.journal")


def report(samples: int, objective: float, **more: Any) -> dict[str, Any]:
    return {"samples": samples, "objective": objective, "final": False, **more}


def test_the_recipes_are_the_first_trials_in_their_order(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    _, search = fresh
    suggested = [search.suggest(name) for name in "abc"]
    assert [trial["number"] for trial in suggested] == [0, 1, 2]
    assert [trial["label"] for trial in suggested] == ["default", "linear probe", ""]
    assert [trial["params"] for trial in suggested[:2]] == list(RECIPES.values())
    assert set(suggested[2]["params"]) == set(DISTRIBUTIONS)


def test_a_stopped_trial_is_pruned_with_all_its_values(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    made, search = fresh
    search.suggest("a")
    search.on_trial_result("a", report(100, 0.6))
    search.on_trial_complete("a", report(200, 0.5))  # Tune shows the stopping report here only
    trial = made.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {100: 0.6, 200: 0.5}


def test_a_complete_trial_counts_with_its_best_report(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    made, search = fresh
    search.suggest("a")
    search.on_trial_result("a", report(100, 0.9))
    search.on_trial_complete("a", report(200, 0.8, final=True))
    assert (made.trials[0].state, made.trials[0].value) == (TrialState.COMPLETE, 0.9)
    assert made.trials[0].intermediate_values == {100: 0.9, 200: 0.8}


def test_the_last_report_may_come_twice(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    made, search = fresh
    search.suggest("a")
    search.on_trial_result("a", report(100, 0.9, final=True))
    search.on_trial_complete("a", report(100, 0.9, final=True))
    assert made.trials[0].intermediate_values == {100: 0.9}


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (None, True),
        (None, False),
        (report(100, 0.5), True),
        (report(100, math.nan), False),
        (report(100, math.inf, final=True), False),
        ({"samples": 0, "failed": "loss is nan", "final": True}, False),
    ],
)
def test_a_failure_is_fail_and_nothing_stays_running(
    fresh: tuple[optuna.Study, study.StudySearch], result: dict[str, Any] | None, error: bool
) -> None:
    made, search = fresh
    search.suggest("a")
    search.on_trial_complete("a", result, error)
    assert [trial.state for trial in made.trials][:1] == [TrialState.FAIL]
    assert not made.get_trials(states=[TrialState.RUNNING])


def test_an_interrupted_search_leaves_nothing_running(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    made, search = fresh
    for name in "abc":
        search.suggest(name)
    search.on_trial_result("a", report(100, 0.5))
    search.abandon()
    states = [trial.state for trial in made.trials]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]


def test_the_study_outlives_its_process(tmp_path: Path) -> None:
    _, search = make(tmp_path / "study.journal")
    search.suggest("a")
    search.on_trial_complete("a", report(200, 0.8, final=True))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    assert optuna.load_study(study_name="test", storage=storage).best_value == 0.8


def test_one_at_a_time_the_same_seed_gives_the_same_sequence(tmp_path: Path) -> None:
    def sequence(name: str, seed: int) -> list[dict[str, Any]]:
        _, search = make(tmp_path / name, seed)
        params = []
        for number in range(12):
            suggested = search.suggest(str(number))
            params.append(suggested["params"])
            search.on_trial_complete(str(number), report(200, suggested["params"]["learning_rate"], final=True))
        return params

    assert sequence("a", 1) == sequence("b", 1) != sequence("c", 2)


def test_pickling_the_searcher_takes_nothing_along(fresh: tuple[optuna.Study, study.StudySearch]) -> None:
    assert len(pickle.dumps(fresh[1])) < 200


def test_startup_is_a_share_of_the_search() -> None:
    assert [study.startup_trials(trials, 2) for trials in (1, 12, 30, 1000)] == [2, 4, 10, 10]
