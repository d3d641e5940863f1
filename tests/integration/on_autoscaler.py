"""A search on a cluster without workers: Ray's autoscaler starts machines for waiting trials, and ends them.

    python -m tests.integration.on_autoscaler

Run it by hand. It takes about two minutes, most of them until idle machines end. The machines are raylets on this
machine, from the provider of Ray's own tests; the autoscaler is the real one (v2, as `ray up` starts it).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider
from rich.console import Console

from frostline.search import tuner
from frostline.search.cluster import capacity, connection, machines
from frostline.search.cluster.environment import prepare_environment
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.records import trials as trial_records
from tests import tiny
from tests.cluster_file import ROOT
from tests.integration.on_premise import wait

MACHINES = 2
"""Machines that the autoscaler may start."""
IDLE = 12.0
"""Seconds without work after which it ends a machine."""


class Machines(FakeMultiNodeProvider):
    """Ray's provider cannot set the memory of a node; this one does it by the variable that Ray has for tests."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: dict[str, Any], labels: Any
    ) -> None:
        memory = {name: resources[name] for name in resources if name == "memory"}
        os.environ["RAY_OVERRIDE_RESOURCES"] = json.dumps(memory)
        rest = {name: amount for name, amount in resources.items() if name not in memory}
        super()._create_node_with_resources_and_labels(node_config, tags, count, rest, labels)


def configuration(address: str) -> dict[str, Any]:
    """What `ray up` would give the head: one node type, without a machine at first."""
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    machine = {"CPU": 1, "memory": 4 * 10**9, "object_store_memory": 10**8}
    return {
        "cluster_name": "grows",
        "max_workers": MACHINES,
        "idle_timeout_minutes": IDLE / 60,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",  # the provider's own type needs a file that is not in Ray's wheel
            "module": f"tests.integration.on_autoscaler.{Machines.__name__}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "machine": {"resources": machine, "node_config": {}, "min_workers": 0, "max_workers": MACHINES},
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        },
        **{f"{name}_commands": [] for name in lists},
    }


@contextmanager
def head(folder: Path) -> Iterator[str]:
    """Start a head that runs no trials, with the autoscaler; yields its address."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    from ray.util import get_node_ip_address

    address = f"{get_node_ip_address()}:{port}"
    config = folder / "grows.yaml"
    config.write_text(json.dumps(configuration(address)))
    environment = {
        "PYTHONPATH": str(ROOT),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}", "--num-cpus=0"]
    command += [f"--temp-dir={folder}", f"--autoscaling-config={config}", "--include-dashboard=false"]
    try:
        subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)
        yield address
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if process.pid != os.getpid() and any(str(folder) in part for part in process.info["cmdline"] or []):
                process.kill()


class Clock:
    """Prints events with their times."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {what}", flush=True)


def seen(address: str) -> capacity.Offer:
    with connection.connect(address):
        return machines.connected()


def watch(clock: Clock, over: threading.Event, address: str) -> None:
    """Print the number of machines whenever it changes."""
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions

    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    before = -1
    while not over.wait(0.2):
        now = sum(node["Alive"] for node in state.node_table()) - 1
        if now != before:
            clock.say(f"{now} machines")
        before = now


def prove(folder: Path, address: str, clock: Clock) -> None:
    clock.say("the head runs")
    wait("Ray tells what the autoscaler may start", 30, lambda: len(seen(address).more) == MACHINES)
    model, table = tiny.make_model(folder / "model"), tiny.write_csv(folder / "table.csv", tiny.rows(1100))
    asked = Options(
        space="bert_imdb",
        name="grows",
        profile="small",
        model=str(model),
        dataset=str(table),
        storage=folder / "runs",
        address=address,
        trials=8,
        epochs=20,
        confirm_recipes=0,
    )
    plan, corpus = planning.resolve(asked)
    print(f"{plan.resources.slots} slots: {plan.resources.slots_reason}")
    assert plan.resources.slots == 0
    planning.claim(plan)
    over = threading.Event()
    looking = threading.Thread(target=watch, args=(clock, over, address))
    looking.start()
    try:
        clock.say("the search begins")
        found = tuner.run(plan, corpus, Console(width=150))
        clock.say("the search has ended")
        lines = [line for trial in trial_records.read(plan.place.run / "trials.jsonl") for line in trial.reports]
        assert sum(found["counts"].values()) == 8, found["counts"]
        assert not found["counts"]["failed"], found["counts"]
        assert len({line.pid for line in lines}) >= MACHINES, "on every machine that was started"
        wait("all machines have been ended", 90, lambda: len(seen(address).nodes) == 1)
        clock.say("the head is alone again")
    finally:
        over.set()
        looking.join()


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # this machine's cluster has no other users
    prepare_environment()
    signal.alarm(280)
    with tempfile.TemporaryDirectory(prefix="grows", dir="/tmp", ignore_cleanup_errors=True) as name:
        clock = Clock()
        with head(Path(name)) as address:
            prove(Path(name), address, clock)


if __name__ == "__main__":
    main()
