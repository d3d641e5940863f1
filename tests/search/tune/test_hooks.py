"""Tune's hooks by hand: Tune's own trial objects, a real ledger, no Ray."""

import dataclasses
import errno
import io
import math
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private.dict import flatten_dict
from ray.exceptions import RayActorError
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from frostline.search.cluster.capacity import GB, Need, Node, Offer
from frostline.search.cluster.connection import ClusterLostError
from frostline.search.cluster.watch import TrialNode
from frostline.search.console.progress import Progress
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import Job
from frostline.search.records.lease import TakenOverError
from frostline.search.records.log import Log
from frostline.search.records.trials import Outcome
from frostline.search.tune import hooks
from frostline.search.tune.health import PATIENCE, STRIKES, Waiting
from frostline.search.tune.hooks import Asker, Recorder, Stopper
from frostline.search.tune.switchboard import RayGone, SearchFailedError, Switchboard
from frostline.spaces import Recipe
from frostline.trainables._task import DiskFull, Message, Task, TimeOver, Told
from tests.search.altered import altered
from tests.search.made import FRESH, Clock, session, train, with_budget
from tests.search.tune.test_faults import DIED
from tests.told import NOTHING_YET, failed, said


class _Calm:
    """Ray is there, and has room. The real watch asks Ray itself every 2 s, and here is none to ask."""

    offer = Offer(nodes=(Node(cpus=100, gpus=0, memory=1000 * GB),), changes=True)
    announced: frozenset[str] = frozenset()
    name: str | None = None
    """Of the machine that every trial is on; None on one machine."""

    def __init__(self) -> None:
        self.aside: list[str] = []

    def node_of(self, actor: Any) -> TrialNode | None:
        return TrialNode(f"id of {self.name}", self.name) if self.name else None

    def set_aside(self, node: str, need: Need) -> None:
        self.aside.append(node)

    def poll(self) -> None:
        pass

    def after_loss(self) -> None:
        pass


class Tune:
    """The three hooks of one search, and the order in which Tune calls them."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan, self.clock, self.text = plan, clock, io.StringIO()
        self.ledger, self.stop = session(plan, clock), list[int]()
        progress = Progress(plan, Console(file=self.text, width=300))
        self.board = Switchboard(self.ledger, Rungs(plan), [progress], self.stop)
        self.board.watch = _Calm()  # type: ignore[assignment]
        self.asker, self.stopper, self.recorder = Asker(self.board), Stopper(self.board), Recorder(self.board)

    def start(self) -> Trial:
        """A trial that the searcher has suggested."""
        trial = Trial("trial", stub=True)
        trial.config = self.asker.suggest(trial.trial_id)
        assert isinstance(trial.config, dict)
        self.recorder.on_trial_start(iteration=1, trials=[trial], trial=trial)
        return trial

    def tell(self, trial: Trial, message: Message, **more: Any) -> bool:
        """A message of the slot comes in; whether the trial stops."""
        return self.result(trial, Told(messages=(message,), **more).to_tune())

    def result(self, trial: Trial, result: dict[str, Any]) -> bool:
        """A report comes in; whether the trial stops."""
        action = self.stopper.on_trial_result(None, trial, flatten_dict(result))  # as Tune calls it
        self.recorder.on_trial_result(iteration=1, trials=[trial], trial=trial, result=result)
        trial.run_metadata.last_result = result
        if action == TrialScheduler.STOP:
            self.recorder.on_trial_complete(iteration=1, trials=[trial], trial=trial)
        return bool(action == TrialScheduler.STOP)

    def report(self, trial: Trial, epoch: float, score: float, node_id: str = "", **more: Any) -> bool:
        final = epoch >= self.plan.budget.epochs
        return self.tell(trial, said(epoch, score, self.clock.now, final=final, **more), node_id=node_id)

    def over(self, trial: Trial) -> None:
        """The training function has returned."""
        self.recorder.on_trial_complete(iteration=1, trials=[trial], trial=trial)

    def die(self, trial: Trial, of: str = "") -> None:
        """The trial's process has died, of what Ray says."""
        self.write_down(trial, TuneError(of))  # which Tune has done when it calls
        self.recorder.on_trial_error(iteration=1, trials=[trial], trial=trial)

    def write_down(self, trial: Trial, error: Exception) -> None:
        """Let Tune keep the error where it does on the driver."""
        folder = self.plan.place.run.parent / "tune" / trial.trial_id
        folder.mkdir(parents=True)
        trial.storage = SimpleNamespace(trial_driver_staging_path=str(folder))
        trial.handle_error(error)

    def step(self) -> None:
        self.recorder.on_step_begin(iteration=1, trials=[])

    @property
    def records(self) -> list[tuple[int, Outcome, str]]:
        read = trial_records.read(self.plan.place.run / "trials.jsonl")
        return [(trial.number, trial.outcome, trial.reason) for trial in read]

    @property
    def said(self) -> list[str]:
        return [part.split("] ", 1)[1] for part in self.text.getvalue().splitlines()]


TAUGHT = 8
"""Trials after which a rung knows what a report says."""


def many(plan: Plan) -> Plan:
    """The plan with enough trials for rungs: a trial may stop after one epoch."""
    return altered(with_budget(plan, trials=60), rungs=(1.0,))


def taught(tune: Tune) -> None:
    """Train the first trials whole, each better than the one before: what they show after an epoch ranks them."""
    metric = tune.plan.search.metric
    for number in range(TAUGHT):
        trial, score = tune.start(), 0.3 + number / 20
        for epoch in (1, 2):
            objective = metric.objective(score if metric.better == "higher" else 1 - score)
            assert tune.report(trial, epoch, objective) == (epoch == 2)


@pytest.fixture
def tune(plan: Plan, clock: Clock) -> Tune:
    return Tune(plan, clock)


# --- pure ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "outcome", "reason"),
    [
        (None, Outcome.FAILED, "it ended without a report"),
        (said(1, 0.5, 0.0), Outcome.PRUNED, ""),
        (said(1, 0.5, 0.0, final=True), Outcome.COMPLETE, ""),
        (said(1, math.nan, 0.0), Outcome.PRUNED, ""),  # undefined on the part of the slice that a rung looks at
        (said(1, math.nan, 0.0, final=True), Outcome.COMPLETE, ""),
        (failed("loss is nan at step 3"), Outcome.FAILED, "loss is nan at step 3"),
        (failed("KeyError: 'x'", traceback="Traceback"), Outcome.FAILED, "KeyError: 'x'"),
        (failed("out of memory", infeasible=True), Outcome.INFEASIBLE, "out of memory"),
        (TimeOver(**NOTHING_YET), Outcome.OUT_OF_TIME, ""),
    ],
)
def test_how_a_trial_ended_is_read_from_its_last_message(last: Message | None, outcome: Outcome, reason: str) -> None:
    assert hooks.end_of(last) == (outcome, reason)


@pytest.mark.parametrize("result", [{}, {"trial_id": "x", "done": True}])
def test_a_result_of_tunes_own_reports_nothing(tune: Tune, result: dict[str, Any]) -> None:
    trial = tune.start()
    assert not tune.result(trial, result)
    tune.over(trial)
    assert tune.records == [(0, Outcome.FAILED, "it ended without a report")]


# --- asked and stopped ---------------------------------------------------------------------------


def test_tune_is_handed_the_ledgers_jobs(tune: Tune) -> None:
    trial = tune.start()
    (task,) = (Task(**task) for task in trial.config["tasks"])
    assert (task.folder, Recipe.from_json(task.recipe).learning_rate) == ("trials/00000", 2e-5)
    assert tune.board.jobs[trial.trial_id][0].label == "default"
    assert tune.said == [
        "trial 0 starts: default: learning_rate 2e-05, batch_size 16, frozen_layers 0, weight_decay 0.01"
    ]


def test_no_more_is_asked_for_than_there_is_room_and_nothing_is_taken_from_the_ledger(plan: Plan, clock: Clock) -> None:
    tune = Tune(altered(plan, most=None), clock)
    tune.board.watch.offer = Offer(nodes=(Node(cpus=2, gpus=0, memory=1000 * GB),), changes=True)
    first, _ = tune.start(), tune.start()
    assert tune.asker.suggest("third") is None
    assert tune.ledger.running == 2
    tune.board.watch.offer = Offer(nodes=(Node(cpus=3, gpus=0, memory=1000 * GB),), changes=True)  # a node has joined
    third = tune.start()
    tune.board.watch.offer = Offer(nodes=(Node(cpus=1, gpus=0, memory=1000 * GB),), changes=True)  # two have left
    for trial in (first, third):
        tune.over(trial)
        assert tune.asker.suggest("fourth") is None
    assert tune.ledger.running == 1


def test_on_this_machine_there_is_room_as_planned(plan: Plan, clock: Clock) -> None:
    tune = Tune(altered(plan, slots=1), clock)
    tune.board.watch.offer = None
    tune.start()
    assert tune.asker.suggest("second") is None


def test_tune_is_told_to_wait_while_something_runs_and_to_finish_when_nothing_is_left(plan: Plan, clock: Clock) -> None:
    tune = Tune(with_budget(plan, trials=1, confirm_recipes=0), clock)
    trial = tune.start()
    assert tune.asker.suggest("next") is None
    tune.report(trial, 1, 0.6)
    tune.report(trial, 2, 0.7)
    assert tune.asker.suggest("next") == Searcher.FINISHED


def test_a_trial_is_stopped_when_a_rung_says_so_and_when_it_is_over(plan: Plan, clock: Clock) -> None:
    tune = Tune(many(plan), clock)
    taught(tune)
    good, bad = tune.start(), tune.start()
    assert not tune.report(good, 1, 0.9)
    assert tune.report(bad, 1, 0.1)
    assert tune.report(good, 2, 0.8)
    assert tune.records[-2:] == [(TAUGHT, Outcome.COMPLETE, ""), (TAUGHT + 1, Outcome.PRUNED, "")]


def test_a_trial_is_stopped_when_the_time_for_trials_is_over(plan: Plan, clock: Clock) -> None:
    tune = Tune(with_budget(plan, seconds=100.0, confirm_recipes=0), clock)
    trial = tune.start()
    clock.now += 101
    assert tune.report(trial, 1, 0.9)
    assert tune.records == [(0, Outcome.OUT_OF_TIME, "")]


@pytest.mark.parametrize("score", [0.7, None])
def test_a_trial_that_the_time_has_ended_keeps_its_score(plan: Plan, clock: Clock, score: float | None) -> None:
    tune = Tune(with_budget(plan, seconds=1000.0), clock)
    trial = tune.start()
    assert Task(**trial.config["tasks"][0]).until == clock.now + 1000.0
    if score is not None:
        tune.report(trial, 0.4, score)
    assert not tune.tell(trial, TimeOver(**NOTHING_YET)), "its process ends by itself"
    tune.over(trial)
    (ended,) = trial_records.read(plan.place.run / "trials.jsonl")
    assert (ended.outcome, ended.best and ended.best.objective) == (Outcome.OUT_OF_TIME, score)
    won = tune.ledger.conclusions.winner()
    assert (won and won[0].number) == (None if score is None else 0)


def test_a_training_that_confirms_goes_on_where_there_is_more_time(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=1, seconds=1000.0, confirm_recipes=1, confirm_seeds=1)
    tune = Tune(plan, clock)
    first = tune.start()
    tune.report(first, 1, 0.9)
    tune.report(first, 2, 0.9)
    again = tune.start()
    tune.report(again, 0.4, 0.7)
    tune.tell(again, TimeOver(**NOTHING_YET))
    tune.over(again)
    assert [run.outcome for run in trial_records.read(plan.place.run / "confirm.jsonl")] == [Outcome.INTERRUPTED]
    assert session(with_budget(plan, seconds=2000.0), clock).unfinished == [
        Job(number=0, seed=FRESH, params=first_params(tune), label="default", confirms=True)
    ]


def first_params(tune: Tune) -> dict[str, Any]:
    """Parameters of trial 0."""
    return dict(trial_records.read(tune.plan.place.run / "trials.jsonl")[0].params)


def test_a_training_that_confirms_runs_to_its_end(plan: Plan, clock: Clock) -> None:
    tune = Tune(with_budget(plan, trials=1, seconds=1000.0, confirm_recipes=1, confirm_seeds=2), clock)
    first = tune.start()
    tune.report(first, 1, 0.9)
    tune.report(first, 2, 0.9)
    again, last = tune.start(), tune.start()
    clock.now += 5000
    assert not tune.report(again, 1, 0.1), "neither the rung nor the time stops it"
    assert tune.report(again, 2, 0.2)
    tune.die(last)
    tune.report(tune.start(), 2, 0.3)
    assert [(t.key, t.outcome) for t in trial_records.read(plan.place.run / "confirm.jsonl")] == [
        ((0, FRESH), Outcome.COMPLETE),
        ((0, FRESH + 1), Outcome.COMPLETE),
    ]


@pytest.mark.parametrize("message", [failed("x"), DiskFull(number=28, text="x", path="", **NOTHING_YET)])
def test_a_message_without_a_score_is_not_asked_about(tune: Tune, message: Message) -> None:
    trial, result = tune.start(), Told(messages=(message,)).to_tune()
    assert tune.stopper.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE
    assert tune.board.error is None


# --- recorded ------------------------------------------------------------------------------------


def test_the_last_report_may_come_twice(tune: Tune) -> None:
    trial = tune.start()
    result = Told(messages=(said(1, 0.6, tune.clock.now),)).to_tune()
    for _ in range(2):
        tune.recorder.on_trial_result(iteration=1, trials=[], trial=trial, result=result)
    assert [len(trial.reports) for trial in tune.ledger.trials] == [1]
    assert len(tune.said) == 2


def test_a_recipe_that_failed_leaves_its_reason_and_where_there_is_one_its_traceback(tune: Tune) -> None:
    known, unknown = tune.start(), tune.start()
    tune.tell(known, failed("loss is nan at step 3"))
    tune.over(known)
    tune.tell(unknown, failed("KeyError: 'x'", traceback="Traceback\n  KeyError: 'x'"))
    tune.over(unknown)
    assert tune.records == [(0, Outcome.FAILED, "loss is nan at step 3"), (1, Outcome.FAILED, "KeyError: 'x'")]
    folder = tune.plan.place.run / "trials"
    assert not (folder / "00000").exists()
    assert (folder / "00001" / "error.txt").read_text() == "Traceback\n  KeyError: 'x'\n"


def test_a_recipe_that_does_not_fit_the_device_is_infeasible(tune: Tune) -> None:
    trial = tune.start()
    tune.tell(trial, failed("one example needs more", infeasible=True))
    tune.over(trial)
    assert tune.records == [(0, Outcome.INFEASIBLE, "one example needs more")]


def test_a_trial_whose_process_died_goes_on_and_fails_after_its_retries(tune: Tune) -> None:
    trial = tune.start()
    tune.report(trial, 1, 0.6)
    for _ in range(tune.plan.resources.retries):
        tune.die(trial)
        assert tune.said[-1] == "trial 0: its process died; it goes on from its last snapshot"
        trial = tune.start()
        assert Task(**trial.config["tasks"][0]).samples == 320
        assert tune.said[-1].startswith("trial 0 goes on after epoch 1.00: default: ")
    assert not (tune.plan.place.run / "trials" / "00000" / "error.txt").exists()
    tune.die(trial)
    assert tune.records == [(0, Outcome.FAILED, "its process died (3 times)")]
    assert "trial 0 failed (its process died (3 times)): 1 of 12 done" in tune.said[-1]
    assert len(Log(tune.plan.place.run).events("lost")) == tune.plan.resources.retries
    assert tune.board.jobs == {}


NODE_GONE = f"{DIED}The actor died because its node has died. Node Id: 0f"
NO_RUN = "Traceback\ntrainables._task.NodeError: w1: no run directory here"


def test_a_trial_whose_node_goes_again_and_again_goes_on(tune: Tune) -> None:
    """A spot node may be taken ten times a day, which says nothing about the recipe or the machine."""
    tune.board.watch.name = "w1"  # type: ignore[attr-defined]
    for _ in range(tune.plan.resources.retries + STRIKES + 1):
        tune.die(tune.start(), NODE_GONE)
    assert tune.records == []
    assert tune.ledger.unfinished[0].number == 0
    assert tune.board.watch.aside == []  # type: ignore[attr-defined]


def test_of_several_workers_each_machine_answers_for_itself(plan: Plan, clock: Clock) -> None:
    """The slot's own process may be on another machine, which has no part in what the workers' lack."""
    tune = Tune(altered(plan, need=dataclasses.replace(plan.resources.need, workers=2)), clock)
    tune.board.watch.name = "the slot's"  # type: ignore[attr-defined]
    tune.board.watch.offer = Offer(nodes=_Calm.offer.nodes * 2, changes=True)
    for _ in range(STRIKES):
        tune.die(tune.start(), f"{NO_RUN} (node 0fab)")
    assert tune.board.watch.aside == ["0fab"]  # type: ignore[attr-defined]
    trial = tune.start()
    assert trial.trial_id not in tune.board.nodes, "nothing runs yet: its workers may wait for room"
    tune.report(trial, 1, 0.6, node="w2", node_id="12cd")
    assert tune.board.nodes[trial.trial_id] == TrialNode("12cd", "w2")


@pytest.mark.parametrize(
    ("announced", "said"), [(frozenset({"id of w1"}), "its node has gone"), (frozenset(), "its process died")]
)
def test_a_node_that_was_announced_to_be_taken_is_known_by_that(
    tune: Tune, announced: frozenset[str], said: str
) -> None:
    tune.board.watch.name = "w1"  # type: ignore[attr-defined]
    tune.board.watch.announced = announced  # type: ignore[assignment]
    tune.die(tune.start(), f"{DIED}Actor died by preemption.")
    assert tune.said[-1] == f"trial 0: {said}; it goes on from its last snapshot"


@pytest.mark.parametrize("preempted", [False, True])
def test_tune_starts_no_trial_again_by_itself(tune: Tune, preempted: bool) -> None:
    """It would tell nobody, and the ledger would not know."""
    trial = tune.start()
    tune.write_down(trial, RayActorError(preempted=preempted))
    assert not trial.should_recover()


def test_a_machine_that_cannot_train_is_set_aside_and_costs_no_trial_a_retry(tune: Tune) -> None:
    calm: Any = tune.board.watch
    calm.offer = Offer(nodes=(Node(cpus=8, gpus=0, memory=1000 * GB),) * 2, changes=True)
    calm.name = "w1"
    for _ in range(STRIKES):
        assert calm.aside == []
        tune.die(tune.start(), NO_RUN)
    assert calm.aside == ["id of w1"]
    assert tune.said[-1] == "w1 gets no more trials: it lost 3 in a row (w1: no run directory here)"
    assert tune.records == []
    assert tune.board.error is None


@pytest.mark.parametrize("name", [None, "w1"])
def test_where_no_machine_can_train_the_search_ends_with_the_reason(tune: Tune, name: str | None) -> None:
    calm: Any = tune.board.watch
    head = Node(cpus=0, gpus=0, memory=1000 * GB)
    calm.name, calm.offer = name, Offer(nodes=(Node(cpus=8, gpus=0, memory=1000 * GB), head), changes=True)
    tune.die(tune.start(), NO_RUN)
    with pytest.raises(SearchFailedError, match="there is no machine to train on: w1: no run directory here"):
        tune.step()


def test_where_nothing_can_run_it_is_said_why(tune: Tune) -> None:
    calm: Any = tune.board.watch
    calm.offer = Offer(nodes=(Node(cpus=0, gpus=0, memory=GB),), changes=True)
    now = [0.0]
    tune.board.waiting = Waiting(lambda: now[0])
    for _ in range(3):
        tune.step()
        now[0] += PATIENCE
    assert [said for said in tune.said if said.startswith("No trial has run since ")] == tune.said
    assert len(tune.said) == 1
    assert tune.said[0].endswith("the machines have 0 CPU, 0 GPU, 1.0 GB. No node that can be started has room either")


def test_a_trial_that_waits_takes_over_a_free_process_only_where_there_is_no_room_for_another(tune: Tune) -> None:
    first, second = tune.start(), tune.start()
    controller = SimpleNamespace(get_trials=lambda: [first, second])
    assert tune.stopper.choose_trial_to_run(controller) is None
    calm: Any = tune.board.watch
    calm.offer = Offer(nodes=(Node(cpus=1, gpus=0, memory=1000 * GB),), changes=True)
    assert tune.stopper.choose_trial_to_run(controller) is first


def test_a_machine_that_has_reported_is_given_more(tune: Tune) -> None:
    calm: Any = tune.board.watch
    calm.offer = Offer(nodes=(Node(cpus=8, gpus=0, memory=1000 * GB),) * 2, changes=True)
    calm.name = "w1"
    for _ in range(STRIKES):
        trial = tune.start()
        tune.report(trial, 0.5, 0.6)
        tune.die(trial)
    assert calm.aside == []


def test_a_trial_that_dies_before_it_starts_is_recorded(plan: Plan, clock: Clock) -> None:
    tune = Tune(altered(plan, retries=0), clock)
    trial = Trial("trial", stub=True)
    tune.asker.suggest(trial.trial_id)
    tune.die(trial)
    assert tune.records == [(0, Outcome.FAILED, "its process died")]
    error = plan.place.run / "trials" / "00000" / "error.txt"
    assert error.read_text() == "its process died\n", "said even where Ray has written nothing down"


# --- what ends the search ------------------------------------------------------------------------


def test_an_error_in_a_hook_ends_the_search_at_the_next_step_and_nothing_is_recorded_after_it(tune: Tune) -> None:
    trial, other = tune.start(), tune.start()
    tune.step()
    result = Told(messages=(said(1, 0.5, tune.clock.now),)).to_tune()
    del result["told"][0]["messages"][0]["samples"]  # a worker of another version
    assert not tune.result(trial, result)
    before = (tune.plan.place.run / "trials.jsonl").read_bytes(), tune.text.getvalue()
    tune.over(trial)
    assert not tune.report(other, 2, 0.9)
    tune.die(other)
    assert ((tune.plan.place.run / "trials.jsonl").read_bytes(), tune.text.getvalue()) == before
    for _ in range(2):
        with pytest.raises(TypeError, match="samples"):
            tune.step()
        with pytest.raises(TypeError, match="samples"):
            tune.asker.suggest("next")


@pytest.mark.parametrize(
    "hook",
    [
        lambda tune, trial: tune.asker.suggest("next"),
        lambda tune, trial: tune.report(trial, 1, 0.6),
        lambda tune, trial: tune.over(trial),
        lambda tune, trial: tune.die(trial),
    ],
    ids=["suggest", "report", "complete", "error"],
)
def test_no_hook_lets_an_error_out(tune: Tune, hook: Callable[[Tune, Trial], object]) -> None:
    trial = tune.start()
    tune.ledger.close()  # the next line has no file to go to
    Log.close(tune.ledger._log)
    hook(tune, trial)
    with pytest.raises(ValueError, match="closed file"):
        tune.step()


def test_a_full_disk_of_a_slot_ends_the_search(tune: Tune) -> None:
    trial = tune.start()
    path = "trials/00000/best.safetensors"
    tune.tell(trial, DiskFull(number=errno.ENOSPC, text="No space left on device", path=path, **NOTHING_YET))
    tune.over(trial)
    with pytest.raises(OSError, match=r"best\.safetensors") as caught:
        tune.step()
    assert caught.value.errno == errno.ENOSPC
    assert tune.records == [], "it is nobody's failure"


def test_trials_that_only_fail_end_the_search(tune: Tune) -> None:
    for _ in range(5):
        tune.step()
        trial = tune.start()
        tune.tell(trial, failed("no such file"))
        tune.over(trial)
    with pytest.raises(SearchFailedError, match="no such file"):
        tune.step()


def test_a_stop_request_ends_the_search_between_two_steps(tune: Tune) -> None:
    tune.start()
    tune.step()
    tune.stop.append(15)
    with pytest.raises(KeyboardInterrupt):
        tune.step()
    assert [line.outcome for line in tune.ledger.abandon()] == [Outcome.INTERRUPTED]


def test_where_no_trial_is_alive_tune_begins_no_step_and_what_it_asks_looks_around(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = tune.start()
    tune.report(trial, 1, 0.5)
    watch, there = tune.board.watch, [Offer(nodes=(), changes=True)]
    monkeypatch.setattr(watch, "poll", lambda: setattr(watch, "offer", there[-1]))
    tune.die(trial)
    assert tune.asker.suggest("none can run it") is None
    there.append(_Calm.offer)
    assert isinstance(tune.asker.suggest("a machine has joined"), dict)
    tune.stop.append(2)
    with pytest.raises(KeyboardInterrupt):
        tune.asker.suggest("Ctrl-C")


def test_a_failure_of_ours_is_said_before_a_stop_request(tune: Tune) -> None:
    tune.board.error = OSError(errno.ENOSPC, "full")
    tune.stop.append(2)
    with pytest.raises(OSError):
        tune.step()


def test_pickling_the_hooks_takes_nothing_along(tune: Tune) -> None:
    train(tune.ledger, tune.clock, tune.board.jobs[tune.start().trial_id][0], 0.5)
    for hook in (tune.asker, tune.stopper, tune.recorder):
        assert len(pickle.dumps(hook)) < 200


def test_files_are_removed_when_the_slot_that_fell_free_has_its_next_trial(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune gives a slot its next trial in the step after the one in which it fell free."""
    tidied, tune.ledger._weights._removes_later = list[int](), True
    monkeypatch.setattr(tune.ledger, "tidy", lambda: tidied.append(step))
    trial = tune.start()
    for step in range(1, 6):
        tune.recorder.on_step_begin(iteration=step, trials=[])
        if step == 3:
            tune.report(trial, 1, 0.5)
            tune.recorder.on_trial_complete(iteration=step, trials=[trial], trial=trial)
    assert tidied == [1, 2, 3, 5]


def test_what_happens_to_the_storage_is_said_and_the_loss_of_its_lock_ends_the_search(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    news = [["Storage s3://bucket/r: away"], []]
    monkeypatch.setattr(tune.board, "note", noted.append)
    tune.ledger._log.news = lambda: news.pop(0)
    tune.step()
    tune.step()
    assert noted == ["Storage s3://bucket/r: away"]

    def lost() -> list[str]:
        raise TakenOverError("s3://bucket/r was taken over")

    tune.ledger._log.news = lost
    with pytest.raises(TakenOverError):
        tune.step()


NO_MEMORY = "1 worker(s) were killed due to the node running low on memory. OOM kill reason: Memory usage 24000000000B "
NO_MEMORY += "exceeded threshold of 1B (95.0% of 25000000000B limit)\nA page of Ray's manual.\n"


def test_memory_that_runs_out_is_said_in_one_line_and_the_second_time_fewer_trials_run(
    plan: Plan, clock: Clock
) -> None:
    slots = 3
    tune = Tune(altered(plan, most=slots), clock)
    line = "its machine ran out of memory (24.0 of 25.0 GB used): --concurrent or a smaller --model lowers the need"
    trials = [tune.start() for _ in range(slots)]
    tune.die(trials[0], NO_MEMORY)
    trials.append(tune.start())
    tune.die(trials[1], NO_MEMORY)
    assert tune.asker.suggest("one more") is None, "two run, and no more may"
    assert [text for text in tune.said if "emory" in text] == [
        f"trial 0: {line}; it goes on from its last snapshot",
        f"trial 1: {line}; it goes on from its last snapshot",
        "Memory has run out again: 2 instead of 3 trials at once from now on",
    ]


@pytest.mark.parametrize("noticed_by", ["poll", "after_loss"])
def test_when_ray_dies_no_trial_is_to_blame_and_tune_does_not_clean_up(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, noticed_by: str
) -> None:
    """A node that ends takes its trials along. Tune cleans up after an `Exception`, and waits for Ray."""
    trial = tune.start()

    def notice(watch: _Calm) -> None:
        raise ClusterLostError("its process raylet has died")

    monkeypatch.setattr(_Calm, noticed_by, notice)
    tune.die(trial, DIED)
    with pytest.raises(RayGone) as gone:
        tune.step()
    assert isinstance(gone.value.__cause__, ClusterLostError)
    assert not isinstance(gone.value, Exception)
    if noticed_by == "after_loss":
        assert not any("its process died" in text for text in tune.said)
