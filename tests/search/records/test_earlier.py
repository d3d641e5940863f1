"""Records of version 0.1.0 and before read as those of today."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from frostline.search.dashboard.server import Dashboard
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import of_json
from frostline.search.records import earlier
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Line, Outcome, Records
from frostline.search.report import page, view
from frostline.search.report.analysis import references_of
from frostline.spaces import Metric
from tests.search.made import Clock, line, session, taken
from tests.told import said

OLD: dict[str, Any] = {
    "number": 3,
    "state": "RUNNING",
    "params": {"learning_rate": 2e-5, "batch_size": 16},
    "label": "default",
    "epoch": 1.0,
    "samples": 288,
    "step": 18,
    "metrics": {"accuracy": 0.75, "macro_f1": 0.625, "loss": 0.5, "train_loss": 0.6, "peak_memory_mb": 812.0},
    "seconds": 41.5,
    "pid": 4711,
    "time": 1790000000.0,
    "reason": "",
    "seed": 0,
    "micro_batch": 16,
    "device": "cpu",
    "cached_layers": 3,
    "node": "here",
    "partial": False,
    "spent": {"training": 30.0, "evaluation": 10.0, "data": 1.5},
}
"""A report as version 0.1.0 wrote it."""
SILENT: dict[str, Any] = {**OLD, "epoch": 0.0, "samples": 0, "step": 0, "metrics": {}, "spent": {}, "pid": 0}
"""What the end of a trial without a report had in its place."""


def run(folder: Path, *lines: dict[str, Any], name: str = "trials.jsonl", metric: str | None = "accuracy") -> Path:
    """A run directory with a `plan.json`, unless `metric` is None, and one record file; the file's path."""
    if metric is not None:
        (folder / "plan.json").write_text(json.dumps({"metric": metric, "space": "tabular"}))
    (folder / name).write_text("".join(f"{json.dumps(fields)}\n" for fields in lines))
    return folder / name


@pytest.mark.parametrize(
    ("state", "reason", "reported", "outcome", "text"),
    [
        ("RUNNING", "", True, Outcome.RUNNING, ""),
        ("COMPLETE", "", True, Outcome.COMPLETE, ""),
        ("PRUNED", "", True, Outcome.PRUNED, ""),
        ("PRUNED", "interrupted", True, Outcome.INTERRUPTED, ""),
        ("FAIL", "interrupted", False, Outcome.INTERRUPTED, ""),
        ("PRUNED", "time budget", True, Outcome.OUT_OF_TIME, ""),
        ("FAIL", "time budget", False, Outcome.OUT_OF_TIME, ""),
        ("PRUNED", "infeasible: out of memory", False, Outcome.INFEASIBLE, "out of memory"),
        ("PRUNED", "infeasible: a: b", False, Outcome.INFEASIBLE, "a: b"),
        ("FAIL", "loss is nan", True, Outcome.FAILED, "loss is nan"),
        ("FAIL", "loss is nan", False, Outcome.FAILED, "loss is nan"),
        ("FAIL", "its process died (3 times)", True, Outcome.FAILED, "its process died (3 times)"),
    ],
)
@pytest.mark.parametrize(("name", "seed"), [("trials.jsonl", 0), ("confirm.jsonl", 2)])
@pytest.mark.parametrize(("metric", "score"), [("accuracy", 0.75), ("macro_f1", 0.625)])
def test_an_old_training_has_the_outcome_that_its_state_and_reason_said(
    tmp_path: Path,
    state: str,
    reason: str,
    reported: bool,
    outcome: Outcome,
    text: str,
    name: str,
    seed: int,
    metric: str,
    score: float,
) -> None:
    lines = [{**OLD, "seed": seed}] if reported else []
    if state != "RUNNING":
        lines.append({**(OLD if reported else SILENT), "seed": seed, "state": state, "reason": reason, "spent": {}})
    path = run(tmp_path, *lines, name=name, metric=metric)
    before = path.read_bytes()
    (trial,) = trial_records.read(path)
    assert (trial.outcome, trial.reason, trial.confirms) == (outcome, text, name == "confirm.jsonl")
    assert (trial.key, trial.params, trial.label) == ((3, seed), OLD["params"], "default")
    assert (trial.seconds, trial.time) == (41.5, 1790000000.0)
    assert trial.open is (outcome in {Outcome.RUNNING, Outcome.INTERRUPTED})
    assert trial.objective == (score if reported else -math.inf)
    assert [line.objective for line in trial.reports] == ([score] if reported else [])
    for report in trial.reports:
        assert (report.metrics, report.spent, report.micro_batch) == (OLD["metrics"], OLD["spent"], 16)
    assert path.read_bytes() == before, "the file stays as it was written"


@pytest.mark.parametrize("plan", [None, "", "[]", "{}", '{"metric"'])
def test_without_a_readable_plan_accuracy_decides(tmp_path: Path, plan: str | None) -> None:
    path = run(tmp_path, OLD, metric=None)
    if plan is not None:
        (tmp_path / "plan.json").write_text(plan)
    (trial,) = trial_records.read(path)
    assert trial.objective == 0.75


def test_an_old_report_without_the_metric_that_decides_has_no_objective(tmp_path: Path) -> None:
    (trial,) = trial_records.read(run(tmp_path, OLD, metric="top5"))
    assert (trial.reports[0].objective, trial.best) == (None, None)


def test_a_line_of_the_first_version_lacks_what_came_later(tmp_path: Path) -> None:
    later = ("reason", "seed", "micro_batch", "device", "cached_layers", "node", "partial", "spent")
    (trial,) = trial_records.read(run(tmp_path, {key: value for key, value in OLD.items() if key not in later}))
    (report,) = trial.reports
    assert (trial.outcome, report.seed, report.device, report.spent) == (Outcome.RUNNING, 0, "", {})


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "X"},
        {"state": "complete"},
        {"state": 1},
        {"state": ["RUNNING"]},
        {"state": "X", "reason": "interrupted"},
        {"state": "X", "reason": "infeasible: out of memory"},
        {"reason": 3},
        {"reason": None},
        {"metrics": 5},
        {"metrics": None},
        {"metrics": {"accuracy": "high"}},
        {"metrics": {"accuracy": None}},
        {"params": []},
        {"epoch": None},
        {"number": -1},
        {"number": "0"},
        {"seed": 0.5},
        {"spent": {"data": ""}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_damaged_old_line_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = run(tmp_path, {**OLD, **damage}, {**OLD, "number": 4})
    assert [trial.number for trial in trial_records.read(path)] == [4]


def test_an_old_search_goes_on_with_lines_of_today_in_the_same_file(tmp_path: Path) -> None:
    interrupted = {**OLD, "state": "PRUNED", "reason": "interrupted", "spent": {}}
    records = Records(run(tmp_path, OLD, interrupted))
    records.append(line(3, Outcome.RUNNING, 0.875, epoch=2.0, samples=576))
    records.append(line(3, Outcome.COMPLETE, 0.875, epoch=2.0, samples=576))
    records.close()
    assert list(records) == trial_records.read(tmp_path / "trials.jsonl")
    (trial,) = records
    assert (trial.outcome, trial.objective, [report.samples for report in trial.reports]) == (
        Outcome.COMPLETE,
        0.875,
        [288, 576],
    )


def test_a_line_of_today_is_returned_as_it_is() -> None:
    today = {"outcome": "complete", "reason": "interrupted"}
    assert earlier.upgraded(today, "accuracy") is today
    assert not earlier.is_earlier(today)
    assert Line.of(OLD, "loss").objective == 0.5


# --- a whole run directory -----------------------------------------------------------------------

WRITTEN = Path(__file__).with_name("version_0_1_0")
"""A search over handwritten digits that version 0.1.0 ran: six trials, the best one confirmed with two seeds. Only the
names of its machine and folders were changed."""


@pytest.fixture
def earlier_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "run"))


def test_its_report_is_made_of_its_records(earlier_run: Path) -> None:
    seen = view.read(earlier_run)
    assert [row.state for row in seen.rows] == ["complete"] * 2 + ["stopped early"] * 4
    assert seen.status == view.FINISHED
    assert seen.metric == Metric(name="accuracy", is_share=True)
    summary = json.loads((earlier_run / "summary.json").read_text())
    assert seen.won is not None
    assert seen.won.key == (summary["best"]["number"], summary["best"]["seed"])
    assert seen.won.objective == summary["best"]["validation"]
    assert seen.confirmed[0].mean == pytest.approx(summary["confirmed"][0]["mean"])
    assert seen.test is not None
    rows = {row.name: row for row in references_of(seen)}
    assert [*rows] == [row["name"] for row in summary["references"]]
    assert rows["majority class"].test == summary["references"][0]["test"]
    assert f"{summary['best']['validation']:.4f}" in page.page(seen)


def test_it_is_resumed_with_the_same_model_and_data_and_its_study_knows_its_trials(earlier_run: Path) -> None:
    before = of_json(earlier_run, run_folder.read_plan(earlier_run))
    plan, _ = planning.resume(earlier_run, Options(space="", trials="+1"))
    assert plan.budget == dataclasses.replace(before.budget, trials=7)
    assert plan.data == before.data
    assert plan.search.models == before.search.models
    assert (before.search.prefer, plan.search.prefer) == ("", "cheapest")
    ledger = session(plan, Clock())
    assert len(ledger.trials) == 6
    assert [trial.seed for trial in ledger.trials] == [3] * 6, "all trials of that version had one seed"
    won = ledger.conclusions.winner()
    assert won is not None
    assert won[0].confirms
    job = taken(ledger)
    assert (job.number, job.seed, job.confirms) == (6, 3 + 6, False)
    ledger.report(job, said(1, 0.99, 1_900_000_000.0))
    ledger.end(job, Outcome.INTERRUPTED)
    ledger.close()
    newest = trial_records.read(earlier_run / "trials.jsonl")[-1]
    assert (newest.number, newest.outcome, newest.objective) == (6, Outcome.INTERRUPTED, 0.99)


def test_its_dashboard_opens(earlier_run: Path) -> None:
    assert Dashboard(earlier_run)
