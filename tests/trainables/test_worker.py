"""What a slot does with a task.

There is no Tune session in this process, so Tune's `report` is one of our own. That the real one takes the same
reports, and ends a trial as ours does, is seen in tests/integration.
"""

import dataclasses
import errno
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
import ray.tune
import torch

from spaces import Budget, Recipe
from tests import tiny
from trainables import _checkpoint, _family, _freezing, _loop, _worker
from trainables._task import Setup, Task, best_path, last_path

FAMILY = "text_classification"
STEPS = 16  # two epochs of 60 examples at batch 8
NEVER = 1e9

Told = list[dict[str, Any]]


class Slot:
    """A run directory, and what was told to Tune."""

    def __init__(self, setup: Setup, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        self.setup, self.recipe = setup, recipe
        self.told: Told = []
        self.steps: list[int] = []
        """Steps that were trained, by the number of those before."""
        self.on_report: Callable[[dict[str, Any]], None] = lambda values: None
        """What else happens at a report; an error of it ends the trial."""
        monkeypatch.setattr(ray.tune, "report", self._report)
        step_on = _loop._Run.step_on
        monkeypatch.setattr(
            _loop._Run,
            "step_on",
            lambda run, *given, **named: self.steps.append(run.step) or step_on(run, *given, **named),
        )

    def _report(self, values: dict[str, Any]) -> None:
        assert json.loads(json.dumps(values)) == values, "plain values"
        self.told.append(values)
        self.on_report(values)

    def train(
        self, folder: str = "trials/00000", *, run: Path | None = None, every: float = NEVER, **task: Any
    ) -> Told:
        """One stay of a trial, in a process that is as good as new; returns what it told."""
        _worker._pretrained.cache_clear()
        torch.seed()
        self.told, self.steps = [], []
        changes = {"checkpoint_every": every, **({"run": str(run)} if run else {})}
        recipe = task.pop("recipe", self.recipe).to_json()
        config = {
            "setup": dataclasses.asdict(dataclasses.replace(self.setup, **changes)),
            "task": dataclasses.asdict(Task(folder=folder, recipe=recipe, **task)),
        }
        try:
            _worker.train(json.loads(json.dumps(config)))
        finally:
            self.on_report = lambda values: None
        return self.told

    def train_until(self, reports: int, **options: Any) -> Told:
        """One stay that ends at so many reports, as Tune ends a trial."""

        def stop(_: dict[str, Any]) -> None:
            if len(self.told) == reports:
                raise SystemExit(0)

        self.on_report = stop
        with pytest.raises(SystemExit):
            self.train(**options)
        return self.told

    def best(self, folder: str = "trials/00000") -> Path:
        return best_path(self.setup.run, folder)

    def last(self, folder: str = "trials/00000") -> Path:
        return last_path(self.setup.run, folder)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setup, Recipe]:
    """A tiny model and prepared data; the run directory is each test's own."""
    folder, data = getattr(tiny, f"make_{FAMILY}")(tmp_path_factory.mktemp(FAMILY))
    corpus = tiny.corpus(data, 8)
    entry = _family.load(FAMILY).prepare(folder, data, corpus)
    setup = Setup(
        entry=str(entry),
        classes=corpus.classes,
        run="",
        report_at=(0.4, 1.0, 1.6, 2.0),
        metric="accuracy",
        device="cpu",
        threads=1,
        checkpoint_every=NEVER,
    )
    recipe = Recipe(
        family=FAMILY,
        model=str(folder),
        data=data,
        budget=Budget(trials=1, epochs=2, first_rung=1),
        learning_rate=5e-3,
        batch_size=8,
        frozen_layers=1,
        weight_decay=0.01,
    )
    return setup, recipe


@pytest.fixture
def slot(prepared: tuple[Setup, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    setup, recipe = prepared
    return Slot(dataclasses.replace(setup, run=str(tmp_path / "run")), recipe, monkeypatch)


def core(told: Told) -> list[dict[str, Any]]:
    """What of the reports does not depend on the machine or its speed."""
    machine = {"seconds", "pid", "time"}
    return [
        {key: value for key, value in values.items() if key not in machine}
        | {"metrics": {name: value for name, value in values["metrics"].items() if name != "peak_memory_mb"}}
        for values in told
    ]


def recorded(told: Told) -> dict[str, Any]:
    """What the ledger says of a trial that has told this."""
    return {"samples": told[-1]["samples"], "best": max(values["objective"] for values in told)}


# --- a trial that runs to its end


def test_a_trial_tells_what_its_record_needs(slot: Slot) -> None:
    told = slot.train()
    assert [values["step"] for values in told] == [4, 8, 13, STEPS]
    assert [values["samples"] for values in told][1::2] == [60, 120]
    assert [values["final"] for values in told] == [False, False, False, True]
    for values in told:
        assert set(values) == {
            *("epoch", "samples", "step", "objective", "metrics", "final"),
            *("micro_batch", "device", "seconds", "pid", "time"),
        }
        assert values["objective"] == values["metrics"]["accuracy"]
        assert set(values["metrics"]) == {"accuracy", "loss", "train_loss", "peak_memory_mb"}
        assert 50 < values["metrics"]["peak_memory_mb"] < 20_000
        assert (values["pid"], values["device"], values["micro_batch"]) == (os.getpid(), "cpu", 8)
        assert values["epoch"] == values["samples"] / 60
    seconds = [values["seconds"] for values in told]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] < 60


def test_the_weights_of_the_best_report_are_on_disk_before_it_is_told(slot: Slot) -> None:
    """Each report with a new best score finds its weights there, and they score the same; others change nothing."""
    kept: list[bytes] = []
    slot.on_report = lambda _: kept.append(slot.best().read_bytes())
    told = slot.train()
    scores = [values["objective"] for values in told]
    assert scores != sorted(set(scores)), "not every report is a new best"
    best = float("-inf")
    for i, values in enumerate(told):
        if values["objective"] > best:
            best = values["objective"]
            assert not i or kept[i] != kept[i - 1]
            assert score(slot, kept[i]) == best
        else:
            assert kept[i] == kept[i - 1]


def score(slot: Slot, content: bytes) -> float:
    """Validation accuracy of these weights."""
    path = Path(slot.setup.run) / "copy.safetensors"
    path.write_bytes(content)
    with _worker._slot(slot.setup, slot.recipe) as (family, model, device):
        _freezing.freeze(model, family.blocks(model), slot.recipe.frozen_layers)
        _checkpoint.load(model, path)
        return _loop.evaluate(model, family, family.open(Path(slot.setup.entry), "validation"), device)["accuracy"]


def test_a_report_that_is_no_better_than_what_is_on_record_leaves_the_weights(slot: Slot) -> None:
    slot.train(best=1.0)
    assert not slot.best().exists()


def test_no_snapshot_is_written_before_it_is_time(slot: Slot) -> None:
    slot.train()
    assert {path.name for path in slot.best().parent.iterdir()} == {"best.safetensors"}


def test_what_fits_this_device_is_known_from_earlier_trials(slot: Slot) -> None:
    told = slot.train(micro_batches={"cpu": 2, "NVIDIA H100": 5})
    assert {values["micro_batch"] for values in told} == {2}
    assert {values["micro_batch"] for values in slot.train(micro_batches={"NVIDIA H100": 5})} == {8}


# --- a trial that is interrupted


@pytest.mark.parametrize("reports", [1, 2, 3])
def test_interrupted_it_goes_on_from_its_snapshot_and_says_nothing_twice(slot: Slot, reports: int) -> None:
    whole = slot.train("trials/whole")
    assert slot.steps == list(range(STEPS))
    before = slot.train_until(reports, every=0)
    assert core(before) == core(whole[:reports])
    snapshot = _checkpoint.read(slot.last())
    assert snapshot
    step = snapshot.numbers["counters"][0]
    assert 1 <= step <= before[-1]["step"]

    after = slot.train(every=0, **recorded(before))
    assert slot.steps == list(range(step, STEPS)), "nothing before the snapshot is trained again"
    assert core(after) == core(whole[reports:])
    assert slot.best().read_bytes() == slot.best("trials/whole").read_bytes()


def test_interrupted_at_every_report_it_says_the_same(slot: Slot) -> None:
    whole, told = slot.train("trials/whole"), slot.train_until(1, every=0)
    while not told[-1]["final"]:
        told = told + slot.train_until(1, every=0, **recorded(told))
    assert core(told) == core(whole)
    assert slot.best().read_bytes() == slot.best("trials/whole").read_bytes()


def test_what_the_driver_has_not_recorded_is_told_again(slot: Slot) -> None:
    """The process died after it wrote the weights, and before the driver wrote the report down."""
    whole, before = slot.train("trials/whole"), slot.train_until(3, every=0)
    after = slot.train(every=0, **recorded(before[:2]))
    assert core(after) == core([values for values in whole[2:] if values["step"] > slot.steps[0]])
    slot.last().unlink()
    assert core(slot.train(every=0, **recorded(before[:2]))) == core(whole[2:])


@pytest.mark.parametrize("damage", ["torn", "empty", "garbage", "gone"])
def test_without_a_snapshot_that_can_be_read_it_starts_anew_and_says_nothing_twice(slot: Slot, damage: str) -> None:
    whole = slot.train("trials/whole")
    before = slot.train_until(2, every=0)
    content = slot.last().read_bytes()
    if damage == "gone":
        slot.last().unlink()
    else:
        slot.last().write_bytes({"torn": content[: len(content) // 2], "empty": b"", "garbage": b"\7" * 9000}[damage])
    after = slot.train(every=0, **recorded(before))
    assert slot.steps == list(range(STEPS))
    assert core(after) == core(whole[2:])
    assert slot.best().read_bytes() == slot.best("trials/whole").read_bytes()


def test_the_seconds_of_a_resumed_trial_go_on_counting(slot: Slot) -> None:
    before = slot.train_until(2, every=0)
    snapshot = _checkpoint.read(slot.last())
    assert snapshot
    assert 0 < snapshot.numbers["seconds"] < before[-1]["seconds"]
    snapshot.numbers["seconds"] += 1000.0
    _checkpoint.write(snapshot, slot.last())
    after = slot.train(every=0, **recorded(before))
    assert all(1000 < values["seconds"] < 1060 for values in after)
    written = _checkpoint.read(slot.last())
    assert written
    assert written.numbers["seconds"] > 1000, "and of one resumed again"


def test_a_snapshot_of_another_recipe_is_a_failure_with_a_traceback(slot: Slot) -> None:
    before = slot.train_until(1, every=0)
    other = dataclasses.replace(slot.recipe, learning_rate=1e-3)
    (told,) = slot.train(every=0, recipe=other, **recorded(before))
    assert told["failed"] == "the snapshot was taken of another recipe"
    assert "Traceback" in told["traceback"]


def test_files_that_a_killed_process_left_half_written_are_removed(slot: Slot) -> None:
    folder = slot.best().parent
    folder.mkdir(parents=True)
    (folder / ".last.safetensors.4711").write_bytes(b"half")
    (folder / ".best.safetensors.4712").write_bytes(b"half")
    (folder / "error.txt").write_text("kept")
    (folder / ".keep").write_text("kept")
    slot.train()
    assert {path.name for path in folder.iterdir()} == {"best.safetensors", "error.txt", ".keep"}


@pytest.mark.parametrize(("every", "apart"), [(0.0, 60), (100.0, 100)])
def test_never_more_than_a_twentieth_of_the_time_goes_into_snapshots(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, every: float, apart: int
) -> None:
    """By a clock on which a step takes one second and writing a snapshot three."""
    clock, written = SimpleNamespace(now=0.0), list[float]()

    def dear(snapshot: _checkpoint.Snapshot, path: Path) -> None:
        written.append(clock.now)
        clock.now += 3

    monkeypatch.setattr(_worker, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 0.0))
    monkeypatch.setattr(_checkpoint, "write", dear)
    setup = dataclasses.replace(slot.setup, checkpoint_every=every)
    attempt = _worker._Attempt(setup, Task(folder="trials/0", recipe=""), torch.nn.Module())
    while clock.now < 1000:
        clock.now += 1
        attempt.after_step(lambda: _checkpoint.Snapshot(tensors={}, numbers={}))
    assert written[0] == max(1, every)
    assert {later - sooner - 3 for sooner, later in itertools.pairwise(written)} == {apart}


# --- a trial that fails


def test_a_loss_that_is_not_finite_is_a_failure(slot: Slot) -> None:
    (told,) = slot.train(recipe=dataclasses.replace(slot.recipe, learning_rate=1e38, warmup=0.0))
    assert re.fullmatch(r"loss is (nan|inf) at step [1-9], learning rate [\d.]+e\+3[78]", told["failed"])
    assert told["final"]
    assert not {"objective", "infeasible", "traceback", "disk_full"} & set(told)
    assert {"epoch", "samples", "step", "seconds", "pid", "time"} <= set(told)


def test_a_failure_leaves_the_process_as_it_was(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next trial finds the pretrained weights and no frozen block of the failed one."""
    whole = slot.train("trials/whole")
    slot.train("trials/failed", recipe=dataclasses.replace(slot.recipe, learning_rate=1e38, frozen_layers=3))
    monkeypatch.setattr(_worker._pretrained, "cache_clear", lambda: None)
    hits = _worker._pretrained.cache_info().hits
    assert core(slot.train("trials/next")) == core(whole)
    assert _worker._pretrained.cache_info().hits == hits + 1, "the warm model"
    assert slot.best("trials/next").read_bytes() == slot.best("trials/whole").read_bytes()


def _raising(error: BaseException, after: int) -> Callable[..., torch.Tensor]:
    """Logits of a family that raises after so many calls."""
    real, calls = type(_family.load(FAMILY)).logits, []

    def logits(model: torch.nn.Module, batch: _family.Batch) -> torch.Tensor:
        calls.append(1)
        if len(calls) > after:
            raise error
        return real(_family.load(FAMILY), model, batch)

    return logits


def test_what_does_not_fit_is_a_failure_and_infeasible(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU never raises this error by itself."""
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(torch.OutOfMemoryError("out of memory"), 0))
    (told,) = slot.train()
    assert told["failed"] == "out of GPU memory at step 0 with a micro-batch of 1"
    assert told["infeasible"] is True
    assert told["final"] is True
    assert not {"objective", "traceback"} & set(told)


def test_a_failure_after_reports_says_where_the_trial_stood(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = slot.train("trials/whole")
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(ZeroDivisionError("half way"), 13))
    told = slot.train()  # 8 steps, 3 evaluations of 2 batches
    assert core(told[:-1]) == core(whole[: len(told) - 1])
    assert len(told) > 1
    assert told[-1]["failed"] == "half way"
    assert {key: told[-1][key] for key in ("epoch", "samples", "step")} == {
        key: told[-2][key] for key in ("epoch", "samples", "step")
    }


def test_a_depth_the_model_lacks_is_a_failure_with_its_traceback(slot: Slot) -> None:
    (told,) = slot.train(recipe=dataclasses.replace(slot.recipe, frozen_layers=99))
    assert told["failed"] == "frozen_layers must be 0 to 3 for this model, got 99"
    assert told["traceback"].startswith("Traceback (most recent call last):")
    assert "in freeze" in told["traceback"]
    assert told["final"] is True
    assert not {"objective", "infeasible"} & set(told)


@pytest.mark.parametrize(
    ("error", "failed"),
    [(RuntimeError("CUDA error: an illegal access\nthe last line \n"), "the last line"), (KeyError(), "KeyError")],
)
def test_an_unknown_error_is_one_line_and_a_traceback(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, error: Exception, failed: str
) -> None:
    monkeypatch.setattr(_family.load(FAMILY), "logits", _raising(error, 0))
    (told,) = slot.train()
    assert told["failed"] == failed
    assert type(error).__name__ in told["traceback"]


@pytest.mark.parametrize(("every", "file"), [(0, "last.safetensors"), (NEVER, "best.safetensors")])
def test_a_full_disk_is_told_and_nothing_is_raised(
    slot: Slot, small_disk: Callable[[str], Path], every: float, file: str
) -> None:
    run = small_disk("64k")
    (told,) = slot.train(run=run, every=every)
    error = OSError(*told["disk_full"])  # as the driver makes it
    assert error.errno == errno.ENOSPC
    assert str(error) == f"[Errno 28] No space left on device: '{run}/trials/00000/{file}'"
    assert told["final"] is True
    assert not {"objective", "failed", "infeasible", "traceback"} & set(told)
    assert list((run / "trials" / "00000").iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_older_snapshot_to_go_on_from(
    slot: Slot, small_disk: Callable[[str], Path]
) -> None:
    whole, run = slot.train("trials/whole"), small_disk("4m")
    slot.on_report = lambda _: _fill(run) if len(slot.told) == 2 else None
    told = slot.train(run=run, every=0)
    assert told[-1]["disk_full"][0] == errno.ENOSPC
    assert core(told[:-1]) == core(whole[: len(told) - 1])
    (run / "ballast").unlink()
    before = told[:-1]
    assert _checkpoint.read(last_path(run, "trials/00000"))
    after = slot.train(run=run, every=0, **recorded(before))
    assert slot.steps[0] > 0
    assert core(after) == core(whole[len(before) :])
    assert best_path(run, "trials/00000").read_bytes() == slot.best("trials/whole").read_bytes()


def _fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_file_that_this_machine_should_have_is_no_fault_of_the_recipe(slot: Slot) -> None:
    slot.setup = dataclasses.replace(slot.setup, entry=f"{slot.setup.entry}-gone")
    with pytest.raises(FileNotFoundError):
        slot.train()
    assert slot.told == []


def test_another_error_of_the_disk_is_raised(slot: Slot) -> None:
    Path(slot.setup.run).mkdir()
    (Path(slot.setup.run) / "trials").write_text("a file is in the way")
    with pytest.raises(OSError, match="trials") as caught:
        slot.train()
    assert caught.value.errno not in _checkpoint.DISK_FULL
    assert slot.told == []


def test_an_error_of_ray_is_no_fault_of_the_recipe(slot: Slot) -> None:
    def lose(_: dict[str, Any]) -> None:
        raise ray.exceptions.RaySystemError("the driver has gone")

    slot.on_report = lose
    with pytest.raises(ray.exceptions.RaySystemError):
        slot.train()
    assert len(slot.told) == 1


# --- the last look at the winner


def test_the_winner_is_exported_as_its_checkpoint_has_it_and_measured_on_the_test_slice(
    slot: Slot, tmp_path: Path
) -> None:
    from transformers import pipeline

    slot.train()
    found = _worker.finish(slot.setup, slot.recipe, str(slot.best()), str(tmp_path / "out"))
    assert set(found) == {"metrics", "interval"}
    low, high = found["interval"]
    assert 0 <= low <= found["metrics"]["accuracy"] <= high <= 1
    corpus = tiny.corpus(slot.recipe.data, 8)
    classify = pipeline("text-classification", model=str(tmp_path / "out"), truncation=True)
    right = [
        classify(text)[0]["label"] == corpus.classes[label]
        for text, label in zip(corpus.inputs["test"], corpus.labels["test"], strict=True)
    ]
    assert sum(right) / len(right) == found["metrics"]["accuracy"]


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def answers(count: int, right: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of which the first `right` share agree."""
    labels = torch.arange(count) % 2
    said = torch.where(torch.arange(count) < round(right * count), labels, 1 - labels)
    return torch.nn.functional.one_hot(said, 2).float(), labels


@pytest.mark.parametrize("count", [2, 10, 100, 1000])
def test_the_interval_contains_the_score_and_is_the_same_each_time(count: int) -> None:
    low, high = _worker.bootstrap_interval(accuracy, *answers(count))
    assert 0 <= low <= accuracy(*answers(count)) <= high <= 1
    assert _worker.bootstrap_interval(accuracy, *answers(count)) == (low, high)
    assert {type(low), type(high)} == {float}


def test_more_examples_make_the_interval_narrower_as_statistics_say() -> None:
    """1.96 standard errors of a share to each side."""
    widths = []
    for count in (50, 200, 800, 3200):
        low, high = _worker.bootstrap_interval(accuracy, *answers(count))
        widths.append(high - low)
        assert widths[-1] == pytest.approx(2 * 1.96 * (0.8 * 0.2 / count) ** 0.5, rel=0.15)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_where_all_examples_agree_the_interval_is_the_score(right: float) -> None:
    assert _worker.bootstrap_interval(accuracy, *answers(30, right)) == (right, right)


def test_one_example_has_no_interval() -> None:
    assert _worker.bootstrap_interval(accuracy, *answers(1, 1.0)) == (1.0, 1.0)


def test_the_interval_is_of_the_metric_that_it_is_given() -> None:
    logits, labels = answers(200)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
        return _family.load(FAMILY).metrics(logits, labels)["loss"]

    low, high = _worker.bootstrap_interval(loss, logits, labels)
    assert low < loss(logits, labels) < high
    assert (low, high) != _worker.bootstrap_interval(accuracy, logits, labels)
