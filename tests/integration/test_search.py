"""Whole searches on a tiny model: real Ray, real Optuna, real torch. One Ray for all that can share it."""

import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import frostline as fl
from frostline.search.ledger.study import optuna_state
from frostline.search.plan import parameters
from frostline.search.plan.disk import KEPT_CHECKPOINTS
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import read_events
from frostline.search.records.journal import read_lines
from frostline.search.records.trials import Outcome
from frostline.spaces import Recipe
from tests import tiny
from tests.integration.drivers import Driver
from tests.integration.searches import Searches
from tests.search.altered import altered
from tests.search.plan.test_models import space_of


def study_of(found: dict[str, Any]) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(f"{found['run']}/study.journal")
    return optuna.load_study(study_name="bert_imdb", storage=optuna.storages.JournalStorage(backend))


def lines_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(found["run"], "trials.jsonl").read_text().splitlines()]


def test_the_run_directory_keeps_its_contract(finished: dict[str, Any]) -> None:
    run = Path(finished["run"])
    assert {path.name for path in run.iterdir()} == {
        "plan.json",
        "study.journal",
        "trials.jsonl",
        "confirm.jsonl",
        "log.jsonl",
        "baseline.json",
        "baseline.safetensors",
        "trials",
        "best",
        "summary.json",
        "report.html",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary == {key: value for key, value in finished.items() if key != "printed"}
    assert summary["best"].keys() >= {"number", "params", "validation"}
    assert sum(summary["counts"].values()) == 8
    names = {"majority class", "TF-IDF with logistic regression", "default", "linear probe"}
    assert {row["name"] for row in summary["references"]} == names
    baseline = summary["baseline"]
    assert baseline["test"].keys() == baseline["validation"].keys() == summary["test"].keys()
    low, high = baseline["difference"]
    assert low <= summary["test"]["accuracy"] - baseline["test"]["accuracy"] <= high
    assert baseline["beaten"] is (low > 0)
    keys = {"number", "outcome", "objective", "params", "epoch", "step", "metrics", "seconds", "pid"}
    assert all(line.keys() >= keys for line in lines_of(finished))
    newest = max(run.rglob("*"), key=lambda path: path.stat().st_mtime_ns)
    assert newest == run / "report.html", "written last"


def test_the_winner_is_the_best_report_of_all_and_learned_something(finished: dict[str, Any]) -> None:
    scores = [line["metrics"]["accuracy"] for line in lines_of(finished) if line["outcome"] == "running"]
    majority = finished["references"][0]
    assert finished["best"]["validation"] == max(scores) > majority["validation"] + 0.1
    assert finished["test"]["accuracy"] > majority["test"] + 0.1


def test_the_model_loads_with_one_line_and_scores_as_reported(finished: dict[str, Any]) -> None:
    import transformers

    best = Path(finished["run"], "best")
    recipe = Recipe.from_json((best / "recipe.json").read_text())
    assert {name: getattr(recipe, name) for name in finished["best"]["params"]} == finished["best"]["params"]
    corpus = tiny.corpus(recipe.data, 32)
    classify = transformers.pipeline("text-classification", str(best), truncation=True)
    answers = [answer["label"] for answer in classify(corpus.inputs["test"], batch_size=1)]
    right = sum(a == corpus.classes[label] for a, label in zip(answers, corpus.labels["test"], strict=True))
    assert right / len(answers) == pytest.approx(finished["test"]["accuracy"], abs=1 / len(answers))
    assert f"| this model | {finished['best']['validation']:.4f}" in (best / "README.md").read_text()


def test_the_study_says_the_same_as_the_records(finished: dict[str, Any]) -> None:
    trials, records = study_of(finished).trials, trial_records.read(Path(finished["run"], "trials.jsonl"))
    assert [trial.number for trial in trials] == [record.number for record in records] == list(range(8))
    for trial, record in zip(trials, records, strict=True):
        assert trial.state == optuna_state(record)
        assert trial.params == record.params
        assert trial.intermediate_values == {line.samples: line.metrics["accuracy"] for line in record.reports}
        if trial.state == TrialState.COMPLETE:
            assert trial.value == record.objective
    assert [record.label for record in records][:2] == ["default", "linear probe"]
    states = {trial.state for trial in trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}, "the rungs stopped some and let some finish"


def test_the_second_trial_starts_at_once_in_the_same_process(finished: dict[str, Any]) -> None:
    records = trial_records.read(Path(finished["run"], "trials.jsonl"))
    assert len({line.pid for record in records for line in record.reports}) == 1
    session = next(event for event in read_lines(Path(finished["run"], "log.jsonl")) if event["event"] == "session")
    first = records[0].reports[0]
    start, gaps = first.time - first.seconds - session["time"], []
    for before, after in itertools.pairwise(records):
        ended, first = before.reports[-1].time, after.reports[0]
        gaps.append(first.time - first.seconds - ended)
    assert min(gaps) >= 0, "one at a time"
    # The promise of 0.1 s is measured on an idle machine (tests/bench/warm_slots.py). Here other work delays both.
    assert sorted(gaps)[len(gaps) // 2] < start, "the first trial starts a process, the others start nothing"


def test_nothing_of_a_stopped_trial_is_left(finished: dict[str, Any]) -> None:
    import ray
    from ray._private import state

    assert finished["counts"]["pruned"] > 0
    deadline = time.monotonic() + 120  # only against a hang
    while time.monotonic() < deadline:
        groups = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
        actors = [actor for actor in state.actors().values() if actor["State"] != "DEAD"]
        if not groups and not actors:
            break
        time.sleep(0.2)
    assert (groups, actors) == ([], [])
    assert ray.available_resources()["CPU"] == 2
    kept = {path.name for path in Path(finished["run"], "trials").iterdir()}
    assert len(kept) <= KEPT_CHECKPOINTS
    assert f"{finished['best']['number']:05d}" in kept


def test_the_same_seed_gives_the_same_recipes_and_the_same_scores(
    searches: Searches, asked: dict[str, Any], finished: dict[str, Any]
) -> None:
    again = searches.start("again", **asked)

    def told(found: dict[str, Any]) -> list[tuple[Any, ...]]:
        volatile = {"peak_memory_mb"}
        return [
            (
                *(line[key] for key in ("number", "outcome", "params", "samples")),
                sorted((k, v) for k, v in line["metrics"].items() if k not in volatile),
            )
            for line in lines_of(found)
        ]

    assert told(again) == told(finished)
    assert again["best"]["params"] == finished["best"]["params"]
    assert again["test"] == finished["test"]


def test_two_slots_share_the_trials(searches: Searches) -> None:
    found = searches.start("two", trials=6)
    assert len({line["pid"] for line in lines_of(found)}) == 2
    assert "6 of 6 done" in found["printed"]


def test_a_warm_slot_does_not_grow(searches: Searches) -> None:
    def same_recipe(plan: Plan) -> Plan:
        one = optuna.distributions.CategoricalDistribution((16,))
        fixed = {
            name: optuna.distributions.FloatDistribution(value, value)
            for name, value in (("learning_rate", 1e-3), ("weight_decay", 1e-2))
        }
        depth = optuna.distributions.IntDistribution(0, 0)
        return altered(plan, recipes={}, distributions={**fixed, "batch_size": one, "frozen_layers": depth})

    found = searches.start("grow", change=same_recipe, trials=10, concurrent=1, epochs=1)
    trials = trial_records.read(Path(found["run"]) / "trials.jsonl")
    peaks = [trial.reports[-1].metrics["peak_memory_mb"] for trial in trials]
    assert len(peaks) == 10
    assert peaks[0] > 100
    assert peaks[9] < 1.1 * peaks[2]


def test_the_model_is_searched_too(searches: Searches, tmp_path: Path) -> None:
    small, large = tiny.make_model(tmp_path / "small"), tiny.make_model(tmp_path / "large", layers=4)

    def with_both(plan: Plan) -> Plan:
        of_large = plan.search.recipes["default"] | {"model": str(large)}
        return altered(plan, recipes={**plan.search.recipes, "large": of_large})

    given = {"space": space_of(small, large), "change": with_both}
    found = searches.start("models", **given, trials=8, concurrent=1, model=None)
    blocks = {str(small): 3, str(large): 5}
    records = trial_records.read(Path(found["run"], "trials.jsonl"))
    assert {record.params["model"] for record in records} == set(blocks), "one process trained both"
    assert found["counts"]["failed"] == 0
    for record in records:
        depth = parameters.whole_blocks(record.params["frozen_fraction"], blocks[record.params["model"]])
        assert record.params["frozen_layers"] == depth
    best = Recipe.from_json(Path(found["run"], "best", "recipe.json").read_text())
    assert best.model == found["model"] == found["best"]["params"]["model"]
    assert found["test"] is not None


def test_when_every_trial_fails_the_reasons_are_kept(searches: Searches, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    save_file({name: torch.full_like(tensor, 1e38) for name, tensor in weights.items()}, broken / "model.safetensors")
    found = searches.start("all-fail", trials=3, concurrent=1, model=str(broken))
    assert found["counts"] == {**dict.fromkeys(Outcome, 0), "failed": 3}
    assert (found["best"], found["test"]) == (None, None)
    assert [trial.state for trial in study_of(found).trials] == [TrialState.FAIL] * 3
    for line in lines_of(found):
        assert line["reason"].startswith("loss is nan at step 0, learning rate"), line
    assert not Path(found["run"], "best").exists()


class Run:
    """A search that runs in a process of its own, and what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        self.process = Driver("--space", "bert_imdb", *arguments, out=self._out, err=self._err, cwd=folder)

    @property
    def printed(self) -> tuple[str, str]:
        """Its output and its messages so far."""
        return self._out.read_text(), self._err.read_text()


def test_a_trial_whose_process_dies_goes_on_and_the_sampler_never_hears_of_it(
    tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    """Run from another directory, as JSON; one slot's process is killed on the way."""
    run = Run(
        tmp_path,
        *("--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv), "--json"),
        *("--trials", "4", "--storage", str(tmp_path / "runs"), "--name", "killed", "--confirm", "0"),
        *("--epochs", "12", "--checkpoint-every", "0"),
    )
    records = tmp_path / "runs" / "killed" / "trials.jsonl"
    first = _first_report(records, run)
    os.kill(first["pid"], signal.SIGKILL)
    code = run.process.wait(240)
    out, err = run.printed
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((records.parent / "summary.json").read_text())
    trials = trial_records.read(records)
    assert len(trials) == 4
    assert (found["counts"]["running"], found["counts"]["failed"]) == (0, 0)
    events = [json.loads(text) for text in (records.parent / "log.jsonl").read_text().splitlines()]
    lost = [event for event in events if event["event"] == "lost"]
    assert {event["reason"] for event in lost} == {"its process died"}, "more than one where it had a group of heads"
    for killed in (trial for trial in trials if trial.number in {event["number"] for event in lost}):
        assert killed.outcome in {Outcome.COMPLETE, Outcome.PRUNED}
        samples = [line.samples for line in killed.reports]
        assert samples == sorted(set(samples)), "nothing was said twice"
    assert [trial.state for trial in study_of(found).trials] == [optuna_state(trial) for trial in trials]
    assert "trial 0 starts" in err


def _first_report(records: Path, run: Run, whole: bool = False) -> dict[str, Any]:
    """The first report on record; the first on the whole validation slice where `whole`."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert run.process.poll() is None, run.printed
        if records.exists() and (text := records.read_text()).endswith("\n"):
            reports = [json.loads(line) for line in text.splitlines()]
            if found := [report for report in reports if not (whole and report["partial"])]:
                return dict(found[0])
        time.sleep(0.05)
    raise AssertionError("no trial has reported within 120 s")


def test_ctrl_c_ends_the_search_and_keeps_the_results(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> None:
    run = Run(
        tmp_path,
        *("--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv)),
        *("--trials", "500", "--storage", str(tmp_path), "--name", "stopped"),
    )
    _first_report(tmp_path / "stopped" / "trials.jsonl", run, whole=True)
    run.process.send_signal(signal.SIGINT)
    code = run.process.wait(60)
    out, err = run.printed
    assert code == 130, err
    assert "Interrupted: these are the results so far" in out
    assert "winner: trial" in out
    found = json.loads((tmp_path / "stopped" / "summary.json").read_text())
    assert found["interrupted"]
    assert found["counts"]["running"] == 0
    assert not study_of(found).get_trials(states=[TrialState.RUNNING])
    assert "Traceback" not in out + err
    exported = (tmp_path / "stopped" / "best" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "stopped" / "best")
    best = fl.export(tmp_path / "stopped")
    assert best == tmp_path / "stopped" / "best"
    assert (best / "model.safetensors").read_bytes() == exported
    assert (best / "recipe.json").is_file()
    assert not [event for event in read_events(tmp_path / "stopped" / "log.jsonl") if event["event"] == "test"]
