"""A slot trains a task: to its end, and after an interruption."""

import dataclasses
import os
import socket
import time
from pathlib import Path

import pytest

from frostline.spaces import Metric
from frostline.trainables import _freezing, _storage
from frostline.trainables._task import Measured, Task, TimeOver
from frostline.trainables.slot import worker
from frostline.trainables.slot.process import THIS
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import evaluation
from frostline.trainables.training.peers import Peers
from tests.trainables.slots import STEPS, Slot, core, recorded

# --- a trial that runs to its end


def test_a_trial_tells_what_its_record_needs(slot: Slot) -> None:
    told = slot.train()
    assert [message.step for message in told] == [4, 8, 13, STEPS]
    assert [message.samples for message in told][1::2] == [60, 120]
    assert [message.final for message in told] == [False, False, False, True]
    for message in told:
        assert isinstance(message, Measured)
        assert message.objective == message.metrics["accuracy"]
        assert set(message.metrics) == {"accuracy", "macro_f1", "loss", "train_loss", "peak_memory_mb"}
        assert 50 < message.metrics["peak_memory_mb"] < 20_000
        assert (message.pid, message.device, message.micro_batch) == (os.getpid(), "cpu", 8)
        assert (message.node, message.cached_layers) == (socket.gethostname(), 0)
        assert message.epoch == message.samples / 60
    seconds = [message.seconds for message in told]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1]
    spent = [message.spent for message in told]
    assert all(set(parts) == {"training", "evaluation", "data"} and min(parts.values()) >= 0 for parts in spent)
    # The rest goes into the files, on a busy machine half of it all; nothing is counted twice.
    assert 0 < sum(sum(parts.values()) for parts in spent) <= seconds[-1] + 0.05
    assert all(parts["training"] > 0 and parts["evaluation"] > 0 for parts in spent)
    assert sum(sum(parts.values()) for parts in spent) <= seconds[-1]


def test_the_weights_of_the_best_report_are_on_disk_before_it_is_told(slot: Slot) -> None:
    """Each report with a new best score finds its weights there, and they score the same; others change nothing."""
    kept: list[bytes] = []
    slot.on_report = lambda _: kept.append(slot.best().read_bytes())
    told = slot.train()
    scores = [message.objective for message in told]
    assert scores != sorted(set(scores)), "not every report is a new best"
    best = float("-inf")
    for i, message in enumerate(told):
        if message.objective > best:
            best = message.objective
            assert not i or kept[i] != kept[i - 1]
            assert score(slot, kept[i]) == best
        else:
            assert kept[i] == kept[i - 1]


def test_a_training_whose_time_is_over_has_a_score_and_weights(slot: Slot) -> None:
    measured, over = slot.train(until=time.time())
    assert isinstance(measured, Measured)
    assert (measured.step, measured.final, measured.partial) == (1, False, False)
    assert isinstance(over, TimeOver)
    assert score(slot, slot.best().read_bytes()) == measured.objective


def score(slot: Slot, content: bytes) -> float:
    """Validation accuracy of these weights."""
    path = Path(slot.setup.run) / "copy.safetensors"
    path.write_bytes(content)
    with THIS.trial(slot.setup, slot.recipe) as (family, model, device):
        _freezing.freeze(model, family.blocks(model), slot.recipe.frozen_layers)
        checkpoints.load(model, path)
        return evaluation.evaluate(model, family, family.open(Path(slot.own.entry), "validation"), device)["accuracy"]


def test_a_metric_of_ones_own_decides(slot: Slot) -> None:
    """Its text travels with the setup; no file is needed here."""
    code = "def cost(labels, predicted):\n    return 5 * (labels != predicted).mean()\n"
    metric = Metric(name="cost", better="lower", may_be_undefined=True)
    slot.setup = dataclasses.replace(slot.setup, metric=metric, metric_code=code)
    told = slot.train(recipe=dataclasses.replace(slot.recipe, metric="cost"))
    for message in told:
        assert message.objective == -message.metrics["cost"]
        assert message.metrics["cost"] == pytest.approx(5 * (1 - message.metrics["accuracy"]))
    assert slot.best().exists()
    broken = dataclasses.replace(slot.setup, metric_code="def cost(labels):\n    return 1 / 0\n")
    slot.setup = broken
    [failure] = slot.train("trials/00001", recipe=dataclasses.replace(slot.recipe, metric="cost"))
    assert failure.reason == "division by zero"
    assert "ZeroDivisionError" in failure.traceback


def test_a_report_that_is_no_better_than_what_is_on_record_leaves_the_weights(slot: Slot) -> None:
    slot.train(best=1.0)
    assert not slot.best().exists()


def test_no_snapshot_is_written_before_it_is_time(slot: Slot) -> None:
    slot.train()
    assert {path.name for path in slot.best().parent.iterdir()} == {"best.safetensors"}


def test_what_fits_this_device_is_known_from_earlier_trials(slot: Slot) -> None:
    told = slot.train(micro_batches={"cpu": 2, "NVIDIA H100": 5})
    assert {message.micro_batch for message in told} == {2}
    assert {message.micro_batch for message in slot.train(micro_batches={"NVIDIA H100": 5})} == {8}


# --- a trial that is interrupted


@pytest.mark.parametrize("reports", [1, 2, 3])
def test_interrupted_it_goes_on_from_its_snapshot_and_reports_nothing_twice(slot: Slot, reports: int) -> None:
    whole = slot.train("trials/whole")
    assert slot.steps == list(range(STEPS))
    before = slot.train_until(reports, every=0)
    assert core(before) == core(whole[:reports])
    snapshot = checkpoints.read(slot.last())
    assert snapshot
    step = snapshot.numbers["counters"][0]
    assert 1 <= step <= before[-1].step

    after = slot.train(every=0, **recorded(before))
    assert slot.steps == list(range(step, STEPS)), "nothing before the snapshot is trained again"
    assert core(after) == core(whole[reports:])
    assert slot.best().read_bytes() == slot.best("trials/whole").read_bytes()


def test_interrupted_at_every_report_it_reports_the_same(slot: Slot) -> None:
    whole, told = slot.train("trials/whole"), slot.train_until(1, every=0)
    while not told[-1].final:
        told = told + slot.train_until(1, every=0, **recorded(told))
    assert core(told) == core(whole)
    assert slot.best().read_bytes() == slot.best("trials/whole").read_bytes()


def test_what_the_driver_has_not_recorded_is_told_again(slot: Slot) -> None:
    """The process died after it wrote the weights, and before the driver wrote the report down."""
    whole, before = slot.train("trials/whole"), slot.train_until(3, every=0)
    after = slot.train(every=0, **recorded(before[:2]))
    assert core(after) == core([message for message in whole[2:] if message.step > slot.steps[0]])
    slot.last().unlink()
    assert core(slot.train(every=0, **recorded(before[:2]))) == core(whole[2:])


@pytest.mark.parametrize("damage", ["torn", "empty", "garbage", "gone"])
def test_without_a_snapshot_that_can_be_read_it_starts_again_and_reports_nothing_twice(slot: Slot, damage: str) -> None:
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
    snapshot = checkpoints.read(slot.last())
    assert snapshot
    assert 0 < snapshot.numbers["seconds"] < before[-1].seconds
    snapshot.numbers["seconds"] += 1000.0
    checkpoints.write(snapshot, slot.last())
    after = slot.train(every=0, **recorded(before))
    assert all(1000 < message.seconds < 2000 for message in after), "added once, not twice"
    written = checkpoints.read(slot.last())
    assert written
    assert written.numbers["seconds"] > 1000, "and of one resumed again"


def test_a_snapshot_of_another_recipe_or_version_is_none(slot: Slot) -> None:
    """The trial starts from the beginning, and reports only what is not on record."""
    whole, before = slot.train(every=1000), slot.train_until(1, every=0)
    snapshot = checkpoints.read(slot.last())
    assert snapshot
    for numbers in ({}, {"seconds": 1.0}, {**snapshot.numbers, "recipe": "another"}):
        checkpoints.write(checkpoints.Snapshot(tensors=snapshot.tensors, numbers=numbers), slot.last())
        after = slot.train(every=1000, **recorded(before))
        assert [report.metrics["accuracy"] for report in after] == [report.metrics["accuracy"] for report in whole[1:]]


def test_files_that_a_killed_process_left_half_written_are_removed(slot: Slot) -> None:
    folder = slot.best().parent
    folder.mkdir(parents=True)
    (folder / ".last.safetensors.4711").write_bytes(b"half")
    (folder / ".best.safetensors.4712").write_bytes(b"half")
    (folder / ".best.safetensors.new").write_bytes(b"not known to be the best")
    (folder / "error.txt").write_text("kept")
    (folder / ".keep").write_text("kept")
    slot.train()
    assert {path.name for path in folder.iterdir()} == {"best.safetensors", "error.txt", ".keep"}


# --- early reports on some of the examples, heads in a group, the cache


def test_a_score_on_some_of_the_examples_keeps_no_weights(slot: Slot) -> None:
    kept: list[bool] = []
    slot.setup = dataclasses.replace(slot.setup, validate_on=(5, 20, 20, 20))
    slot.on_report = lambda _: kept.append(slot.best().exists())
    told = slot.train()
    assert [message.partial for message in told] == [True, False, False, False]
    assert kept == [False, True, True, True]
    assert (told[0].metrics["accuracy"] * 5) % 1 == 0, "of five examples"
    slot.setup = dataclasses.replace(slot.setup, validate_on=())
    whole = slot.train("trials/whole")
    assert core(told[1:]) == core(whole[1:]), "and changes nothing of what follows"


def test_several_tasks_are_trained_one_after_the_other_each_as_it_would_be_alone(slot: Slot) -> None:
    recipes = [dataclasses.replace(slot.recipe, seed=seed, learning_rate=rate) for seed, rate in ((0, 5e-3), (1, 1e-3))]
    alone = [slot.train(f"alone/{n}", recipe=recipe) for n, recipe in enumerate(recipes)]
    tasks = [Task(folder=f"group/{n}", recipe=recipe.to_json()) for n, recipe in enumerate(recipes)]
    slot.reports = []
    worker.train({"setup": dataclasses.asdict(slot.setup), "tasks": [dataclasses.asdict(task) for task in tasks]})
    assert [(told.task, told.whole) for told in slot.reports] == [(0, True), (1, True)]
    for told, expected in zip(slot.reports, alone, strict=True):
        assert core(list(told.messages)) == core(expected)
        assert told.messages[-1].final
    for n in range(2):
        assert slot.best(f"group/{n}").read_bytes() == slot.best(f"alone/{n}").read_bytes()


def test_a_trial_that_starts_behind_a_boundary_tells_the_same(slot: Slot) -> None:
    whole = slot.train("trials/whole")
    slot.change(boundaries=(1, 2), weights="w")
    cached = slot.train("trials/cached", recipe=dataclasses.replace(slot.recipe, cached_layers=1))
    assert [message.samples for message in cached] == [message.samples for message in whole]
    assert {message.cached_layers for message in cached} == {1}
    for one, other in zip(cached, whole, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)
    entries = list((_storage.cache_root() / "features").iterdir())
    assert len(entries) >= 2, "the pass filled both boundaries"


@pytest.mark.parametrize(("pooling", "depth"), [("mean", 3), ("both", 3), ("first", 3), ("mean", 2)])
def test_a_head_of_another_pooling_tells_the_same_behind_a_boundary(slot: Slot, pooling: str, depth: int) -> None:
    """It also goes on after an interruption."""
    recipe = dataclasses.replace(slot.recipe, frozen_layers=depth, pooling=pooling, learning_rate=1e-2)
    whole = slot.train("trials/whole", recipe=recipe)
    slot.change(boundaries=(1, 2, 3), first_only=(3,), pooled=("first", "mean", "both"), weights="p")
    recipe = dataclasses.replace(recipe, cached_layers=depth)
    cached = slot.train("trials/cached", recipe=recipe)
    assert {message.cached_layers for message in cached} == {depth}
    for one, other in zip(cached, whole, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)
    before = slot.train_until(2, every=0, recipe=recipe)
    assert core(before + slot.train(every=0, recipe=recipe, **recorded(before))) == core(cached)
    assert slot.best().read_bytes() == slot.best("trials/cached").read_bytes()


def test_where_the_cache_has_no_room_it_trains_without(slot: Slot) -> None:
    whole = slot.train("trials/whole")
    slot.change(weights="none of it")
    slot.setup = dataclasses.replace(slot.setup, cache_limit=10.0)
    assert core(slot.train(recipe=dataclasses.replace(slot.recipe, cached_layers=1))) == core(whole)


class NotTheFirst(Peers):
    """One of several, without the others."""

    leads = False


def test_of_several_workers_only_the_first_writes_and_does_what_is_for_one(slot: Slot) -> None:
    alone = Task(folder="trials/00000", recipe=slot.recipe.to_json(), alone=True)
    expected = core(slot.train())
    slot.best().unlink()
    worker.run(slot.setup, [alone], slot.reports.append, Peers(1, 2))
    assert core(slot.told) == expected, "nothing more"
    worker.run(slot.setup, [alone], slot.reports.append, Peers(0, 2))
    assert core(slot.told) == expected * 2
    assert slot.best().exists()
    slot.best().unlink()
    setup = dataclasses.replace(slot.setup, checkpoint_every=0.0)
    worker.run(setup, [dataclasses.replace(alone, alone=False)], slot.reports.append, NotTheFirst())
    assert core(slot.told) == expected * 3
    assert list(slot.best().parent.iterdir()) == []
