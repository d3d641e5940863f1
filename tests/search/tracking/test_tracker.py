"""A search in W&B's terms, and when W&B is on. No W&B runs here."""

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console

from frostline import spaces
from frostline.search.plan import parameters, wandb_mode
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records.baseline import BaselineRecord
from frostline.search.records.trials import Outcome, collect
from frostline.search.tracking import sweep, tracker
from frostline.search.tracking.tracker import Tracker
from frostline.spaces import Metric
from tests.search.altered import altered
from tests.search.made import METRIC, PARAMS, job, line, trial

NO_KEY = "no key is configured; run `wandb login` or set WANDB_API_KEY"


@pytest.mark.parametrize(
    ("asked", "kept", "setting", "has_key", "chosen"),
    [
        (None, None, "", True, ("online", "a key is configured")),
        (None, None, "", False, ("off", NO_KEY)),
        (None, None, "offline", True, ("offline", "W&B's own mode is offline")),
        (None, None, "dryrun", False, ("offline", "W&B's own mode is dryrun")),
        (None, None, "disabled", True, ("off", "W&B's own mode is disabled")),
        (None, None, "ONLINE", True, ("online", "a key is configured")),
        (None, None, "online", False, ("off", NO_KEY)),
        ("online", "off", "disabled", True, ("online", "as asked")),
        ("offline", None, "", False, ("offline", "as asked")),
        ("off", "online", "online", True, ("off", "as asked")),
        (None, "online", "offline", True, ("online", "as the search began")),
        (None, "online", "", False, ("offline", NO_KEY)),
        (None, "off", "", True, ("off", "as the search began")),
        (None, "offline", "", True, ("offline", "as the search began")),
    ],
)
def test_how_the_mode_is_chosen(
    asked: str | None, kept: str | None, setting: str, has_key: bool, chosen: tuple[str, str]
) -> None:
    assert wandb_mode.choose(asked, kept, setting, has_key) == chosen
    assert chosen[0] in wandb_mode.MODES


@pytest.mark.parametrize(
    ("asked", "setting", "message"),
    [
        ("online", "", f"--wandb online: {NO_KEY}"),
        (None, "on", "WANDB_MODE is one of online, run, shared, offline, dryrun, disabled, got 'on'"),
    ],
)
def test_an_impossible_mode_is_an_error(asked: str | None, setting: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wandb_mode.choose(asked, None, setting, has_key=False)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("variables", "files", "mode"),
    [
        ({}, {}, "off"),
        ({"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "offline"}, {}, "offline"),
        ({}, {"netrc": f"machine wandb.example.com login user password {'k' * 40}\n"}, "online"),
        ({}, {"settings": f"[default]\napi_key = {'k' * 40}\n"}, "online"),
        ({"WANDB_API_KEY": "k" * 40}, {"settings": "[default]\nmode = offline\n"}, "offline"),
    ],
    ids=["nothing", "mode", "netrc", "settings", "wandb offline"],
)
def test_a_key_is_found_where_wandb_finds_it(
    tmp_path: Path, variables: dict[str, str], files: dict[str, str], mode: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = {"WANDB_CONFIG_DIR": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "HOME": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {**places, "WANDB_BASE_URL": "https://wandb.example.com", **variables}
    code = (
        "import sys; from frostline.search.plan import wandb_mode\n"
        "print(wandb_mode.resolve(None, None).mode, 'wandb' in sys.modules)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    printed, imported = done.stdout.split()
    assert printed == mode
    assert imported == str(bool(files)), "W&B's client is imported only if the answer needs it"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (FloatDistribution(1e-5, 1e-3, log=True), {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}),
        (FloatDistribution(0.0, 0.5), {"distribution": "uniform", "min": 0.0, "max": 0.5}),
        (FloatDistribution(0.0, 0.5, step=0.1), {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1}),
        (IntDistribution(0, 7), {"distribution": "int_uniform", "min": 0, "max": 7}),
        (IntDistribution(0, 8, step=4), {"distribution": "q_uniform", "min": 0, "max": 8, "q": 4}),
        (IntDistribution(1, 64, log=True), {"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 1}),
        (IntDistribution(3, 3), {"value": 3}),
        (CategoricalDistribution((8, 16)), {"distribution": "categorical", "values": [8, 16]}),
        (CategoricalDistribution((None,)), {"value": None}),
    ],
    ids=str,
)
def test_a_distribution_as_a_sweeps_parameter(distribution: BaseDistribution, expected: dict[str, Any]) -> None:
    assert sweep.parameter(distribution) == expected


@pytest.mark.parametrize("profile", ["small", "full"])
@pytest.mark.parametrize("name", spaces.names())
def test_every_space_is_a_valid_sweep(name: str, profile: str) -> None:
    space = spaces.load(name)
    chosen = space.profile(profile)
    blocks = dict.fromkeys(chosen.models or (chosen.model,), 12)
    searched = parameters.searched(space, chosen, blocks)
    distributions, recipes = searched.distributions, searched.recipes
    made = {key: sweep.parameter(distribution) for key, distribution in distributions.items()}
    assert set(made) == set(next(iter(recipes.values())))
    for key, distribution in distributions.items():
        kind = made[key].get("distribution")
        assert sweep.is_log(distribution) == (kind == "log_uniform_values")
        if kind == "categorical":
            assert set(made[key]["values"]) == set(distribution.choices)  # type: ignore[attr-defined]
        for recipe in recipes.values():
            if "min" in made[key]:
                assert made[key]["min"] <= recipe[key] <= made[key]["max"]


def test_the_sweep_has_the_keys_that_runs_log_and_configure(plan: Plan) -> None:
    made = sweep.config(plan)
    assert (made["controller"], made["metric"]) == ({"type": "local"}, {"name": "accuracy", "goal": "maximize"})
    config = sweep.run_config(plan, job(3))
    assert set(made["parameters"]) <= set(config)
    assert {key: config[key] for key in PARAMS} == PARAMS
    assert (config["trial"], config["data"]["max_length"], config["budget"]["epochs"]) == (3, 24, 2)
    assert made["metric"]["name"] in sweep.row(line(0, Outcome.RUNNING, 0.5))


def test_a_runs_id_stays_after_a_resume_and_differs_in_any_other_search() -> None:
    session = {"time": 1.5, "pid": 7, "host": "a"}
    prefix = sweep.run_prefix("bert", session)
    assert prefix == sweep.run_prefix("bert", {**session, "event": "session"})
    assert len({prefix, *(sweep.run_prefix("bert", {**session, key: 8}) for key in session)}) == 4
    assert sweep.run_prefix("what / a # name?", session).startswith("what-a-name--")
    longest = sweep.run_id(sweep.run_prefix("x" * 200, session), job(99_999, 99_999))
    assert len(longest) <= 64
    assert sweep.run_id(prefix, job(1)) != sweep.run_id(prefix, job(1, 1))


def test_the_name_and_tags_of_a_run(plan: Plan) -> None:
    assert sweep.run_name(job(0, label="default")) == "trial 0 (default)"
    assert sweep.run_name(job(7, 2)) == "trial 7 seed 2"
    tags = sweep.tags(plan, "/very/long/" + "x" * 80)
    assert tags == ["bert_imdb", "small", "x" * 64]


@pytest.mark.parametrize(
    ("outcome", "reason", "code", "tags"),
    [
        (Outcome.COMPLETE, "", 0, []),
        (Outcome.PRUNED, "", 0, ["pruned"]),
        (Outcome.FAILED, "nan", 1, []),
        (Outcome.INTERRUPTED, "", 1, []),
        (Outcome.OUT_OF_TIME, "", 0, ["out of time"]),
        (Outcome.INFEASIBLE, "out of memory at a micro-batch of 1", 0, ["infeasible"]),
    ],
)
def test_the_outcome_sets_exit_code_and_tags(outcome: Outcome, reason: str, code: int, tags: list[str]) -> None:
    ended = trial(0, outcome, 0.5, reason=reason)
    assert (sweep.exit_code(ended), sweep.state_tags(ended)) == (code, tags)


def test_the_summary_has_the_best_report_and_the_rung_of_a_stop() -> None:
    summary = sweep.ending(trial(0, Outcome.PRUNED, 0.8, 0.7, seconds=9.0), METRIC, (0.5, 1.0, 4.0))
    assert summary == {
        "outcome": "pruned",
        "seconds": 9.0,
        "accuracy": 0.8,
        "best_epoch": 1.0,
        "stopped_at_rung": 1.0,
    }
    assert sweep.ending(trial(0, Outcome.FAILED, reason="nan"), METRIC, ()) == {
        "outcome": "failed",
        "seconds": 12.0,
        "reason": "nan",
    }
    early = collect([line(0, Outcome.RUNNING, 0.9, partial=True), line(0, Outcome.PRUNED, 0.9)])[0]
    sizes = {"train": 8, "validation": 4, "test": 4}
    baseline = BaselineRecord(
        name="TF-IDF", seconds=2.0, examples=sizes, validation={"accuracy": 0.75}, test={"accuracy": 0.7}
    )
    beside = sweep.ending(trial(0, Outcome.COMPLETE, 0.8), METRIC, (), baseline)
    assert (beside["accuracy"], beside["baseline"], beside["baseline_accuracy"]) == (0.8, "TF-IDF", 0.75)
    late = dataclasses.replace(baseline, validation={}, problem="did not end within 30 s")
    assert "baseline" not in sweep.ending(trial(0, Outcome.COMPLETE, 0.8), METRIC, (), late)
    assert "accuracy" not in sweep.ending(early, METRIC, (0.5,)), "a score on a part of the examples does not compare"


READ = BaselineRecord(
    name="TF-IDF",
    seconds=2.0,
    examples={"train": 8, "validation": 4, "test": 4},
    validation={"accuracy": 0.75},
    test={"accuracy": 0.7},
)
SCORES = {"test_accuracy": 0.8, "test_loss": 0.4}


@pytest.mark.parametrize(
    ("baseline", "comparison", "more"),
    [
        (READ, "The winner is better.", {"baseline_test_accuracy": 0.7, "comparison": "The winner is better."}),
        (dataclasses.replace(READ, test=None), "", {}),
        (dataclasses.replace(READ, validation={}, test=None, problem="did not end"), "It did not end.", {}),
        (None, "", {}),
    ],
    ids=["read", "not read", "a problem", "none"],
)
def test_the_result_has_the_test_scores_of_the_winner_and_of_the_baseline(
    baseline: BaselineRecord | None, comparison: str, more: dict[str, Any]
) -> None:
    more = {**more, **({"comparison": comparison} if comparison else {})}
    assert sweep.result(METRIC, {"accuracy": 0.8, "loss": 0.4}, baseline, comparison) == {**SCORES, **more}


def test_if_less_is_better_the_sweep_minimizes_and_the_summary_has_the_metrics_value(plan: Plan) -> None:
    metric = Metric(name="loss", better="lower")
    assert sweep.config(altered(plan, metric=metric))["metric"] == {"name": "loss", "goal": "minimize"}
    lines = [
        line(0, Outcome.RUNNING, metrics={"loss": loss, "accuracy": 1 - loss}, objective=-loss, epoch=epoch)
        for epoch, loss in ((1.0, 0.4), (2.0, 0.3), (3.0, 0.5))
    ]
    ended = collect([*lines, line(0, Outcome.COMPLETE, metrics=lines[-1].metrics, objective=-0.5, epoch=3.0)])[0]
    summary = {"outcome": "complete", "seconds": 12.0, "loss": 0.3, "best_epoch": 2.0}
    assert sweep.ending(ended, metric, ()) == summary


@pytest.mark.parametrize("given", [None, "/somewhere"])
def test_the_client_finds_a_checkout_that_is_not_installed(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "of another run")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given:
        monkeypatch.setenv("PYTHONPATH", given)
    environment = tracker._environment()
    root = Path(__file__).resolve().parents[3]
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(root), *([given] if given else [])]
    assert "WANDB_RUN_ID" not in environment


def test_off_starts_nothing(plan: Plan) -> None:
    assert plan.wandb.mode == "off"
    text = io.StringIO()
    plan.place.run.mkdir()
    with Tracker(plan, Console(file=text)) as follower:
        follower.start()
        follower.begin(job(0, label="default"))
        follower.report(line(0, Outcome.RUNNING, 0.5))
        follower.lose(job(0), "its process died")
        follower.end(line(0, Outcome.COMPLETE, 0.5))
        follower.conclude(trial(0, Outcome.COMPLETE, 0.5), {"accuracy": 0.5}, "")
        follower.publish(trial(0, Outcome.COMPLETE, 0.5), plan.place.run)
    assert (text.getvalue(), list(plan.place.run.iterdir())) == ("", [])


def test_the_plan_keeps_the_mode_and_a_resume_may_change_it(options: Options) -> None:
    plan, _ = planning.resolve(dataclasses.replace(options, wandb="offline", wandb_artifact=True))
    assert (plan.wandb.mode, plan.wandb.reason, plan.wandb.artifact) == ("offline", "as asked", True)
    planning.claim(plan)
    again, _ = planning.resume(plan.place.run, Options(space=""))
    assert (again.wandb.mode, again.wandb.reason, again.wandb.artifact) == ("offline", "as the search began", True)
    again, _ = planning.resume(plan.place.run, Options(space="", wandb="off"))
    assert (again.wandb.mode, again.resources.disk < plan.resources.disk) == ("off", True)


def test_an_artifact_without_wandb_is_a_mistake(options: Options) -> None:
    with pytest.raises(ValueError, match="--wandb-artifact: W&B is off: as asked"):
        planning.resolve(dataclasses.replace(options, wandb="off", wandb_artifact=True))
