"""A search that is broken off and goes on: real Ray, real signals, a real full disk."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from frostline.search import cli
from frostline.search.ledger import confirm
from frostline.search.ledger.study import optuna_state
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome
from tests.bench import chaos
from tests.search.made import METRIC

ROOT = Path(__file__).resolve().parent.parent.parent


class Searches:
    """Starts and resumes searches of one storage folder in this process."""

    def __init__(self, storage: Path, model: Path, table: Path) -> None:
        self.storage = storage
        self._given: dict[str, Any] = {"model": str(model), "dataset": str(table), "profile": "small"}

    def start(self, name: str, **options: Any) -> dict[str, Any]:
        """A new search, or one that `interrupt_after` breaks off."""
        given = {**self._given, "storage": self.storage, "confirm_recipes": 0, "checkpoint_every": 0.0, **options}
        plan, corpus = planning.resolve(Options(space="bert_imdb", name=name, **given))
        planning.claim(plan)
        return self._run(plan, corpus)

    def resume(self, name: str, **options: Any) -> dict[str, Any]:
        """Go on with a search."""
        plan, corpus = planning.resume(self.storage / name, Options(space="", **options))
        return self._run(plan, corpus)

    def _run(self, plan: Plan, corpus: Any) -> dict[str, Any]:
        from frostline.search import tuner

        text = io.StringIO()
        found = tuner.run(plan, corpus, Console(file=text, width=200))
        return {**found, "printed": text.getvalue()}

    def lines(self, name: str) -> list[dict[str, Any]]:
        """All lines of its `trials.jsonl`."""
        return [json.loads(text) for text in (self.storage / name / "trials.jsonl").read_text().splitlines()]

    @contextlib.contextmanager
    def interrupted_after(self, name: str, reports: int) -> Iterator[None]:
        """Send this process a Ctrl-C when the search has so many lines more than now, and not at a report."""
        path, over = self.storage / name / "trials.jsonl", threading.Event()

        def size() -> int:
            return path.read_text().count('"outcome": "running"') if path.exists() else 0

        def watch() -> None:
            before = size()
            while not over.wait(0.005):
                if size() >= before + reports:
                    time.sleep(0.03)
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def searches(ray_here: None, tiny_model: Path, tiny_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Searches:
    return Searches(tmp_path_factory.mktemp("runs"), tiny_model, tiny_csv)


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


def test_broken_off_again_and_again_it_ends_as_if_it_had_never_been(searches: Searches) -> None:
    """One slot: the same recipes, the same scores to the bit, the same states, the same model file."""
    asked = {"trials": 6, "concurrent": 1, "seed": 3, "epochs": 4}
    whole = searches.start("whole", **asked)
    interruptions = 0
    with searches.interrupted_after("broken", 3):
        found = searches.start("broken", **asked)
    while found["interrupted"]:
        interruptions += 1
        assert found["counts"]["running"] == 0
        with searches.interrupted_after("broken", 6):
            found = searches.resume("broken", concurrent=1)
    assert interruptions >= 2
    assert told(searches.lines("broken")) == told(searches.lines("whole"))
    for key in ("counts", "test", "test_interval"):
        assert found[key] == whole[key]
    assert (found["best"]["params"], found["best"]["validation"]) == (
        whole["best"]["params"],
        whole["best"]["validation"],
    )
    one, other = (Path(each["run"], "best", "model.safetensors").read_bytes() for each in (whole, found))
    assert one == other
    assert "goes on after epoch" in found["printed"] or interruptions > 2


def test_a_finished_search_is_told_again_without_doing_anything(searches: Searches) -> None:
    first = searches.start("twice", trials=2, concurrent=1)
    before = {path: path.stat().st_mtime_ns for path in Path(first["run"], "best").iterdir()}
    again = searches.resume("twice")
    assert again["printed"] == ""
    assert {path: path.stat().st_mtime_ns for path in Path(first["run"], "best").iterdir()} == before
    assert {k: again[k] for k in ("best", "test", "counts", "test_reads")} == {
        k: first[k] for k in ("best", "test", "counts", "test_reads")
    }


def test_quiet_is_the_result_alone(searches: Searches, capfd: pytest.CaptureFixture[str]) -> None:
    run = searches.start("quiet", trials=1, concurrent=1)["run"]
    capfd.readouterr()
    printed = {}
    for options in ((), ("--quiet",), ("--quiet", "--json")):
        assert cli.main(["--resume", run, *options]) == cli.OK
        printed[options] = capfd.readouterr()
    loud, quiet, both = printed.values()
    assert f"Watch it: frostline --dashboard {run}\n" in loud.out
    assert loud.out.endswith(quiet.out)
    assert quiet.out.lstrip().startswith("┃ validation accuracy")
    assert json.loads(both.out)["run"] == run
    assert both.err == ""


def test_trials_can_be_added_and_the_first_ones_stay(searches: Searches) -> None:
    """Ray's own restore cannot (ray#18847)."""
    searches.start("more", trials=3, concurrent=1)
    before = searches.lines("more")
    found = searches.resume("more", trials="+3", concurrent=1)
    lines = searches.lines("more")
    assert lines[: len(before)] == before
    assert sum(found["counts"].values()) == 6
    assert found["counts"]["running"] == 0
    assert len({json.dumps(line["params"]) for line in lines}) == 6, "no recipe is tried twice"
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
    assert [trial.user_attrs.get("recipe") for trial in study.trials][3:] == [None] * 3


def test_a_time_budget_ends_the_trials_and_they_count_with_what_they_have(searches: Searches) -> None:
    found = searches.start("timed", time_budget="12s", epochs=40)
    records = trial_records.read(Path(found["run"], "trials.jsonl"))
    late = [trial for trial in records if trial.outcome == Outcome.OUT_OF_TIME]
    assert late
    assert all(optuna_state(trial) == TrialState.PRUNED and trial.reports for trial in late)
    assert found["counts"]["running"] == found["counts"]["failed"] == 0
    assert found["best"]
    assert found["seconds"] < 60
    assert not list(Path(found["run"]).glob("trials/*/last.safetensors"))


def test_the_best_recipes_are_confirmed_in_the_same_slots(searches: Searches) -> None:
    found = searches.start("confirmed", trials=6, confirm_recipes=3, confirm_seeds=2)
    run = Path(found["run"])
    trials, runs = trial_records.read(run / "trials.jsonl"), trial_records.read(run / "confirm.jsonl")
    assert {(trial.number, trial.seed) for trial in runs} == {
        (trial.number, seed) for trial in trial_records.top(trials, 3) for seed in (1, 2)
    }, "of those that ASHA has let come to a score on all of the validation slice"
    assert all(trial.outcome == Outcome.COMPLETE for trial in runs), "none is stopped early"
    pids = {line.pid for trial in trials for line in trial.reports}
    assert {line.pid for trial in runs for line in trial.reports} <= pids, "in the slots that are warm already"
    rows = confirm.confirmed(trials, runs, METRIC)
    best = max(rows, key=lambda row: row.mean)
    assert found["best"]["number"] == best.number
    assert found["confirmed"][0]["mean"] == best.mean
    assert found["best"]["seed"] in best.seeds
    assert found["best"]["validation"] == max(best.scores)
    assert found["optimism"] == found["best"]["validation"] - found["test"]["accuracy"]
    low, high = found["test_interval"]
    assert low <= found["test"]["accuracy"] <= high
    card = (run / "best" / "README.md").read_text()
    for part in (
        f"{best.mean:.4f}",
        "mean of 2 fresh seeds",
        "majority class",
        "linear probe",
        "Validation minus test",
    ):
        assert part in card
    assert {path.parent.name for path in run.glob("confirm/*/best.safetensors")} >= {
        f"{best.number:05d}-{found['best']['seed']}"
    }
    assert len(list(run.glob("confirm/*/best.safetensors"))) == len(rows), "one for each recipe"


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
    searches: Searches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests import tiny

    searches.start("origin2", trials=2, concurrent=1)
    table = tiny.write_csv(tmp_path / "other.csv", tiny.rows(200, seed=9))
    arguments = ["--retrain", str(searches.storage / "origin2"), "--dataset", str(table)]
    assert cli.main([*arguments, "--storage", str(tmp_path), "--name", "other", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {split: found["data"][split] for split in ("train", "validation", "test")} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }


def test_five_fast_failures_stop_the_search_and_it_can_go_on(
    searches: Searches, tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    bad = {name: torch.full_like(tensor, float("nan")) for name, tensor in weights.items()}
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
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    from frostline.search.records.log import hold

    found = searches.start("busy", trials=2, concurrent=1)
    with hold(Path(found["run"])):
        code = cli.main(["--resume", found["run"]])
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith(f"frostline: {found['run']} is in use by process {os.getpid()} on ")
    assert err.count("\n") == 1


class SmallDisk:
    """A mounted file system of a few megabytes, in a mount namespace of its own so that no rights are needed."""

    def __init__(self, at: Path, size: str) -> None:
        self.at = at
        script = f"mount -t tmpfs -o size={size} tmpfs {at} && echo ready && exec sleep 1000"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"

    @property
    def seen(self) -> Path:
        """The folder as processes outside see it."""
        return Path(f"/proc/{self._holder.pid}/root{self.at}")

    def run(self, *command: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        """Run a command that sees the disk."""
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        environment = {**os.environ, "FROSTLINE_CACHE": os.environ["FROSTLINE_CACHE"]}
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment
        )

    def close(self) -> None:
        """Unmount it."""
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    made = []

    def make(size: str) -> SmallDisk:
        at = tmp_path / "disk"
        at.mkdir()
        made.append(SmallDisk(at, size))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def test_a_full_disk_is_one_message_and_nothing_is_lost(
    small_disk: Callable[[str], SmallDisk], tiny_model: Path, tiny_csv: Path
) -> None:
    disk = small_disk("12m")
    command = [sys.executable, str(ROOT / "search" / "run.py")]
    given = ("--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv))
    ballast = disk.seen / "ballast"
    ballast.write_bytes(b"x" * 12_190_000)
    done = disk.run(
        *command,
        *given,
        *("--storage", str(disk.at), "--name", "full", "--trials", "4", "--checkpoint-every", "0", "--confirm", "0"),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("frostline: ")
    assert "No space left on device" in last
    assert f"make room, then --resume {disk.at / 'full'}" in last
    before = (disk.seen / "full" / "trials.jsonl").read_bytes()
    assert before.endswith(b"\n") or not before, "no half line"

    ballast.unlink()
    done = disk.run(*command, "--resume", str(disk.at / "full"), "--json")
    assert done.returncode == 0, done.stderr
    after = (disk.seen / "full" / "trials.jsonl").read_bytes()
    assert after.startswith(before)
    found = json.loads(done.stdout)
    assert sum(found["counts"].values()) == 4
    assert found["counts"]["running"] == found["counts"]["failed"] == 0


def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path) -> None:
    """The short form of `python -m tests.bench.chaos`."""
    run = chaos.Chaos(tmp_path, seed=2, trials=7, epochs=5)
    outcome = run.run(kills=1)
    assert len(outcome.kills) == 1
    chaos.check(outcome)
    assert not list(outcome.run.glob("*/*/last.safetensors"))
