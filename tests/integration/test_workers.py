"""Searches whose trials have two workers, on a Ray that outlives them: what they find, and that nothing stays."""

import io
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from rich.console import Console

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome
from tests.integration.searches import stopping_early
from tests.search.altered import altered

GONE = 120.0
"""Seconds after the end of a search after which a trial's resources count as lost. It takes up to 10 s when idle."""

Search = Callable[..., dict[str, Any]]


@pytest.fixture
def search(ray_here: None, tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> Search:
    """Run a search with two workers a trial; `meanwhile` is called in a thread, with the run directory."""

    def run(
        meanwhile: Callable[[Path], None] = lambda run: None,
        change: Callable[[Plan], Plan] = lambda plan: plan,
        **options: Any,
    ) -> dict[str, Any]:
        from frostline.search import tuner

        given = {"model": str(tiny_model), "dataset": str(tiny_csv), "profile": "small", "storage": tmp_path}
        given |= {"confirm_recipes": 0, "workers_per_trial": 2, **options}
        with stopping_early():
            plan, corpus = planning.resolve(Options(space="bert_imdb", **given))
        plan = change(plan)
        planning.claim(plan)
        text = io.StringIO()
        with ThreadPoolExecutor(1) as pool, stopping_early():
            doing = pool.submit(meanwhile_or_end, meanwhile, plan.place.run)
            found = tuner.run(plan, corpus, Console(file=text, width=200))
            all_is_free(time.monotonic() + GONE)
        doing.result()
        return {**found, "printed": text.getvalue()}

    return run


def meanwhile_or_end(meanwhile: Callable[[Path], None], run: Path) -> None:
    """Call `meanwhile`. If it fails, end the search with Ctrl-C."""
    try:
        meanwhile(run)
    except BaseException:
        os.kill(os.getpid(), signal.SIGINT)
        raise


def lines_of(run: Path) -> list[trial_records.Line]:
    path = run / "trials.jsonl"
    return [line for trial in trial_records.read(path) for line in trial.reports] if path.exists() else []


def all_is_free(until: float) -> None:
    """All resources, no placement group, no actor, none of a trial's processes."""
    while left := what_is_left():
        assert time.monotonic() < until, left
        time.sleep(0.1)


def what_is_left() -> list[str]:
    whole, free = ray.cluster_resources(), ray.available_resources()
    left = [f"{name}: {free.get(name)} of {whole[name]}" for name in ("CPU", "memory") if free.get(name) != whole[name]]
    groups = ray.util.placement_group_table().values()
    left += [f"placement group {group}" for group in groups if group["state"] != "REMOVED"]
    from ray._private.state import actors

    left += [
        f"actor {actor['ActorClassName']}"
        for actor in actors().values()
        if actor["State"] != "DEAD"
        and "AutoscalingCoordinator" not in actor["ActorClassName"]  # Ray's own, one for all
    ]
    return left + [f"process {name}" for name in names() if "RayTrainWorker" in name or "TrainController" in name]


def names() -> list[str]:
    return [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True) if alive(process)]


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(what: Callable[[], object], seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.05)


def worker_pids() -> list[int]:
    return [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if alive(process) and "RayTrainWorker" in " ".join(process.cmdline())
    ]


def kill_while_it_trains(records: Path) -> None:
    """Kill a worker of a trial that has reported; it is halted first, to be sure that it is not between two trials."""

    def training() -> bool:
        return any(trial.outcome == Outcome.RUNNING and trial.reports for trial in trial_records.read(records))

    while True:
        wait_for(training)
        worker = worker_pids()[0]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.5)
        if training():
            os.kill(worker, signal.SIGKILL)
            return
        os.kill(worker, signal.SIGCONT)


def groups_made() -> int:
    """Worker groups that Ray has started, dead ones too."""
    from ray._private.state import actors

    return sum("TrainController" in actor["ActorClassName"] for actor in actors().values())


def with_one_that_fails(plan: Plan) -> Plan:
    return altered(
        plan, recipes={**plan.search.recipes, "wild": {**plan.search.recipes["default"], "learning_rate": 1e30}}
    )


def test_one_group_trains_them_all_and_nothing_of_it_is_left(search: Search) -> None:
    """Early stops and a failure end no process, a killed worker ends its group but no trial, and Ctrl-C all."""
    before = groups_made()

    def meanwhile(run: Path) -> None:
        records = run / "trials.jsonl"
        wait_for(records.exists)
        wait_for(lambda: sum(trial.outcome != Outcome.RUNNING for trial in trial_records.read(records)) >= 8)
        assert groups_made() == before + 1
        kill_while_it_trains(records)
        wait_for(lambda: len({line.pid for line in lines_of(run)}) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    found = search(meanwhile, with_one_that_fails, name="many", trials=500, epochs=8, checkpoint_every=0.0, seed=5)
    assert found["interrupted"]
    counts = found["counts"]
    assert min(counts["complete"], counts["pruned"], counts["failed"]) >= 1
    assert counts["running"] == 0
    assert "is nan at step" in found["printed"] or "is inf at step" in found["printed"]
    assert found["printed"].count("one of its workers died; it goes on from its last snapshot") == 1, found["printed"]
    assert found["printed"].count("goes on after epoch") == 1, found["printed"]
    assert groups_made() == before + 2
    assert not {path.name for path in Path(found["run"]).iterdir()} & {"tune"}
