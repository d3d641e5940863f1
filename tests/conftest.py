"""Shared fixtures: a cache folder of the test run's own, a tiny model and data set, one Ray for all."""

import contextlib
import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.search.cluster import capacity, connection
from frostline.search.cluster.environment import environment, prepare_environment
from frostline.trainables._imports import quick_imports
from tests import tiny
from tests.recorder import sitecustomize

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["WANDB_MODE"] = "disabled"  # the person who runs the tests may have a key
prepare_environment()  # before any test module imports Ray

_LONGEST = ("shared Ray", "test_s3.py", "test_chaos.py", "test_full_disk.py", "test_search.py")
"""Groups that start first: else one process would still be at them when the others have nothing left to do."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Import the test modules without collecting garbage: 12 s of CPU instead of 16 in each of pytest's processes.

    What is imported then stays out of the collector's way: a collection takes 0.6 s with the 3,000,000 objects of all
    packages together, and the slot collects between two trials.
    """
    with quick_imports():
        collected = yield
    gc.freeze()
    return collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose which tests run in the same process, one after the other, and which groups start first.

    Tests that share a Ray are one group, so that it starts once. Tests with a cluster of their own, in test_nodes.py,
    are in that group too and come before the others: a process can be connected to one Ray at a time, and the shared
    one stays until the end. Of the other tests each file is a group: its fixtures are made once.
    """

    def group(item: pytest.Item) -> str:
        shares = "ray_here" in getattr(item, "fixturenames", ()) or item.path.name == "test_nodes.py"
        return "shared Ray" if shares else item.path.name

    def place(item: pytest.Item) -> tuple[int, bool]:
        whole = item.path.parent.name == "integration" and group(item) in _LONGEST
        return _LONGEST.index(group(item)) if whole else len(_LONGEST), item.path.name != "test_nodes.py"

    items.sort(key=place)
    for item in items:
        folder = "" if group(item) == "shared Ray" else f"{item.path.parent.name}/"
        item.add_marker(pytest.mark.xdist_group(folder + group(item)))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data cache of all tests, away from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["FROSTLINE_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def unchanged_cache(cache: Path) -> Iterator[None]:
    """A test that leaves another cache behind would be found out by a test of another file only."""
    before = os.environ["FROSTLINE_CACHE"]
    yield
    assert os.environ["FROSTLINE_CACHE"] == before


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers (three blocks) that learns in seconds."""
    return tiny.make_model(tmp_path_factory.mktemp("models") / "bert-tiny")


@pytest.fixture(scope="session")
def tiny_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,100 labelled sentences."""
    return tiny.write_csv(tmp_path_factory.mktemp("tables") / "sentences.csv", tiny.rows(1100))


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has a folder removed, as by another process, in the moment in which somebody lists it."""
    scandir = os.scandir

    def vanish(folder: Path) -> None:
        def scan(path: Any = ".") -> Any:
            if not isinstance(path, int) and Path(os.fspath(path)) == folder:
                monkeypatch.setattr(os, "scandir", scandir)
                shutil.rmtree(folder)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", scan)

    return vanish


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, the processes of `ray_here` and this one record their fsyncs and renames in it."""
    return tmp_path_factory.mktemp("record") / "calls.jsonl"


@pytest.fixture(scope="session")
def ray_here(calls: Path) -> Iterator[None]:
    """One private Ray of two CPUs for all tests that need one."""
    sitecustomize.install(str(calls))
    folders = (str(Path(sitecustomize.__file__).parent), os.environ.get("PYTHONPATH", ""))
    variables = {sitecustomize.VARIABLE: str(calls), "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    with contextlib.ExitStack() as stack:
        with environment(variables):  # Ray's processes inherit them, other processes that tests start do not
            stack.enter_context(connection.connect(None, capacity.Node(cpus=2, gpus=0, memory=8e9)))
        yield
