"""A search that is broken off and goes on: real Ray, real signals."""

import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from frostline.search import cli
from frostline.search.ledger.study import optuna_state
from frostline.search.records import trials as trial_records
from frostline.search.records.log import Log, hold
from frostline.search.records.trials import Outcome
from frostline.search.report import view
from tests import tiny
from tests.integration.searches import Searches
from tests.search.made import FRESH


def told(lines: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What a search says that does not depend on the machine's speed."""
    return [
        (
            *(line[key] for key in ("number", "params", "samples", "step")),
            sorted((k, v) for k, v in line["metrics"].items() if k != "peak_memory_mb"),
        )
        for line in lines
        if line["outcome"] == "running"
    ]


def test_broken_off_again_and_again_it_ends_as_if_it_had_never_been(
    searches: Searches, asked: dict[str, Any], finished: dict[str, Any]
) -> None:
    """One slot: the same recipes, the same scores to the bit, the same states, the same model file."""
    printed = []
    with searches.interrupted_after("broken", 2):
        found = searches.start("broken", checkpoint_every=0.0, **asked)
    while found["interrupted"]:
        printed.append(found["printed"])
        assert found["counts"]["running"] == 0
        with searches.interrupted_after("broken", 3):
            found = searches.resume("broken", concurrent=1)
    assert len(printed) >= 2, "interruptions"
    assert told(searches.lines("broken")) == told(searches.lines("finished"))
    for key in ("counts", "test", "test_interval"):
        assert found[key] == finished[key]
    assert (found["best"]["params"], found["best"]["validation"]) == (
        finished["best"]["params"],
        finished["best"]["validation"],
    )
    one, other = (Path(each["run"], "best", "model.safetensors").read_bytes() for each in (finished, found))
    assert one == other
    assert "goes on after epoch" in "".join([*printed, found["printed"]])


def test_a_finished_search_is_told_again_without_doing_anything(searches: Searches, finished: dict[str, Any]) -> None:
    best = Path(shutil.copytree(finished["run"], searches.storage / "told")) / "best"
    before = {path: path.stat().st_mtime_ns for path in best.iterdir()}
    again = searches.resume("told")
    assert again["printed"] == ""
    assert {path: path.stat().st_mtime_ns for path in best.iterdir()} == before
    assert {k: again[k] for k in ("best", "test", "counts", "test_reads")} == {
        k: finished[k] for k in ("best", "test", "counts", "test_reads")
    }


def test_quiet_is_the_result_alone(
    searches: Searches, finished: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    run = str(shutil.copytree(finished["run"], searches.storage / "quiet"))
    capfd.readouterr()
    printed = {}
    for options in ((), ("--quiet",), ("--quiet", "--json")):
        assert cli.main(["--resume", run, *options]) == cli.OK
        printed[options] = capfd.readouterr()
    loud, quiet, both = printed.values()
    assert f"Watch it: frostline --dashboard {run}\n" in loud.out
    assert loud.out.endswith(quiet.out)
    first, _, table = quiet.out.lstrip().partition("\n")
    assert first.startswith("The winner is "), "on these texts nothing is better than TF-IDF"
    assert "TF-IDF with logistic regression" in first
    assert table.lstrip().startswith("┃ validation accuracy")
    assert json.loads(both.out)["run"] == run
    assert both.err == ""


def test_trials_can_be_added_and_the_first_ones_stay(searches: Searches, finished: dict[str, Any]) -> None:
    """Ray's own restore cannot (ray#18847)."""
    shutil.copytree(finished["run"], searches.storage / "more")
    before = searches.lines("more")
    found = searches.resume("more", trials="+3", concurrent=1)
    lines = searches.lines("more")
    assert lines[: len(before)] == before
    assert sum(found["counts"].values()) == 11
    kept = ("seconds", "validation", "test")
    assert [found["baseline"][key] for key in kept] == [finished["baseline"][key] for key in kept]
    assert found["counts"]["running"] == 0
    assert len({json.dumps(line["params"]) for line in lines}) == 11, "no recipe is tried twice"
    scores = [line["metrics"]["accuracy"] for line in lines if line["outcome"] == "running"]
    assert found["best"]["validation"] == max(scores)
    moved = Path(found["run"], "log.jsonl").read_text().count('"event": "test"')
    assert found["test_reads"] == moved <= 2, "a second time for another winner only"
    study = optuna.load_study(
        study_name="bert_imdb",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(f"{found['run']}/study.journal")
        ),
    )
    assert [trial.user_attrs.get("recipe") for trial in study.trials][:3] == ["default", "linear probe", None]
    assert [trial.user_attrs.get("recipe") for trial in study.trials][3:] == [None] * 8


def test_a_time_budget_ends_the_trials_and_they_count_with_what_they_have(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = searches.storage / "timed" / "trials.jsonl"

    def clock() -> float:
        """An hour passes once a report on the whole validation slice is there."""
        reported = records.exists() and b'"partial": false' in records.read_bytes()
        return time.time() + 3600 * reported

    monkeypatch.setattr("frostline.search.records.log.Log", lambda run, _: Log(run, clock))
    found = searches.start("timed", time_budget="1h", epochs=10, checkpoint_every=0.0)
    trials = trial_records.read(records)
    late = [trial for trial in trials if trial.outcome == Outcome.OUT_OF_TIME]
    assert late
    assert all(optuna_state(trial) == TrialState.PRUNED and trial.reports for trial in late)
    assert found["counts"]["running"] == found["counts"]["failed"] == 0
    assert found["best"]
    assert max(trial.reports[-1].epoch for trial in late) < 10
    assert not list(Path(found["run"]).glob("trials/*/last.safetensors"))


def test_the_best_recipes_are_confirmed_in_the_same_slots(searches: Searches) -> None:
    found = searches.start("confirmed", trials=6, confirm_recipes=3, confirm_seeds=2)
    run = Path(found["run"])
    trials, runs = trial_records.read(run / "trials.jsonl"), trial_records.read(run / "confirm.jsonl")
    seeds = {trial.number: [run.seed - FRESH for run in runs if run.number == trial.number] for trial in trials}
    assert {trial.number for trial in runs} <= {trial.number for trial in trials if trial.best}, (
        "of those that have a score on all of the validation slice"
    )
    assert all(each == [*range(len(each))] for each in seeds.values()), "fresh ones, from the first on"
    assert len(runs) <= 6
    assert all(trial.outcome == Outcome.COMPLETE for trial in runs), "none is stopped early"
    pids = {line.pid for trial in trials for line in trial.reports}
    again = {line.pid for trial in runs for line in trial.reports}
    # A slot that had to wait for the others has a new process.
    assert again & pids, "in the slots that are warm already"
    rows = view.read(run).confirmed
    best = rows[0]
    assert len(best.scores) >= 2
    assert found["best"]["number"] == best.number
    assert (found["confirmed"][0]["mean"], found["confirmed"][0]["estimate"]) == (best.mean, best.estimate)
    assert found["best"]["seed"] in best.seeds
    assert found["best"]["validation"] == max(best.scores)
    assert found["optimism"] == found["best"]["validation"] - found["test"]["accuracy"]
    low, high = found["test_interval"]
    assert low <= found["test"]["accuracy"] <= high
    card = (run / "best" / "README.md").read_text()
    for part in (
        f"{best.mean:.4f}",
        f"mean of {len(best.scores)} fresh seeds",
        f"{best.estimate:.4f}",
        "majority class",
        "linear probe",
        "Validation minus test",
    ):
        assert part in card
    assert {path.parent.name for path in run.glob("confirm/*/best.safetensors")} >= {
        f"{best.number:05d}-{found['best']['seed']}"
    }
    assert len(list(run.glob("confirm/*/best.safetensors"))) == sum(bool(row.scores) for row in rows), (
        "one for each recipe"
    )


def test_the_winner_is_trained_again_from_its_recipe_alone(
    searches: Searches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = searches.start("origin", trials=3, concurrent=1, confirm_recipes=1, confirm_seeds=1)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(Path(found["run"], "best", "recipe.json"), alone)
    code = cli.main(["--retrain", str(alone), "--storage", str(tmp_path), "--name", "again", "--json"])
    assert code == 0, capsys.readouterr().err
    again = json.loads(capsys.readouterr().out)
    assert again["best"]["validation"] == found["best"]["validation"]
    assert again["test"] == found["test"]
    one, other = (Path(each["run"], "best", "model.safetensors").read_bytes() for each in (found, again))
    assert one == other


def test_the_winner_is_trained_again_on_other_data(
    finished: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tiny.write_csv(tmp_path / "other.csv", tiny.rows(200, seed=9))
    arguments = ["--retrain", finished["run"], "--dataset", str(table)]
    assert cli.main([*arguments, "--storage", str(tmp_path), "--name", "other", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {split: found["data"][split] for split in ("train", "validation", "test")} == {
        "train": 120,
        "validation": 40,
        "test": 40,
    }


def test_five_fast_failures_stop_the_search_and_it_can_go_on(
    searches: Searches, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    bad = {name: torch.full_like(tensor, 1e38) for name, tensor in weights.items()}
    save_file(bad, broken / "model.safetensors", metadata={"format": "pt"})
    found = searches.start("hopeless", trials=30, model=str(broken))
    assert "The last one: loss is nan at step 0, learning rate" in found["failure"]
    ended = trial_records.read(Path(found["run"], "trials.jsonl"))
    failed = [trial for trial in ended if trial.outcome != Outcome.INTERRUPTED]
    assert len(failed) == 5, "not thirty"
    console = io.StringIO()
    assert cli._close(found, Console(file=console, width=300)) == cli.NO_TRIAL_SUCCEEDED
    assert "5 trials in a row failed before their first report. The last one: loss is nan" in console.getvalue()
    assert f"--resume {found['run']}" in console.getvalue()


def test_a_run_directory_in_use_is_refused_with_the_name_of_its_process(
    finished: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished["run"], tmp_path / "run")
    with hold(run):
        code = cli.main(["--resume", str(run)])
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith(f"frostline: {run} is in use by process {os.getpid()} on ")
    assert err.count("\n") == 1
