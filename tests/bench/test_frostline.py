"""Frostline gets the recipes, the slices and the rungs of the job, and the peers its token ids."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from tests.bench import data, settings
from tests.bench.peers import frostline
from tests.bench.test_job import a_job


@pytest.fixture
def job(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> Any:
    sizes = {"train": 64, "validation": 32, "length": 8}
    return a_job(tmp_path, system="F", source=str(tiny_model), table=str(tiny_csv), depths=(0, 2), **sizes)


def resolve(job: Any) -> Any:
    options = Options(space="bench", profile="small", storage=Path(job.scratch), seed=3)
    return planning.resolve(options, frostline.space(job))


def test_fixed_recipes_are_tried_in_their_order_and_never_stopped(job: Any) -> None:
    plan, _ = resolve(job)
    assert list(plan.search.recipes.values()) == list(job.recipes)
    assert (plan.budget.trials, plan.schedule.rungs, plan.schedule.report_at) == (2, (), (1.0, 2.0))
    assert (plan.search.base.seed, plan.budget.confirm_recipes) == (3, 0)
    assert plan.data.sizes == {"train": 64, "validation": 32, "test": 16}


def test_a_search_has_rungs_and_the_whole_depth(job: Any) -> None:
    search = dataclasses.replace(job, search=True, first_rung=0.5, depths=(0, 3), trials=60)
    plan, _ = resolve(search)
    assert plan.schedule.rungs == (0.5, 0.75, 1.125, 1.6875)
    assert resolve(dataclasses.replace(search, trials=59))[0].schedule.rungs == (), "too few to learn from"
    assert plan.search.distributions["frozen_layers"].high == plan.search.models[job.source].blocks == 3
    assert plan.budget.trials == 60


def test_the_peers_read_the_token_ids_that_frostline_trains_on(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from frostline.trainables import _family
    from frostline.trainables.data.model_files import model_folder

    monkeypatch.setattr(data, "_origin", lambda _: (job.source, job.table))
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "before"))  # so that it is put back
    chosen = settings.parse(["--train", "64", "--validation", "32", "--length", "8", "--out", str(tmp_path / "out")])
    prepared = data.prepare(chosen)
    plan, corpus = resolve(job)
    entry = _family.load("text_classification").prepare(model_folder(job.source), plan.search.base.data, corpus)
    assert {path.name for path in entry.glob("*.npy")} == {path.name for path in prepared.tokens.iterdir()}
    for path in prepared.tokens.iterdir():
        assert np.array_equal(np.load(path, allow_pickle=False), np.load(entry / path.name, allow_pickle=False)), (
            path.name
        )
    assert (len(prepared.train), len(prepared.validation), prepared.blocks) == (64, 32, 3)
    assert max(prepared.train) <= 8
