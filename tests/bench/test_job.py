"""The messages between the harness and the systems."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import job as jobs

RECIPES = tuple(
    {"learning_rate": rate, "batch_size": 8, "frozen_layers": 1, "weight_decay": 0.01} for rate in (1e-4, 1 / 3000)
)


def a_job(folder: Path, **changes: Any) -> jobs.Job:
    """A job with something in every field."""
    fields: dict[str, Any] = {
        "system": "S",
        "search": False,
        "recipes": RECIPES,
        "trials": 2,
        "epochs": 2,
        "depths": (0, 6),
        "scratch": str(folder),
        **dict.fromkeys(("data", "model", "source", "table"), "x"),
        **dict.fromkeys(("train", "validation", "length", "seed", "concurrent", "threads"), 8),
        **dict.fromkeys(("reduction_factor", "first_rung"), 1.5),
        "prefix_cache": None,
        **dict.fromkeys(("by_length", "keep"), False),
    }
    return jobs.Job(**{**fields, **changes})


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = a_job(tmp_path / "new")
    assert jobs.load(job.save()) == job


def test_the_last_epochs_scores_come_in_the_order_of_the_recipes(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    second, first = (jobs.Teller(job.reports, name, recipe) for name, recipe in zip("ab", RECIPES[::-1], strict=True))
    for tell, epoch, accuracy in ((second, 1, 0.9), (first, 1, 0.5), (second, 2, 0.7), (first, 2, 0.6)):
        tell(epoch, accuracy)
    reports = jobs.read_reports(job)
    assert [report.trial for report in reports] == ["a", "b", "a", "b"]
    assert jobs.final_scores(job, reports) == [0.6, 0.7]


def test_a_recipe_without_a_result_is_named(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    jobs.Teller(job.reports, "a", RECIPES[0])(2, 0.5)
    jobs.Teller(job.reports, "b", RECIPES[1])(1, 0.5)
    with pytest.raises(ValueError, match="S has no result of 1 recipes, first number 1"):
        jobs.final_scores(job, jobs.read_reports(job))
    assert jobs.read_reports(a_job(tmp_path / "none")) == []


def test_frostlines_reports_are_those_of_its_records(tmp_path: Path) -> None:
    job = a_job(tmp_path, system="FN")
    assert jobs.read_reports(job) == []
    line = {"number": 3, "params": RECIPES[0], "epoch": 2.0, "metrics": {"accuracy": 0.8}, "time": 5.0, "seconds": 1.0}
    records = tmp_path / "runs" / "bench" / "trials.jsonl"
    records.parent.mkdir(parents=True)
    texts = [json.dumps({**line, "outcome": outcome}) for outcome in ("running", "complete")]
    records.write_text("\n".join(texts) + '\n{"numb')  # it is being written
    (report,) = jobs.read_reports(job)
    assert (report.trial, report.accuracy, report.time) == ("3", 0.8, 5.0)


def test_a_search_is_told_by_its_improvements() -> None:
    """Two trials report in turn; lines are not in the order of time."""
    told = ((12.0, 0.5), (30.0, 0.7), (20.0, 0.7), (25.0, 0.6), (40.0, 0.8))
    reports = [jobs.Report(trial="a", params={}, epoch=1, accuracy=a, time=t, seconds=1.0) for t, a in told]
    assert jobs.improvements(reports, 10.0) == ((2.0, 0.5), (10.0, 0.7), (30.0, 0.8))
    assert jobs.improvements([], 10.0) == ()
