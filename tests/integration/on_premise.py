"""A search on three machines that are reached by SSH; one of them dies. Run it by hand:

    python -m tests.integration.on_premise --head 10.0.0.1 --workers 10.0.0.2 10.0.0.3 --key ~/.ssh/id --shared /mnt/all

It starts Ray on the machines with `ray up` and the lines of cluster.yaml for machines of your own, submits a small
search as a job, kills the first worker's node when trials run on both, waits for the end, and ends everything. It
prints how long each step took, and fails with what is wrong. The machines should run no other Ray. If they have no
network, `--environment` names an environment that each of them has already.
"""

import argparse
import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import cluster_file

TRIAL = "[r]ay::ImplicitFunc.train"
"""Title of a process that trains; the brackets keep pgrep's own shell from matching."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The machines, and how to reach them."""

    head: str
    workers: tuple[str, ...]
    user: str
    key: Path
    shared: Path
    environment: Path | None
    worker_cpus: int | None

    def config(self) -> dict[str, Any]:
        """cluster.yaml with its lines for machines of your own, filled in for these machines."""
        kept = {name: cluster_file.read()[name] for name in ("cluster_name", "file_mounts", "rsync_exclude")}
        own = cluster_file.alternative("Machines of your own", SHARED=str(self.shared), HEAD_ADDRESS=self.head)
        config = {**kept, **own}
        config["provider"]["worker_ips"] = list(self.workers)
        config["auth"] = {"ssh_user": self.user, "ssh_private_key": str(self.key)}
        if self.worker_cpus is not None:
            config["worker_start_ray_commands"][-1] += f" --num-cpus={self.worker_cpus}"
        if self.environment is not None:
            config["setup_commands"] = [
                f"ln -sfn {self.environment} ~/frostline/.venv" if "uv sync" in command else command
                for command in config["setup_commands"]
                if "install" not in command
            ]
        return config

    def on(self, host: str, command: str) -> str:
        """What the command prints on that machine; nothing if it fails."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        ssh = ["ssh", *options, "-i", str(self.key), f"{self.user}@{host}", command]
        return subprocess.run(ssh, text=True, capture_output=True, timeout=60).stdout

    def trials(self) -> list[int]:
        """Number of processes that train, per worker."""
        return [int(self.on(worker, f"pgrep -fc '{TRIAL}'") or 0) for worker in self.workers]


class Clock:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def lap(self, what: str) -> None:
        now = time.monotonic()
        print(f"{now - self._since:6.1f} s  {what}", flush=True)
        self._since = now


def ray(*arguments: str) -> str:
    """Run Ray's command line; returns what it prints.

    Raises:
        SystemExit: it failed; the message is what it printed.
    """
    environment = {**os.environ, "RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(Path(sys.executable).with_name("ray")), *arguments]
    done = subprocess.run(command, cwd=cluster_file.ROOT, env=environment, text=True, capture_output=True, timeout=600)
    if done.returncode:
        sys.exit(f"ray {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait(what: str, seconds: float, is_so: Callable[[], bool]) -> None:
    """Wait until something is so.

    Args:
        what: the condition, for the message.
        seconds: to wait at most.
        is_so: tests the condition.

    Raises:
        SystemExit: it is not so in time.
    """
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f"after {seconds:.0f} s not yet: {what}")
        time.sleep(1)


def events(run: Path) -> list[dict[str, Any]]:
    """The events of the run directory."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def ended(run: Path) -> dict[int, list[str]]:
    """Trial number -> the outcomes of its end lines."""
    path = run / "trials.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    ends: dict[int, list[str]] = {}
    for line in lines:
        if line["outcome"] != "running":
            ends.setdefault(line["number"], []).append(line["outcome"])
    return ends


def prove(site: Site, trials: int, name: str) -> None:
    clock = Clock()
    config = Path(f"/tmp/frostline-{name}.yaml")
    config.write_text(yaml.safe_dump(site.config()))
    run = site.shared / "runs" / name
    ray("get-auth-token", "--generate")
    ray("up", "--yes", "--no-config-cache", str(config))
    clock.lap("ray up")
    try:
        machines = 1 + len(site.workers)
        wait("all nodes are there", 180, lambda: ray("exec", str(config), "ray list nodes").count("ALIVE") == machines)
        stranger = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/jobs/"
        assert site.on(site.head, stranger) == "401", "jobs are shown to somebody without the token"
        clock.lap("all nodes are there; without the token none answers")
        search = (
            f"frostline --space bert_imdb --profile small --trials {trials} --confirm-seeds 1"
            f" --storage {site.shared}/runs --name {name}"
        )
        ray("exec", str(config), f"ray job submit --no-wait --submission-id {name} -- {search}")
        wait("trials run on every worker", 240, lambda: all(site.trials()))
        clock.lap("trials run on every worker")
        wait("a trial has ended", 300, lambda: bool(ended(run)))
        wait("trials run on every worker", 60, lambda: all(site.trials()))
        clock.lap(f"{len(ended(run))} trials have ended, others run on both workers")
        site.on(site.workers[0], "kill -9 $(pgrep -x raylet)")
        clock.lap(f"the node of {site.workers[0]} is killed")
        status = ["exec", str(config), f"ray job status {name}"]
        wait("the search has ended", 500, lambda: (run / "summary.json").exists() or "failed" in ray(*status))
        wait("the job has ended", 60, lambda: "succeeded" in ray(*status))
        clock.lap("the search has ended")
        printed = ray("exec", str(config), f"ray job logs {name} | tail -n 40")
        print(re.split(r"\n[-\d]+ [:,\d]+\tWARN ", printed)[0])  # what follows is about `ray exec` itself
        lost = [event for event in events(run) if event["event"] == "lost"]
        print(f"lost with the node: {[(event['number'], event['reason']) for event in lost]}")
        assert lost
        fetched = config.with_suffix("")
        ray("rsync-down", str(config), "frostline/search/", f"{fetched}/")
        assert (fetched / "run.py").read_bytes() == (cluster_file.ROOT / "search" / "run.py").read_bytes()
        ends = ended(run)
        assert sorted(ends) == list(range(trials)), ends
        assert all(len(states) == 1 and states[0] in ("complete", "pruned") for states in ends.values()), ends
    finally:
        ray("down", "--yes", str(config))
    clock.lap("ray down")
    left = "pgrep -fl '[r]aylet|[g]cs_server|[r]ay::' || true"
    wait("no process of Ray is left", 240, lambda: not any(site.on(host, left) for host in (site.head, *site.workers)))
    clock.lap("no process of Ray is left on any machine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", required=True, metavar="ADDRESS")
    parser.add_argument("--workers", required=True, nargs=2, metavar="ADDRESS")
    parser.add_argument("--user", default=getpass.getuser())
    parser.add_argument("--key", type=Path, required=True, help="private SSH key")
    parser.add_argument("--shared", type=Path, required=True, help="a folder that all machines and this one see")
    parser.add_argument("--environment", type=Path, help="an environment that all machines have")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--worker-cpus", type=int, help="cores of a worker that trials may use (default: all)")
    given = parser.parse_args()
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"skipped: there is no {' and no '.join(missing)} here")
    site = Site(
        head=given.head,
        workers=tuple(given.workers),
        user=given.user,
        key=given.key,
        shared=given.shared,
        environment=given.environment,
        worker_cpus=given.worker_cpus,
    )
    prove(site, given.trials, f"on-premise-{int(time.time())}")


if __name__ == "__main__":
    main()
