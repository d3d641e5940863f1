"""A search in W&B: the real client, and a server on loopback that speaks its protocol."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import baseline as baseline_records
from frostline.search.records import trials as trial_records
from frostline.search.records.baseline import BaselineRecord
from frostline.search.records.log import hold
from frostline.search.records.trials import Outcome, Records
from frostline.search.tracking import sweep
from frostline.search.tracking.tracker import Limits, Tracker
from tests.fake_wandb import ENTITY, FakeRun, FakeWandb
from tests.integration.searches import Searches
from tests.search.altered import altered
from tests.search.made import job, line

PARAMS = {"learning_rate": 1e-4, "batch_size": 8, "frozen_layers": 1, "weight_decay": 0.01}
SHORT = Limits(answer=1.0, finish=1.0, end=20.0)
"""For a server that does not answer."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeWandb]:
    """A server that answers well, and an environment that points at it and at nothing of the user's."""
    monkeypatch.delenv("WANDB_MODE")
    with FakeWandb() as fake:
        elsewhere = {"WANDB_CONFIG_DIR": tmp_path / "config", "NETRC": tmp_path / "netrc"}
        for name, value in {**fake.environment, **elsewhere}.items():
            monkeypatch.setenv(name, str(value))
        yield fake


@pytest.fixture(scope="module")
def planned(tiny_model: Path, tiny_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder, given = tmp_path_factory.mktemp("runs"), {"model": str(tiny_model), "dataset": str(tiny_csv)}
    return planning.resolve(Options(space="bert_imdb", profile="small", storage=folder, name="seen", **given))[0]


class Search:
    """The records of a search, written and told as its driver does, without training anything."""

    def __init__(self, plan: Plan, **changes: Any) -> None:
        self.plan = altered(plan, **{"wandb": "online", **changes})
        self.plan.place.run.mkdir(exist_ok=True)
        with hold(self.plan.place.run):
            pass  # a session is in its log
        self.text = io.StringIO()

    def session(self, limits: Limits | None = None) -> Tracker:
        """A tracker of a session that begins now."""
        return Tracker(self.plan, Console(file=self.text, width=500), limits)

    def train(
        self, tracker: Tracker, number: int, outcome: Outcome, *scores: float, after: int = 0, **more: Any
    ) -> None:
        """A training with its reports, to its end; `seed` and `reason` as in a record."""
        seed, reason = more.get("seed", self.plan.search.seed), more.get("reason", "")
        records = Records(self.plan.place.run / ("trials.jsonl" if seed == self.plan.search.seed else "confirm.jsonl"))
        tracker.begin(job(number, seed, params=PARAMS))
        given = {"params": PARAMS, "seed": seed}
        for place, score in enumerate(scores, start=after + 1):
            said = line(
                number, Outcome.RUNNING, score, **given, epoch=place / 2, samples=112 * place, seconds=float(place)
            )
            records.append(said)
            tracker.report(said)
        last = {"epoch": (after + len(scores)) / 2, "samples": 112 * (after + len(scores)), "seconds": 9.0}
        ended = line(number, outcome, scores[-1] if scores else None, **given, reason=reason, **last)
        records.append(ended)
        tracker.end(ended)
        records.close()

    def all(self, tracker: Tracker) -> None:
        """Four trainings, each with another end."""
        self.train(tracker, 0, Outcome.COMPLETE, 0.6, 0.8, 0.7)
        self.train(tracker, 1, Outcome.PRUNED, 0.5)
        self.train(tracker, 2, Outcome.FAILED, reason="loss is nan at step 3")
        self.train(tracker, 0, Outcome.COMPLETE, 0.75, 0.7, seed=1)

    def sync(self) -> None:
        """What the warning says to type."""
        script = Path(sys.executable).with_name("wandb")
        subprocess.run(
            [str(script), "sync", *map(str, self.plan.place.run.glob("wandb/offline-run-*"))],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.plan.place.run.parent,  # it logs to the folder where it is called
        )

    @property
    def said(self) -> list[str]:
        return self.text.getvalue().splitlines()


@pytest.fixture
def search(planned: Plan, tmp_path: Path) -> Search:
    return Search(altered(planned, run=tmp_path / "seen"))


def of(server: FakeWandb, number: int, seed: int = 0) -> FakeRun:
    """The run of a training."""
    (found,) = [run for run in server.runs.values() if run.display_name == sweep.run_name(job(number, seed))]
    return found


def scores(run: FakeRun) -> list[float]:
    return [row["accuracy"] for row in run.history]


def has_all(server: FakeWandb) -> bool:
    """Whether everything of the four trainings is there, once."""
    found = {run.display_name: (run.state, scores(run)) for run in server.runs.values()}
    return found == {
        "trial 0": ("finished", [0.6, 0.8, 0.7]),
        "trial 1": ("finished", [0.5]),
        "trial 2": ("failed", []),
        "trial 0 seed 1": ("finished", [0.75, 0.7]),
    }


def test_a_search_is_one_sweep_and_each_training_a_run_of_it(
    server: FakeWandb, search: Search, capfd: pytest.CaptureFixture[str]
) -> None:
    with search.session() as tracker:
        search.all(tracker)
    assert not server.unknown
    ((name, made),) = server.sweeps.items()
    assert made["config"] == sweep.config(search.plan)
    assert has_all(server)
    assert {run.sweep for run in server.runs.values()} == {name}
    assert {run.group for run in server.runs.values()} == {"seen"}
    assert {run.project for run in server.runs.values()} == {"frostline"}
    whole = of(server, 0)
    assert set(made["config"]["parameters"]) <= set(whole.config)
    assert {key: whole.config[key] for key in PARAMS} == PARAMS
    assert whole.config["data"]["source"] == search.plan.search.base.data.source
    assert [whole.history[1][key] for key in ("_step", "epoch", "samples", "seconds")] == [1, 1.0, 224, 2.0]
    assert whole.summary["accuracy"] == 0.8, "of the best report, by which a search decides"
    assert (whole.summary["outcome"], whole.summary["seconds"]) == ("complete", 9.0)
    assert {whole.job_type, of(server, 0, seed=1).job_type} == {"trial", "confirm"}
    assert whole.tags == sweep.tags(search.plan, search.plan.search.base.model)
    stopped = of(server, 1)
    assert stopped.tags[-1] == "pruned"
    assert (stopped.summary["outcome"], stopped.summary["stopped_at_rung"]) == ("pruned", 0.5)
    assert of(server, 2).summary["reason"] == "loss is nan at step 3"
    assert search.said[0] == f"W&B sweep: {tracker.link}" == f"W&B sweep: {server.url}/testers/frostline/sweeps/{name}"
    assert [text.split(": ")[0] for text in search.said] == ["W&B sweep", "W&B view"]
    (view,) = server.views
    panels = view["spec"]["section"]["panelBankConfig"]["sections"][0]["panels"]
    assert [panel["viewType"] for panel in panels] == [
        "Parallel Coordinates Plot",
        "Parameter Importance",
        "Run History Line Plot",
        "Scatter Plot",
        "Scatter Plot",
    ]
    log = {column["displayName"]: bool(column.get("log")) for column in panels[0]["config"]["columns"]}
    assert log == {"batch_size": False, "frozen_layers": False, "accuracy": False} | dict.fromkeys(
        ("learning_rate", "weight_decay"), True
    )
    assert capfd.readouterr() == ("", ""), "nothing of W&B's own on the terminal"


def test_what_was_broken_off_goes_on_in_its_own_run_and_nothing_is_sent_twice(
    server: FakeWandb, search: Search
) -> None:
    with search.session() as tracker:
        search.train(tracker, 0, Outcome.INTERRUPTED, 0.5, 0.6)
        search.train(tracker, 1, Outcome.INTERRUPTED)
        search.train(tracker, 2, Outcome.COMPLETE, 0.7)
    assert [of(server, number).state for number in range(3)] == ["preempted", "preempted", "finished"]
    with search.session() as tracker:
        search.train(tracker, 0, Outcome.COMPLETE, 0.7, 0.8, after=2)
        search.train(tracker, 1, Outcome.COMPLETE, 0.4)
    assert len(server.sweeps) == len(server.views) == 1
    assert [scores(of(server, number)) for number in range(3)] == [[0.5, 0.6, 0.7, 0.8], [0.4], [0.7]]
    assert [of(server, number).state for number in range(3)] == ["finished"] * 3
    assert [of(server, number).opened for number in range(3)] == [2, 2, 1]
    with search.session():
        pass
    assert [of(server, number).opened for number in range(3)] == [2, 2, 1], "all is there, so nothing is done"


def test_a_copied_search_of_somebody_else_sends_nothing_unless_it_is_asked_to(
    server: FakeWandb, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = search.plan.place.run / "wandb"
    folder.mkdir()
    book = {"sweep": "abc", "entity": "somebody", "project": "theirs", "url": "http://elsewhere/sweeps/abc"}
    (folder / "frostline.jsonl").write_text(json.dumps(book) + "\n")
    (folder / "settings").write_text("[default]\nbase_url = http://127.0.0.1:9\nproject = theirs\n")
    monkeypatch.chdir(search.plan.place.run)
    with search.session() as tracker:
        search.train(tracker, 0, Outcome.COMPLETE, 0.7)
    assert (server.runs, server.sweeps, server.views) == ({}, {}, [])
    assert search.said == [
        f"W&B: the search is in somebody/theirs, and you are {ENTITY}. The search goes on; {folder} keeps the data "
        "that W&B lacks.",
        f"Send it later: frostline --resume {search.plan.place} --wandb online; or wandb sync {folder}/offline-run-*",
    ]
    search.plan = dataclasses.replace(search.plan, wandb=dataclasses.replace(search.plan.wandb, asked=True))
    with search.session():
        pass
    assert [scores(run) for run in server.runs.values()] == [[0.7]]


def test_a_driver_that_is_killed_leaves_runs_that_can_go_on(server: FakeWandb, search: Search) -> None:
    tracker = search.session()
    with tracker:
        tracker.begin(job(0, params=PARAMS))
        tracker.report(line(0, Outcome.RUNNING, 0.5, params=PARAMS))
        # Nothing ends the training: its pipe is closed and that is all.
    assert (of(server, 0).state, scores(of(server, 0))) == ("preempted", [0.5])


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Limits in seconds of all waiting for W&B's client."""
    limits: list[float] = []
    wait = subprocess.Popen.wait

    def noted(process: Any, timeout: float | None = None) -> int:
        if timeout is not None:
            limits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noted)
    return limits


@pytest.mark.parametrize("wrong", ["hanging", "broken", "denied", "absent"])
def test_a_server_that_fails_holds_up_nothing_and_everything_can_be_sent_later(
    server: FakeWandb, search: Search, monkeypatch: pytest.MonkeyPatch, waits: list[float], wrong: str
) -> None:
    server.mode = wrong
    if wrong == "absent":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with search.session(SHORT) as tracker:
        search.all(tracker)  # returns although a hanging server answers nothing in this test
    assert waits
    assert max(waits) <= SHORT.end
    assert len(search.said) == 2, search.said
    folder = search.plan.place.run / "wandb"
    assert search.said[0].endswith(f"The search goes on; {folder} keeps the data that W&B lacks.")
    assert f"wandb sync {folder}/offline-run-*" in search.said[1]
    assert len(list(folder.glob("offline-run-*"))) == 4
    assert not server.runs
    server.mode = "well"
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    if wrong in {"hanging", "denied"}:
        search.sync()
        assert has_all(server)
        assert {run.group for run in server.runs.values()} == {"seen"}
    with search.session():
        pass
    assert has_all(server), "sent from the records, and nothing twice"
    assert {run.sweep for run in server.runs.values()} == set(server.sweeps)
    assert len(server.sweeps) == 1


def test_a_server_that_hangs_in_the_middle_holds_up_nothing(
    server: FakeWandb, search: Search, waits: list[float]
) -> None:
    with search.session(SHORT) as tracker:
        search.train(tracker, 0, Outcome.COMPLETE, 0.6, 0.8, 0.7)
        while not (server.runs and of(server, 0).state == "finished"):
            time.sleep(0.02)
        tracker.begin(job(9, 7, params=PARAMS))
        while len(server.runs) < 2:
            time.sleep(0.02)
        server.mode = "hanging"
        search.train(tracker, 9, Outcome.PRUNED, 0.5, 0.6, seed=7)
        search.train(tracker, 1, Outcome.PRUNED, 0.5)
    assert waits
    assert max(waits) <= SHORT.end
    assert sum("keeps the data that W&B lacks" in text for text in search.said) == 1
    server.mode = "well"
    search.sync()
    assert scores(of(server, 9, seed=7)) == [0.5, 0.6]
    assert scores(of(server, 1)) == [0.5]
    assert {run.sweep for run in server.runs.values()} == set(server.sweeps), "the sweep was there"


def test_offline_asks_nobody_and_keeps_all(server: FakeWandb, search: Search) -> None:
    search.plan = altered(search.plan, wandb="offline")
    with search.session() as tracker:
        search.all(tracker)
    assert (server.operations, tracker.link) == ([], None)
    (said,) = search.said
    assert said.endswith(f"wandb sync {search.plan.place.run}/wandb/offline-run-*")
    search.sync()
    assert has_all(server)
    assert {run.group for run in server.runs.values()} == {"seen"}


def test_the_winners_model_goes_up_once(server: FakeWandb, search: Search) -> None:
    best = search.plan.place.run / "best"
    best.mkdir()
    (best / "model.safetensors").write_bytes(b"weights")
    for _ in range(2):
        with search.session() as tracker:
            if not server.runs:
                search.all(tracker)
            winner = trial_records.read(search.plan.place.run / "trials.jsonl")[0]
            tracker.publish(winner, best)
    (artifact,) = server.artifacts
    assert artifact["state"] == "COMMITTED"
    assert artifact["artifactTypeName"] == "model"
    assert {alias["alias"] for alias in artifact["aliases"]} == {"latest", "best", "bert_imdb"}
    assert artifact["runName"] == of(server, 0).name
    assert b"weights" in server.uploads.values()
    assert has_all(server), "its run has nothing more and is finished again"
    assert not server.unknown


RESULT = {
    "test_accuracy": 0.7,
    "test_loss": 0.6,
    "baseline": "TF-IDF",
    "baseline_accuracy": 0.75,
    "baseline_test_accuracy": 0.72,
    "comparison": "The winner is worse than TF-IDF.",
}


def conclude(search: Search, tracker: Tracker) -> None:
    """What a driver does when the test set has been read: the last training wins."""
    sizes = {"train": 8, "validation": 4, "test": 4}
    scores = {"validation": {"accuracy": 0.75}, "test": {"accuracy": 0.72}}
    record = BaselineRecord(name="TF-IDF", seconds=2.0, examples=sizes, **scores)
    baseline_records.write(search.plan.place.run, record)
    winner = trial_records.read(search.plan.place.run / "confirm.jsonl")[0]
    tracker.conclude(winner, {"accuracy": 0.7, "loss": 0.6}, str(RESULT["comparison"]))


def test_the_result_goes_into_the_summary_of_the_winners_run_once(server: FakeWandb, search: Search) -> None:
    with search.session() as tracker:
        search.all(tracker)
        assert not (search.plan.place.run / "baseline.json").exists(), "it is known later than these ends"
        conclude(search, tracker)
    winner = of(server, 0, seed=1)
    assert {name: winner.summary.get(name) for name in RESULT} == RESULT
    assert (winner.summary["accuracy"], winner.summary["outcome"], winner.opened) == (0.75, "complete", 2)
    assert "comparison" not in of(server, 0).summary
    assert has_all(server)
    with search.session() as tracker:
        conclude(search, tracker)
    assert winner.opened == 2, "it is there"
    assert not server.unknown


@pytest.mark.parametrize("first", ["off", "offline"])
def test_a_result_that_wandb_lacks_is_sent_later(server: FakeWandb, search: Search, first: str) -> None:
    online, search.plan = search.plan, altered(search.plan, wandb=first)
    for _ in range(2):
        with search.session() as tracker:
            if not (search.plan.place.run / "trials.jsonl").exists():
                search.all(tracker)
            conclude(search, tracker)
    assert not server.operations
    assert len(list(search.plan.place.run.glob("wandb/offline-run-*"))) == (5 if first == "offline" else 0)
    if first == "offline":
        search.sync()
        assert RESULT.items() <= of(server, 0, seed=1).summary.items()
        server.runs.clear()
    search.plan = online
    with search.session() as tracker:
        conclude(search, tracker)
    assert RESULT.items() <= of(server, 0, seed=1).summary.items()
    assert has_all(server)


def test_a_whole_search_with_ctrl_c_a_lost_process_and_a_resume(
    ray_here: None, server: FakeWandb, tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    searches = Searches(tmp_path, tiny_model, tiny_csv)
    run = tmp_path / "seen"

    def kill() -> None:
        """The first process that reports."""
        while not (run / "trials.jsonl").exists() or not (seen := trial_records.read(run / "trials.jsonl")):
            time.sleep(0.005)
        os.kill(seen[0].reports[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with searches.interrupted_after("seen", 4):
        found = searches.start(
            "seen",
            trials=6,
            concurrent=1,
            epochs=16,  # long after the fourth report, so that Ctrl-C meets a trial that runs
            retries=0,
            wandb="online",
            prefix_cache="off",
            checkpoint_every=0.0,
        )
    killer.join()
    assert found["interrupted"]
    assert {run.state for run in server.runs.values()} >= {"failed", "preempted"}
    waiting = {run.name for run in server.runs.values() if run.state == "preempted"}
    found = searches.resume("seen", concurrent=1)
    assert not found["interrupted"]
    assert not server.unknown
    ((name, _),) = server.sweeps.items()
    assert found["wandb"].endswith(f"/sweeps/{name}")
    trials = trial_records.read(run / "trials.jsonl")
    assert len(server.runs) == len(trials) == 6
    assert {trial.outcome for trial in trials} >= {Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED}
    for trial in trials:
        seen = (
            of(server, trial.number)
            if not trial.label
            else next(
                run for run in server.runs.values() if run.display_name == f"trial {trial.number} ({trial.label})"
            )
        )
        assert seen.sweep == name
        assert scores(seen) == [report.metrics["accuracy"] for report in trial.reports]
        assert seen.state == ("failed" if trial.outcome == Outcome.FAILED else "finished")
        assert ("pruned" in seen.tags) == (trial.outcome == Outcome.PRUNED)
        assert {key: seen.config[key] for key in trial.params} == trial.params
    assert all(server.runs[name].opened >= 2 for name in waiting)
    (winner,) = [run for run in server.runs.values() if "comparison" in run.summary]
    assert winner.summary["test_accuracy"] == found["test"]["accuracy"]
    assert winner.summary["baseline_test_accuracy"] == found["baseline"]["test"]["accuracy"]
