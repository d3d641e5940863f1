"""What FACTS of Ray's own OptunaSearch get wrong, each held against ours; a real study on a real journal."""

import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from frostline.search.ledger import study
from frostline.search.ledger.confirm import Judge
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.study import Study
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.search.report import view
from tests.search.made import METRIC, full_disk, line, trial
from tests.search.studies import DISTRIBUTIONS, RECIPES

BASE = RECIPES["default"]


class Told:
    """A study and the records beside it, as a ledger keeps both."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.path, self.more = path, more
        self.asked: dict[int, tuple[dict[str, Any], str]] = {}
        self.lines: list[Line] = []
        self.open()

    def open(self, **more: Any) -> None:
        """Open the study again from the records, as another session does; `more` is what has changed since."""
        self.more |= more
        given: dict[str, Any] = {
            "seed": 0,
            "planned": 12,
            "recipes": RECIPES,
            "distributions": DISTRIBUTIONS,
            "metric": METRIC,
        }
        given |= self.more
        judge = Judge(metric=given["metric"], examples=400, prefer="best", axes=Axes(given["distributions"], BASE))
        self.knowledge = judge.knowledge(self.known())
        self.study = Study(self.path, "test", known=self.known(), knowledge=self.knowledge, **given)

    def known(self) -> list[Trial]:
        recorded = {trial.number: trial for trial in trial_records.collect(self.lines)}
        return [recorded.get(number) or self._bare(number) for number in sorted(self.asked)]

    def _bare(self, number: int) -> Trial:
        params, label = self.asked[number]
        return Trial(
            number=number,
            outcome=Outcome.RUNNING,
            confirms=False,
            params=params,
            label=label,
            reports=(),
            seconds=0.0,
            time=1.0,
        )

    def _line(self, number: int, outcome: Outcome, score: float | None, samples: int, reason: str = "") -> Line:
        params, label = self.asked[number]
        made = line(
            number, outcome, score, params=params, label=label, samples=samples, reason=reason, time=float(samples)
        )
        self.lines.append(made)
        return made

    def ask(self) -> int:
        number, params, label = self.study.ask()
        self.asked[number] = params, label
        return number

    def report(self, number: int, samples: int, score: float) -> None:
        self.study.report(self._line(number, Outcome.RUNNING, score, samples))

    def end(self, number: int, outcome: Outcome, reason: str = "") -> None:
        self._line(number, outcome, None, 999, reason)
        (trial,) = (trial for trial in self.known() if trial.number == number)
        self.knowledge.put(trial)
        self.study.tell(trial)

    @property
    def stored(self) -> list[FrozenTrial]:
        """The trials as any process finds them on disk."""
        backend = JournalFileBackend(str(self.path))
        return optuna.load_study(study_name="test", storage=JournalStorage(backend)).trials


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "study.journal")


def scripted(told: Told) -> None:
    """A trial of every kind, two of them open."""
    for _ in range(7):
        told.ask()
    told.report(0, 100, 0.9)
    told.report(0, 200, 0.8)
    told.end(0, Outcome.COMPLETE)
    told.report(1, 100, 0.6)
    told.report(1, 200, 0.5)
    told.end(1, Outcome.PRUNED)
    told.end(2, Outcome.FAILED, "loss is nan")
    told.report(3, 100, 0.7)
    told.end(4, Outcome.INFEASIBLE, "out of memory")
    told.report(5, 100, 0.4)
    told.end(5, Outcome.FAILED, "its process died (3 times)")


def test_the_recipes_are_the_first_trials_in_their_order(told: Told) -> None:
    asked = [told.study.ask() for _ in range(3)]
    assert [number for number, _, _ in asked] == [0, 1, 2]
    assert [label for _, _, label in asked] == ["default", "linear probe", ""]
    assert [params for _, params, _ in asked[:2]] == list(RECIPES.values())
    assert set(asked[2][1]) == set(DISTRIBUTIONS)


def test_a_stopped_trial_is_pruned_with_all_its_values(told: Told) -> None:
    scripted(told)
    trial = told.stored[1]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {100: 0.6, 200: 0.5}


def test_a_complete_trial_counts_with_its_best_report(told: Told) -> None:
    scripted(told)
    trial = told.stored[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.9)
    assert trial.intermediate_values == {100: 0.9, 200: 0.8}


def test_a_failed_trial_is_fail_whatever_it_reported_and_nothing_that_ended_stays_running(told: Told) -> None:
    scripted(told)
    assert [trial.state for trial in told.stored] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    told.end(3, Outcome.INTERRUPTED)
    told.end(6, Outcome.INTERRUPTED)
    states = [trial.state for trial in told.stored]
    assert TrialState.RUNNING not in states
    assert (states[3], states[6]) == (TrialState.PRUNED, TrialState.FAIL)


def test_a_value_that_is_not_finite_harms_neither_the_trial_nor_the_study(told: Told) -> None:
    number = told.ask()
    told.report(number, 100, math.nan)
    told.end(number, Outcome.FAILED, "nothing finite")
    assert told.stored[0].state == TrialState.FAIL
    told.open()
    assert (told.stored[0].state, told.stored[0].intermediate_values) == (TrialState.FAIL, {})
    assert told.ask() == 1


def test_the_study_outlives_its_process(told: Told) -> None:
    scripted(told)
    backend = JournalFileBackend(str(told.path))
    assert optuna.load_study(study_name="test", storage=JournalStorage(backend)).best_value == 0.9


@pytest.mark.parametrize(
    ("outcome", "reported", "silent"),
    [
        (Outcome.RUNNING, TrialState.RUNNING, TrialState.RUNNING),
        (Outcome.COMPLETE, TrialState.COMPLETE, TrialState.COMPLETE),
        (Outcome.PRUNED, TrialState.PRUNED, TrialState.PRUNED),
        (Outcome.INFEASIBLE, TrialState.PRUNED, TrialState.PRUNED),  # TPE does not learn from FAIL
        (Outcome.OUT_OF_TIME, TrialState.PRUNED, TrialState.FAIL),
        (Outcome.INTERRUPTED, TrialState.PRUNED, TrialState.FAIL),
        (Outcome.FAILED, TrialState.FAIL, TrialState.FAIL),
    ],
)
def test_optuna_has_a_state_for_every_outcome(outcome: Outcome, reported: TrialState, silent: TrialState) -> None:
    bare = Trial(number=0, outcome=outcome, confirms=False, params={}, label="", reports=(), seconds=0.0)
    assert study.optuna_state(bare) == silent
    assert study.optuna_state(trial(0, outcome, 0.5)) == reported


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_state_and_a_kind_in_the_report(outcome: Outcome) -> None:
    assert isinstance(study.optuna_state(trial(0, outcome, 0.5)), TrialState)
    assert outcome in view._KINDS


# --- opened again --------------------------------------------------------------------------------


def told_of(trial: FrozenTrial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.state.name,
        trial.params,
        trial.distributions,
        trial.value if trial.state == TrialState.COMPLETE else None,
        trial.intermediate_values,
        trial.constraints,
        trial.user_attrs,
    )


def test_a_study_opened_again_is_the_one_that_was_closed(told: Told) -> None:
    scripted(told)
    before = [told_of(trial) for trial in told.stored]
    told.open()
    assert [told_of(trial) for trial in told.stored] == before
    told.open()
    assert [told_of(trial) for trial in told.stored] == before, "and again"


def test_a_pruned_trial_keeps_the_value_that_optuna_gave_it(told: Told) -> None:
    scripted(told)
    assert told.stored[1].value == 0.5, "its last one"
    told.open()
    assert told.stored[1].value == 0.5


def test_open_trials_go_on_where_they_were(told: Told) -> None:
    scripted(told)
    told.end(3, Outcome.INTERRUPTED)
    told.end(6, Outcome.INTERRUPTED)
    told.open()
    assert [told.stored[number].state for number in (3, 6)] == [TrialState.RUNNING] * 2
    told.report(3, 200, 0.95)
    told.end(3, Outcome.COMPLETE)
    told.end(6, Outcome.FAILED, "loss is nan")
    assert told.stored[3].intermediate_values == {100: 0.7, 200: 0.95}
    assert (told.stored[3].value, told.stored[6].state) == (0.95, TrialState.FAIL)
    assert told.ask() == 7


def test_an_infeasible_trial_breaks_its_constraint_live_and_when_opened_again(told: Told) -> None:
    scripted(told)
    broken = {4: {"memory": 1.0}}
    for _ in range(2):
        assert {trial.number: trial.constraints for trial in told.stored if trial.constraints} == broken
        told.open()


def test_recipes_that_were_tried_are_not_tried_again_and_the_others_are(told: Told) -> None:
    told.ask()
    told.open()
    waiting = [trial for trial in told.stored if trial.state == TrialState.WAITING]
    assert [trial.user_attrs.get("recipe") for trial in waiting][:1] == ["linear probe"]
    assert told.asked.keys() == {0}
    assert told.study.ask() == (1, RECIPES["linear probe"], "linear probe")


def test_a_recipe_that_the_space_has_had_since_is_tried_next(told: Told) -> None:
    scripted(told)
    new = {"learning_rate": 3e-4, "batch_size": 8, "frozen_layers": 2}
    told.open(recipes={"ULMFiT": new, **RECIPES})
    assert told.study.ask() == (7, new, "ULMFiT")
    assert told.study.ask()[2] == ""


def test_rays_own_searcher_tries_its_first_points_again(tmp_path: Path) -> None:
    from ray.tune.search.optuna import OptunaSearch

    def first() -> dict[str, Any]:
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
        points = list(RECIPES.values())
        searcher = OptunaSearch(
            DISTRIBUTIONS, metric="accuracy", mode="max", points_to_evaluate=points, storage=storage, study_name="test"
        )
        suggested = searcher.suggest("a")
        assert suggested is not None
        searcher.on_trial_complete("a", {"accuracy": 0.5})
        return suggested

    assert [first(), first(), first()] == [RECIPES["default"], RECIPES["linear probe"], RECIPES["default"]]


def test_a_torn_journal_and_a_lock_that_a_killed_process_left_do_no_harm(told: Told) -> None:
    scripted(told)
    before = [told_of(trial) for trial in told.stored]
    with told.path.open("a") as file:
        file.write('{"op_code": 4, "worker_id": "x')  # no end of line: Optuna alone would append to it
    lock = told.path.with_name("study.journal.lock")
    lock.symlink_to(told.path)  # as Optuna locks
    told.open()
    assert [told_of(trial) for trial in told.stored] == before
    assert not lock.is_symlink()
    assert told.ask() == 7, "and without waiting for the lock"
    assert all(json.loads(text) for text in told.path.read_text().splitlines())


@pytest.mark.parametrize("left", [b"", b"garbage", b"\x00" * 1000, None])
def test_the_journal_is_made_again_whatever_is_left_of_it(told: Told, left: bytes | None) -> None:
    scripted(told)
    before = [told_of(trial) for trial in told.stored]
    told.path.unlink()
    if left is not None:
        told.path.write_bytes(left)
    told.open()
    assert [told_of(trial) for trial in told.stored] == before


def test_a_full_disk_leaves_the_old_journal(told: Told) -> None:
    scripted(told)
    before = told.path.read_bytes()
    with full_disk(len(before) // 4), pytest.raises(OSError):
        told.open()
    assert told.path.read_bytes() == before
    told.open()


def test_a_choice_more_is_fine_though_optuna_itself_refuses_it(told: Told) -> None:
    scripted(told)
    more = {**DISTRIBUTIONS, "batch_size": CategoricalDistribution((8, 16, 32))}
    alone = optuna.load_study(study_name="test", storage=JournalStorage(JournalFileBackend(str(told.path))))
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        alone.ask(more)
    told.open(distributions=more)
    seen = [told.study.ask()[1]["batch_size"] for _ in range(12)]
    assert set(seen) == {8, 16, 32}
    assert [trial.params for trial in told.stored[:2]] == list(RECIPES.values())


# --- what is suggested ---------------------------------------------------------------------------


def sequence(path: Path, *, again: bool, slots: int = 1, sign: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Twelve suggestions, each trial with an end of its own; `again`: the study is opened again at every step."""

    told, running = Told(path, **more), list[int]()

    def step() -> None:
        if again:
            told.open()

    while len(told.asked) < 12 or running:
        while len(told.asked) < 12 and len(running) < slots:
            running.append(told.ask())
            step()
        number = running.pop(0)
        params = told.asked[number][0]
        score = sign * (1 - abs(math.log(params["learning_rate"] / 2e-4)) / 10 - params["frozen_layers"] / 100)
        outcome, reason = Outcome.COMPLETE, ""
        if number % 5 == 3:
            outcome, reason = (Outcome.FAILED, "loss is nan") if number % 2 else (Outcome.INFEASIBLE, "out of memory")
        else:
            told.report(number, 100, score - 0.01)
            step()
            if number % 3 == 2:
                outcome = Outcome.PRUNED
            else:
                told.report(number, 200, score)
                step()
        told.end(number, outcome, reason)
        step()
    return [params for params, _ in told.asked.values()]


@pytest.mark.parametrize("slots", [1, 3])
def test_suggestions_do_not_depend_on_how_often_the_search_was_restarted(tmp_path: Path, slots: int) -> None:
    once = sequence(tmp_path / "once", again=False, slots=slots)
    assert sequence(tmp_path / "often", again=True, slots=slots) == once
    different = {tuple(params.values()) for params in once}
    assert len(different) == 12, "no point is tried twice"


def test_what_is_suggested_in_a_long_search_is_what_optunas_own_sampler_suggests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told the space instead of finding it out; the rest is Optuna's."""
    monkeypatch.setattr(study, "MODELLED", 0)
    ours = sequence(tmp_path / "ours", again=False, slots=3)
    monkeypatch.setattr(study, "_TPE", lambda _, **options: optuna.samplers.TPESampler(**options))
    assert sequence(tmp_path / "optunas", again=False, slots=3) == ours


def test_a_recipe_that_is_enqueued_late_is_found(told: Told) -> None:
    for _ in range(4):
        told.ask()
    late = {**RECIPES["default"], "frozen_layers": 3}
    told.study._study.enqueue_trial(late)
    assert told.study.ask()[1] == late
    assert told.study.ask()[1] != late


def test_one_at_a_time_the_same_seed_gives_the_same_sequence(tmp_path: Path) -> None:
    one, same, other = (
        sequence(tmp_path / name, again=False, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("planned", "recipes", "startup"),
    [
        (1, 2, 2),
        (12, 2, 4),
        (30, 2, 10),
        (1000, 2, 10),
        (None, 2, 10),  # as long as the time lasts
        (None, 12, 12),
        (12, 5, 5),
        (12, 0, 4),
    ],
)
def test_startup_is_a_share_of_the_search(planned: int | None, recipes: int, startup: int) -> None:
    assert study.startup_trials(planned, recipes) == startup


# --- the start ------------------------------------------------------------------------------------


def test_the_random_points_of_the_start_come_after_the_recipes(tmp_path: Path) -> None:
    told = Told(tmp_path / "j", planned=30)
    first = [told.study.ask() for _ in range(10)]
    assert [label for *_, label in first] == ["default", "linear probe", *[""] * 8]
    assert len({params["frozen_layers"] for _, params, _ in first[2:]}) > 2
    other = Told(tmp_path / "k", planned=30, seed=1)
    assert [other.study.ask()[1] for _ in range(10)][2:] != [params for _, params, _ in first[2:]]


def test_what_comes_next_is_known_during_the_start_only(told: Told) -> None:
    for _ in range(study.startup_trials(12, 2)):
        expected = dict(told.study.upcoming())
        assert expected
        assert told.study.ask()[1] == expected
    assert told.study.upcoming() == {}


def test_the_start_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    whole, broken = Told(tmp_path / "j", planned=30), Told(tmp_path / "k", planned=30)
    expected = [whole.study.ask() for _ in range(12)]
    found = []
    for _ in range(12):
        broken.open()
        found.append(broken.study.ask())
        broken.asked[found[-1][0]] = found[-1][1], found[-1][2]
    assert found[:10] == expected[:10]
    assert [number for number, *_ in found] == list(range(12))


def test_a_space_without_depth_starts_in_the_order_it_was_drawn(tmp_path: Path) -> None:
    flat = {name: DISTRIBUTIONS[name] for name in ("learning_rate", "batch_size")}
    told = Told(tmp_path / "j", planned=30, distributions=flat, recipes={})
    assert len([told.study.ask() for _ in range(12)]) == 12
