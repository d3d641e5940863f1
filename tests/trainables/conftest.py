"""One thread, as a slot on a CPU has it; a file system that is soon full; a slot with a tiny model and data."""

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from frostline.spaces import Budget, Metric, Recipe
from frostline.trainables import _family
from frostline.trainables._task import ModelSetup, Setup
from frostline.trainables.data.model_files import digest
from tests import tiny
from tests.trainables.slots import FAMILY, NEVER, Slot


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on models this small only wait for each other, ten times longer where the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a given size (`64k`, `1m`); returns its folder.

    It is mounted in a mount namespace of its own, which needs no rights, and reached through the process
    that holds it.
    """
    holders: list[subprocess.Popen[str]] = []

    def make(size: str) -> Path:
        at = tmp_path / f"disk{len(holders)}"
        at.mkdir()
        script = f"mount -t tmpfs -o size={size} tmpfs '{at}' && echo ready && exec sleep 600"
        holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        seen = Path(f"/proc/{holder.pid}/root{at}")
        assert os.statvfs(seen).f_blocks * os.statvfs(seen).f_frsize < 10**8, "not the small one"
        return seen

    yield make
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setup, Recipe]:
    """A tiny model and prepared data; the run directory is each test's own."""
    folder, data = getattr(tiny, f"make_{FAMILY}")(tmp_path_factory.mktemp(FAMILY))
    corpus = tiny.corpus(data, 8)
    entry = _family.load(FAMILY).prepare(folder, data, corpus)
    setup = Setup(
        models={str(folder): ModelSetup(entry=str(entry), weights=digest(folder))},
        classes=corpus.classes,
        run="",
        report_at=(0.4, 1.0, 1.6, 2.0),
        validate_on=(20, 20, 20, 20),
        metric=Metric(name="accuracy", is_share=True),
        device="cpu",
        threads=1,
        gpu_share=0.0,
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
