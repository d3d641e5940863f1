"""A whole search by a metric whose smaller values are better: decisions, resume, confirmation, report and dashboard."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from frostline import spaces
from frostline.search.dashboard.study_journal import StudyJournal
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome
from frostline.search.report import page, view
from frostline.search.tracking import sweep
from frostline.spaces import Space


def space_by(metric: str) -> Space:
    return dataclasses.replace(spaces.load("bert_imdb"), metric=metric)


def run(plan: Any, corpus: Any) -> dict[str, Any]:
    from frostline.search import tuner

    text = io.StringIO()
    found = tuner.run(plan, corpus, Console(file=text, width=200))
    return {**found, "printed": text.getvalue()}


@pytest.fixture(scope="module")
def searched(
    ray_here: None, tiny_model: Path, tiny_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A search by the loss, then two trials more; one confirmed recipe with two seeds."""
    storage = tmp_path_factory.mktemp("direction")
    options = Options(
        space="bert_imdb", profile="small", model=str(tiny_model), dataset=str(tiny_csv), storage=storage,
        name="loss", trials=4, concurrent=1, confirm_recipes=1, confirm_seeds=2, wandb="off",
    )  # fmt: skip
    plan, corpus = planning.resolve(options, space_by("loss"))
    planning.claim(plan)
    first = run(plan, corpus)
    again, corpus = planning.resume(plan.place.run, Options(space="", trials="+2", concurrent=1), space_by("loss"))
    return {**run(again, corpus), "first": first, "plan": again}


def complete(searched: dict[str, Any]) -> list[trial_records.Trial]:
    trials = trial_records.read(Path(searched["run"], "trials.jsonl"))
    return [trial for trial in trials if trial.best]


def test_the_smallest_loss_wins(searched: dict[str, Any]) -> None:
    trials = complete(searched)
    assert len(trial_records.read(Path(searched["run"], "trials.jsonl"))) == 6
    losses = {trial.number: min(line.metrics["loss"] for line in trial.reports if not line.partial) for trial in trials}
    assert len({*losses.values()}) > 1
    first = searched["confirmed"][0]
    assert first["estimate"] <= min(row["estimate"] for row in searched["confirmed"]) + 0.05  # or a cheap tied one
    assert searched["best"]["number"] == first["number"]
    assert searched["best"]["found"] == losses[first["number"]] < max(losses.values())
    runs = trial_records.read(Path(searched["run"], "confirm.jsonl"))
    own = [run for run in runs if run.number == searched["best"]["number"]]
    assert searched["best"]["validation"] == min([-run.objective for run in own] or [losses[first["number"]]])
    assert all(trial.confirms for trial in runs)
    assert searched["optimism"] == pytest.approx(searched["test"]["loss"] - searched["best"]["validation"])
    low, high = searched["test_interval"]
    assert low <= searched["test"]["loss"] <= high


def test_records_hold_the_objective_and_the_study_the_loss(searched: dict[str, Any]) -> None:
    trials = trial_records.read(Path(searched["run"], "trials.jsonl"))
    assert all(line.objective == -line.metrics["loss"] for trial in trials for line in trial.reports)
    backend = optuna.storages.journal.JournalFileBackend(f"{searched['run']}/study.journal")
    study = optuna.load_study(study_name="bert_imdb", storage=optuna.storages.JournalStorage(backend))
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    ended = {trial.number: -trial.objective for trial in trials if trial.outcome == Outcome.COMPLETE}
    stored = {trial.number: trial.value for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])}
    assert stored == ended


def test_what_a_person_reads_is_the_loss(searched: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in searched["references"]}
    shares = rows["majority class"]["validation"]
    assert 0.6 < shares < 0.7, "the loss of the shares of two classes that are about as frequent is ln 2"
    assert searched["metric"] == "loss"
    for part in (f"{searched['best']['validation']:.4f}", "best "):
        assert part in searched["first"]["printed"] + searched["printed"]
    seen = view.read(Path(searched["run"]))
    assert seen.won is not None
    assert seen.metric.value(seen.won.objective) == searched["best"]["validation"]
    text = page.page(seen)
    assert f"{searched['best']['validation']:.4f}" in text
    assert "Test minus validation" in text
    assert 'data-better="lower"' in text


def test_wandb_and_the_dashboard_are_told_the_direction(searched: dict[str, Any]) -> None:
    assert sweep.config(searched["plan"])["metric"] == {"name": "loss", "goal": "minimize"}
    journal = StudyJournal(Path(searched["run"], "study.journal"), searched["plan"].search.metric)
    notes = [log["system_attr"] for log in journal.read_logs(0) if "system_attr" in log]
    assert any("lower is better" in str(note) for note in notes)


@pytest.mark.parametrize("metric", ["f1_score", "Accuracy", "los"])
def test_a_metric_that_the_family_does_not_report_is_one_line_before_anything_starts(
    tiny_model: Path, tiny_csv: Path, tmp_path: Path, metric: str
) -> None:
    options = Options(space="bert_imdb", model=str(tiny_model), dataset=str(tiny_csv), storage=tmp_path, name="run")
    with pytest.raises(
        ValueError, match=f"metric '{metric}' is not one that .* reports: .*metrics are accuracy, macro_f1, loss, "
    ):
        planning.resolve(options, space_by(metric))
    assert not (tmp_path / "run").exists()
