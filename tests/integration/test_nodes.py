"""A search on a cluster of several nodes, on one machine: nodes join, are taken away and die; one can train nothing."""

import contextlib
import fcntl
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search import cli
from frostline.search.cluster import ray_private, spot
from frostline.search.cluster.connection import connect
from frostline.search.cluster.watch import Watch
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome
from frostline.trainables.slot import ray_private as slot_ray_private
from tests.metadata import Amazon

_SOONER = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
"""Ray checks its nodes more often: it knows after 1 s that a node was killed, instead of after 15 s."""


class Nodes:
    """A head that runs no trials, and nodes of one CPU, each with its own data cache."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder, self._count = folder, 0
        self.caches: list[Path] = []
        """The data cache of each node."""
        # Linux ends a node's processes together with the thread that started them (PR_SET_PDEATHSIG). So one thread
        # that lives as long as the cluster starts them all.
        self._starter = ThreadPoolExecutor(1)
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": _SOONER}
        )
        self.address = str(self._cluster.address)

    def join(self, **variables: str) -> Any:
        """Start another node, with these environment variables."""
        self._count += 1
        self.caches.append(self._folder / f"cache{self._count}")
        given = {"FROSTLINE_CACHE": str(self.caches[-1]), **variables}
        return self._starter.submit(self._cluster.add_node, num_cpus=1, memory=4 * 10**9, env_vars=given).result()

    @contextlib.contextmanager
    def spot(self, node: Any) -> Iterator[Amazon]:
        """The program that runs beside Ray on a spot machine, and the EC2 that it asks."""
        with Amazon() as ec2:
            known = {"RAY_ADDRESS": self.address, "AWS_EC2_METADATA_SERVICE_ENDPOINT": ec2.address}
            command = [sys.executable, "-m", "frostline.search.cluster.spot", "aws", "--node-id", node.node_id]
            with subprocess.Popen(command, env={**os.environ, **known}) as beside:
                try:
                    yield ec2
                    assert beside.wait(10) == 0, "it ends when it has told Ray"
                finally:
                    beside.kill()

    def kill(self, node: Any) -> None:
        """End it at once, like a power cut."""
        self._cluster.remove_node(node, allow_graceful=False)

    def leave(self) -> None:
        """End all nodes in an orderly way."""
        self.caches.clear()
        for node in list(self._cluster.worker_nodes):
            self._cluster.remove_node(node)
        self._cluster.wait_for_nodes()

    def shutdown(self) -> None:
        self._cluster.shutdown()
        self._starter.shutdown()


LIMIT = 150.0
"""Seconds for one search."""


@contextlib.contextmanager
def time_limit() -> Iterator[threading.Event]:
    """Send Ctrl-C to a block that takes too long, again and again. The event that it yields is set then."""
    over, late = threading.Event(), threading.Event()

    def watch() -> None:
        wait = LIMIT
        while not over.wait(wait):
            late.set()
            os.kill(os.getpid(), signal.SIGINT)
            wait = 10.0

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until it holds."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it does not hold"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    import ray

    assert not ray.is_initialized(), "other tests share this Ray"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # this machine's cluster has no other users
        # A node that starts installs a handler for SIGTERM, which only the main thread may do.
        patch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)
        # The nodes do not see the driver's prepared data: its cache has a name that only its own process knows.
        known = os.open(tmp_path_factory.mktemp("driver"), os.O_DIRECTORY)
        cache = fcntl.fcntl(known, fcntl.F_DUPFD_CLOEXEC, 900)
        patch.setenv("FROSTLINE_CACHE", f"/proc/self/fd/{cache}")
        made = Nodes(tmp_path_factory.mktemp("nodes"))
        yield made
        ray.shutdown()
        made.shutdown()
        os.close(known)
        os.close(cache)


@pytest.fixture
def nodes(head: Nodes) -> Iterator[Nodes]:
    yield head
    head.leave()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run directory."""
    return tmp_path / "runs" / "over"


@pytest.fixture
def search(nodes: Nodes, tiny_model: Path, tiny_csv: Path, run: Path) -> Callable[..., dict[str, Any]]:
    """Run a search on the nodes; `meanwhile` is called in a thread when the first trial has reported."""

    def go(meanwhile: Callable[[io.StringIO], None], **options: Any) -> dict[str, Any]:
        from frostline.search import tuner

        given: dict[str, Any] = {"model": str(tiny_model), "dataset": str(tiny_csv), "profile": "small", **options}
        asked = Options(
            space="bert_imdb", name=run.name, storage=run.parent, address=nodes.address, confirm_recipes=0, **given
        )
        plan, corpus = planning.resolve(asked)
        planning.claim(plan)
        text = io.StringIO()
        with time_limit() as late, ThreadPoolExecutor(1) as pool:
            doing = pool.submit(lambda: (wait_for(lambda: results_of(run)), meanwhile(text)))
            found = tuner.run(plan, corpus, Console(file=text, width=200))
        assert not late.is_set(), text.getvalue()[-4000:]
        doing.result()
        return {**found, "printed": text.getvalue(), "slots": plan.resources.slots}

    return go


def results_of(run: Path) -> list[trial_records.Line]:
    path = run / "trials.jsonl"
    return [line for trial in trial_records.read(path) for line in trial.reports] if path.exists() else []


def test_nothing_is_lost_when_nodes_are_taken_or_die_and_others_join(
    nodes: Nodes, search: Callable[..., dict[str, Any]], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nodes.join()
    monkeypatch.setattr(Watch, "_EVERY", 0.0)  # it sees that no node is left before it hears of the trial's end
    snapshot = run / "trials" / "00000" / "last.safetensors"

    def meanwhile(text: io.StringIO) -> None:
        assert not snapshot.exists()
        ec2.take(120)
        wait_for(snapshot.exists)  # only the notice causes it: see `checkpoint_every`
        nodes.kill(first)
        second = nodes.join()
        known = len(results_of(run))
        wait_for(lambda: len(results_of(run)) > known and text.getvalue().count(" goes on after epoch ") == 1)
        nodes.join()
        nodes.kill(second)  # without an announcement

    with nodes.spot(first) as ec2:
        found = search(meanwhile, trials=1, epochs=80, checkpoint_every=1e6)
    said = found["printed"]
    assert found["slots"] == 1
    assert found["counts"] == {**dict.fromkeys(Outcome, 0), "complete": 1}
    lost = re.findall("trial 0: (.*); it goes on from its last snapshot\n", said)
    assert len(lost) == 2, said
    assert lost[0] == "its node has gone"
    assert lost[1] in ("its node has gone", "its node does not answer")  # Ray finds one of the two first
    assert said.count("trial 0 goes on after epoch ") == 2, said
    assert len({line.pid for line in results_of(run)}) == 3
    whole = [line.epoch for line in results_of(run) if not line.partial]
    assert whole == [float(epoch) for epoch in range(1, 81)], "each epoch once"
    entries = [[path.name for path in (cache / "data").iterdir() if path.is_dir()] for cache in nodes.caches]
    assert entries[0] == entries[1] == entries[2], "each has prepared the same data"
    assert [len(found) for found in entries] == [1, 1, 1], "once"


def test_a_node_that_joins_is_used_and_a_node_that_can_train_nothing_is_set_aside(
    nodes: Nodes, search: Callable[..., dict[str, Any]], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("health", "hooks"):  # each strike costs the start of a process, some 6 s
        monkeypatch.setattr(f"frostline.search.tune.{module}.STRIKES", 1)
    nodes.join()
    nodes.join(FROSTLINE_CACHE="/proc/nothing-can-be-made-here")

    def meanwhile(text: io.StringIO) -> None:
        nodes.join()
        wait_for(lambda: "gets no more trials" in text.getvalue() and len({line.pid for line in results_of(run)}) == 2)
        os.kill(os.getpid(), signal.SIGINT)  # the test has seen enough

    found = search(meanwhile, trials=1000, epochs=6)
    assert found["slots"] == 2
    assert found["interrupted"]
    assert Outcome.FAILED not in {trial.outcome for trial in trial_records.read(run / "trials.jsonl")}
    before, _, after = found["printed"].partition("gets no more trials: it lost 1 in a row ")
    assert "cannot write the data cache" in before
    assert after.count("cannot write the data cache") == 1, "as the reason, and in no trial more"


class Answering:
    def answer(self) -> None:
        pass


def test_ray_names_a_node_that_will_be_taken_and_then_the_cause_of_an_actors_end(nodes: Nodes) -> None:
    import ray
    from ray.exceptions import RayActorError

    node = nodes.join()
    with connect(nodes.address), time_limit() as late:
        actor = ray.remote(num_cpus=1)(Answering).remote()
        ray.get(actor.answer.remote())
        assert ray_private.node_of(actor) == node.node_id
        assert not ray_private.draining_nodes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", nodes.address)
            assert spot.drain(120, [node.node_id])
        wait_for(lambda: ray_private.draining_nodes() == {node.node_id})
        assert slot_ray_private.draining_nodes() == {node.node_id}
        nodes.kill(node)

        def error() -> str:
            try:
                ray.get(actor.answer.remote())
            except RayActorError as error:
                return str(error)
            return ""  # the actor's process lives a little longer than its raylet

        wait_for(lambda: ray_private.says_node_died(error()))
    assert not late.is_set()


def test_impossible_options_are_refused_before_anything_starts(
    nodes: Nodes, tiny_model: Path, tiny_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.join()
    given = ["--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv)]
    given += ["--address", nodes.address]
    for more, said in (
        (["--storage", "runs"], "--storage runs is a folder of this machine; a cluster of several nodes needs one"),
        (["--storage", str(tmp_path), "--cpus-per-trial", "3"], "no node can hold one trial: it needs 3 CPU"),
    ):
        with time_limit():
            assert cli.main([*given, *more]) == cli.USER_ERROR
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("bert_imdb*"))
