"""Replayed searches: the engine's clock, every method that is installed, and the figures of the tables."""

import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pyarrow import parquet

from tests.bench.curves import recipes
from tests.bench.curves.__main__ import TABLES
from tests.bench.curves.methods import METHODS
from tests.bench.curves.peers.budgets import BudgetPeer, Wanted
from tests.bench.curves.peers.trials import step_of
from tests.bench.curves.replay import Claim, Start, replay
from tests.bench.curves.searches import Searched, jobs, search
from tests.bench.curves.standin import Point, StandIn, left_out, load
from tests.bench.curves.summary import ratio_of, tables

_EPOCHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 1.5, 2.0)
_SPACE = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "batch_size": CategoricalDistribution((16, 32)),
    "frozen_layers": IntDistribution(0, 7),
    "dropout": FloatDistribution(0.0, 0.5),
}
_LITERATURE = {"default": {"learning_rate": 1e-4, "batch_size": 32, "frozen_layers": 0, "dropout": 0.0}}


def _rows() -> list[dict[str, Any]]:
    """24 recipes with two seeds. A learning rate of 1e-3 is best; one above 8e-3 fails after half an epoch."""
    draw, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for number, params in enumerate(recipes.sobol(_SPACE, 24)):
        for seed in (0, 1):
            best = 0.9 - 0.1 * (math.log10(params["learning_rate"]) + 3) ** 2 + 0.01 * draw.normal()
            for epoch in _EPOCHS:
                failed = params["learning_rate"] > 8e-3 and epoch > 0.5
                share = best - 0.3 * math.exp(-2 * epoch)
                rows.append(
                    {
                        "origin": "sobol",
                        "number": number,
                        "seed": seed,
                        "params": json.dumps(params),
                        "epoch": epoch,
                        "accuracy": math.nan if failed else share,
                        "loss": math.nan if failed else 1 - share,
                        "train_loss": math.nan if failed else 1 - share,
                        "cpu_seconds": 1.0 + 0.1 * (7 - params["frozen_layers"]),
                        "failed": "no loss" if failed else "",
                    }
                )
                if failed:
                    break
    return rows


@pytest.fixture(scope="module")
def recorded_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = {
        "epochs": _EPOCHS,
        "train": 200,
        "validation": 100,
        "space": recipes.space_to_json(_SPACE),
        "literature": _LITERATURE,
    }
    folder = tmp_path_factory.mktemp("tables")
    table = pyarrow.Table.from_pylist(_rows()).replace_schema_metadata({"task": json.dumps(about)})
    parquet.write_table(table, folder / "tiny.parquet")
    return folder


@pytest.fixture(scope="module")
def stand_in(recorded_tables: Path) -> StandIn:
    return load("tiny", recorded_tables)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A Gaussian process on a few trainings is slower with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class _Scripted:
    """Starts these trainings, one for each free worker, and keeps what it is told."""

    def __init__(self, starts: list[Start | None], until: dict[Hashable, int]) -> None:
        self.starts, self._until = starts, until
        self.asked: list[float] = []
        self.told: list[tuple[Hashable, float, bool, float]] = []
        self._claim: Claim | None = None

    def ask(self, now: float) -> Start | None:
        self.asked.append(now)
        return self.starts.pop(0) if self.starts else None

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        self.told.append((key, point.epoch, last, now))
        self._claim = Claim(params=_LITERATURE["default"], score=1.0, interval=(0.0, 1.0))
        return len([one for one in self.told if one[0] == key]) != self._until.get(key)

    def claim(self) -> Claim | None:
        return self._claim


def _start(key: str, after: int = 0) -> Start:
    return Start(key=key, params=_LITERATURE["default"], seed=len(key), after=after)


def test_the_clock_jumps_from_report_to_report(stand_in: StandIn) -> None:
    method = _Scripted([_start("a"), _start("b")], {})
    replay(stand_in, lambda *_: method, 1, 1e9, 3)
    luck = float(np.random.default_rng([3, 1]).normal())
    seconds = [
        point.seconds
        for name in ("a", "b")
        for point in stand_in.training(_LITERATURE["default"], len(name) + 3 * 1_000_003, luck)
    ]
    assert [now for *_, now in method.told] == pytest.approx(np.cumsum(seconds))
    assert [epoch for _, epoch, _, _ in method.told] == [*_EPOCHS, *_EPOCHS], "one worker: one after the other"
    assert [last for _, _, last, _ in method.told] == 2 * ([False] * 6 + [True])


def test_nothing_is_reported_after_the_end(stand_in: StandIn) -> None:
    method = _Scripted([_start("a")], {})
    replayed = replay(stand_in, lambda *_: method, 1, 3.0, 0)
    assert all(now <= 3.0 for *_, now in method.told)
    assert 0 < len(method.told) < len(_EPOCHS)
    assert replayed.trainings == 1


def test_an_idle_worker_asks_again_at_each_report(stand_in: StandIn) -> None:
    method = _Scripted([_start("a"), None, _start("b"), None], {})
    replay(stand_in, lambda *_: method, 2, 1e9, 0)
    first = method.told[0][-1]
    assert method.asked[:3] == [0.0, 0.0, first], "the second worker waits for a report, then begins"
    assert {key for key, *_ in method.told} == {"a", "b"}


def test_a_paused_training_goes_on_where_it_was(stand_in: StandIn) -> None:
    whole, paused = _Scripted([_start("a")], {}), _Scripted([_start("a"), _start("a", after=3)], {"a": 3})
    replayed = [replay(stand_in, lambda *_, one=one: one, 1, 1e9, 0) for one in (whole, paused)]
    assert paused.told == whole.told
    assert [one.trainings for one in replayed] == [1, 1]


def test_regret_and_the_claim_are_judged_by_the_true_score(stand_in: StandIn) -> None:
    replayed = replay(stand_in, lambda *_: _Scripted([_start("a")], {}), 1, 1e9, 0)
    truth = stand_in.truth(_LITERATURE["default"])
    assert replayed.regret == pytest.approx(100 * (stand_in.best - truth)), "the claim says 1.0"
    assert replayed.regrets[0] == pytest.approx(100 * stand_in.best), "nothing is claimed at first"
    assert replayed.within(replayed.regret) == replayed.times[-1]
    assert replayed.within(replayed.regret - 0.01) == math.inf
    assert (replayed.holds, replayed.width) == (True, 50.0)


@pytest.mark.parametrize(
    ("epoch", "step"),
    [(1 / 16, None), (1 / 8, 1), (1 / 4, 2), (1 / 2, 4), (1.0, 8), (1.5, None), (2.0, 16), (2.5, None), (3.0, 24)],
)
def test_peers_decide_at_the_usual_points(epoch: float, step: int | None) -> None:
    point = Point(epoch=epoch, samples=1, step=1, accuracy=0.5, loss=1.0, train_loss=1.0, seconds=1.0)
    assert step_of(point) == step


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.missing()])
@pytest.mark.usefixtures("one_thread")
def test_every_method_searches_and_a_seed_gives_the_same_search(name: str, stand_in: StandIn) -> None:
    making = METHODS[name].making()
    first, again = (replay(stand_in, making, 4, 15 * stand_in.full_seconds / 4, 1) for _ in range(2))
    assert first.trainings > 10
    assert first.regret < 20.0
    assert first == again


@pytest.mark.usefixtures("one_thread")
def test_searches_on_a_recorded_table_have_plausible_figures() -> None:
    """A few searches, so that the bounds are wide: the figures themselves need a hundred."""
    stand_in = load("bert_imdb", TABLES)
    untried = 100 * (stand_in.best - max(stand_in.truth(params) for params in stand_in.literature.values()))
    found = [search(job) for job in jobs(["bert_imdb"], TABLES, "both", [4], ["frostline", "random"], range(5))]
    for name in ("frostline", "random"):
        own = [one for one in found if one.method == name]
        assert all(0.0 <= one.regret < 100 for one in own)
        assert statistics.fmean(one.regret for one in own) < untried, "a search beats the literature's recipes"
        assert all(one.trainings > 10 and one.decision_ms < 1000 for one in own)
    claimed = [one for one in found if one.method == "frostline" and one.width is not None]
    assert len(claimed) >= 3, "most searches have the time to confirm their recipe"
    assert all(0.0 < one.width < 50.0 for one in claimed if one.width is not None)
    assert sum(bool(one.holds) for one in claimed) >= len(claimed) / 2


class _Budgets(BudgetPeer):
    """Asks for these recipes with these budgets (in steps of 1/8 epoch), one after another."""

    def __init__(self, wanted: list[tuple[float, float]]) -> None:
        super().__init__()
        self._left = [
            Wanted(params=_LITERATURE["default"] | {"dropout": dropout}, budget=budget, job=number)
            for number, (dropout, budget) in enumerate(wanted)
        ]
        self.told: list[tuple[int, float]] = []

    def next(self) -> Wanted:
        return self._left.pop(0)

    def tell(self, wanted: Wanted, score: float) -> None:
        self.told.append((wanted.job, score))


def _point(epoch: float, accuracy: float, loss: float = 1.0) -> Point:
    return Point(epoch=epoch, samples=1, step=1, accuracy=accuracy, loss=loss, train_loss=loss, seconds=1.0)


def test_a_budget_pauses_a_training_and_a_larger_one_goes_on_with_it() -> None:
    peer = _Budgets([(0.1, 1.8), (0.1, 8), (0.2, 1), (0.2, 4), (0.1, 5), (0.2, 9)])
    first = peer.ask(0.0)
    assert first is not None
    assert [peer.report(0, _point(epoch, 0.5), False, 0.0) for epoch in (1 / 16, 1 / 8, 1 / 4)] == [True, True, False]
    assert peer.told == [(0, 0.5)]
    assert peer.ask(0.0) == replace(first, after=3), "the same training goes on"
    second = peer.ask(0.0)
    assert second is not None
    assert second.params["dropout"] == 0.2
    assert [peer.report(0, _point(1 / 2, 0.6), False, 0.0), peer.report(0, _point(1.0, 0.7), False, 0.0)] == [
        True,
        False,
    ]
    assert peer.report(1, _point(1 / 8, 0.4), False, 0.0) is False
    assert peer.told[1:] == [(1, 0.7), (2, 0.4)]
    assert peer.ask(0.0) == replace(second, after=1)
    assert peer.report(1, _point(1 / 4, 0.0, math.nan), True, 0.0) is False
    with pytest.raises(IndexError, match="empty"):
        peer.ask(0.0)
    assert peer.told[3:] == [(3, 0.0), (4, 0.7), (5, 0.0)], "known and failed trainings are not begun again"
    assert peer.claim() == Claim(params=_LITERATURE["default"] | {"dropout": 0.1}, score=0.7)


def test_a_recipe_that_is_in_training_is_not_begun_twice() -> None:
    peer = _Budgets([(0.1, 1), (0.1, 2), (0.2, 1)])
    peer.ask(0.0)
    other = peer.ask(0.0)
    assert other is not None
    assert other.params["dropout"] == 0.2
    assert [peer.report(0, _point(epoch, 0.5), False, 0.0) for epoch in (1 / 8, 1 / 4)] == [True, False]
    assert peer.told == [(0, 0.5), (1, 0.5)]


def _searched(**changes: Any) -> Searched:
    same = Searched(
        task="tiny",
        table="abc",
        stand_in="forest",
        workers=1,
        method="random",
        seed=0,
        regret=2.0,
        within_far=0.5,
        within_near=math.inf,
        holds=None,
        width=None,
        trainings=20,
        decision_ms=0.25,
        seconds=0.1,
    )
    return replace(same, **changes)


def test_the_figures_of_a_table() -> None:
    searches = [
        _searched(seed=0),
        _searched(seed=1, regret=4.0),
        _searched(method="ours", seed=0, regret=1.0, holds=True, width=4.0),
        _searched(method="ours", seed=1, regret=2.0, holds=False, width=5.0, within_near=0.75),
        _searched(method="peer", seed=1, regret=6.0, within_far=math.inf, decision_ms=12.0, trainings=31),
        _searched(seed=0, task="other", regret=3.0),
        _searched(method="ours", seed=0, task="other", regret=12.0),
    ]
    assert tables(searches, "ours").split("\n\n")[:2] == [
        "### tiny, 1 worker, forest",
        "| method | regret, points (95 %) | / random | / ours | within 2 | within 0.5 "
        "| holds | ± | ms | trainings | searches |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| ours | 1.50 (1.00-2.00) | 0.50 (0.50-0.50) | 1.00 (1.00-1.00) | 50 % | never | 50 % | 4.5 | 0.2 | 20 | 2 |\n"
        "| random | 3.00 (2.00-4.00) | 1.00 (1.00-1.00) | 2.00 (2.00-2.00) | 50 % | never |  |  | 0.2 | 20 | 2 |\n"
        "| peer | 6.00 (6.00-6.00) | 1.50 (1.50-1.50) | 3.00 (3.00-3.00) | never | never |  |  | 12.0 | 31 | 1 |",
    ]
    pooled = tables(searches, "ours").split("### ")[-1]
    assert pooled == (
        "All tasks and numbers of workers, forest\n\n"
        "| method | / random | / ours |\n"
        "| --- | --- | --- |\n"
        "| random | 1.00 (1.00-1.00) | 0.71 (0.71-0.71) |\n"
        "| ours | 1.41 (1.41-1.41) | 1.00 (1.00-1.00) |\n"
        "| peer |  |  |\n"
    ), "half of random's regret on one task, four times on the other; the peer was not replayed there"


def test_searches_on_an_earlier_table_do_not_count() -> None:
    told = tables([_searched(table="old", regret=9.0), _searched(table="new", regret=1.0)])
    assert told.startswith("Left out, on earlier tables: 1.\n")
    assert "| random | 1.00 (1.00-1.00) |" in told


def test_a_ratio_is_of_the_same_seeds() -> None:
    ratio = ratio_of([({0: 1.0, 1: 100.0}, {0: 2.0, 2: 0.1})])
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio_of([({0: 1.0}, {1: 1.0})]) is None


def test_the_command_goes_on_where_it_was(recorded_tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "tests.bench.curves"]
    several = ["--tables", str(recorded_tables), "--workers", "2,4", "--methods", "random,optuna-tpe-halving"]

    def replayed(searches: int) -> str:
        run = subprocess.run(
            [*command, "replay", *several, "--searches", str(searches), "--processes", "1", "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert replayed(1) == f"4 searches replayed, 0 were there: {out}\n"
    with out.open("a") as lines:
        lines.write('{"task": "tiny", ')  # the process was ended here
    assert replayed(2) == f"4 searches replayed, 4 were there: {out}\n"
    run = subprocess.run([*command, "summary", str(out)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert [line for line in run.stdout.splitlines() if line.startswith("#")] == [
        "### tiny, 2 workers, both",
        "### tiny, 4 workers, both",
    ]


def test_a_table_that_changes_meanwhile_is_not_mistaken(recorded_tables: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.parquet"
    shutil.copy(recorded_tables / path.name, path)
    [job] = jobs(["tiny"], tmp_path, "nearest", [1], ["random"], [0])
    parquet.write_table(parquet.read_table(path), path, compression="none")
    with pytest.raises(ValueError, match="the table of tiny has changed since the replay began"):
        search(job)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--methods", "gues"], "no method gues; there are frostline, frostline-whole, "),
        (["--task", "nothing"], "no task nothing; there are tiny"),
    ],
)
def test_a_wrong_name_is_told_with_the_choices(given: list[str], message: str, recorded_tables: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.curves", "replay", "--tables", str(recorded_tables), *given]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert message in run.stderr


@pytest.mark.usefixtures("one_thread")
def test_a_stand_in_knows_recipes_that_it_was_not_made_of() -> None:
    """The nearest recorded recipe is the plainest guess; the models of the default stand-in guess better."""
    wrong = {kind: left_out("bert_imdb", TABLES, kind, folds=4)[0] for kind in ("both", "nearest")}
    assert wrong["both"] < wrong["nearest"]
