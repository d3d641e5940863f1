"""Tells Ray that this machine will be taken away: the cloud announces it on the machine alone, shortly before.

    RAY_ADDRESS=HEAD:6379 python -m frostline.search.cluster.spot aws

Runs beside Ray on every spot machine (cluster.yaml starts it) and ends when it has told Ray. Ray then gives the machine
no more trials, and the trials that run there write a snapshot at once.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from frostline.search.cluster import ray_private

_EVERY = 2.0
"""Seconds between two questions; AWS gives notice of 120 s, Google of 30."""


def aws() -> float | None:
    """Seconds until EC2 takes this machine; None while it has not announced that.

    EC2's earlier warning (`rebalance`) is ignored: most machines with a warning stay for long.
    Source: EC2 User Guide, "Spot Instance interruption notices" and "Use IMDSv2".
    """
    host = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
    token = _metadata(f"{host}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT")
    notice = _metadata(f"{host}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""})
    if notice is None:
        return None
    until = datetime.datetime.fromisoformat(json.loads(notice)["time"])
    return max(0.0, until.timestamp() - time.time())


def google() -> float | None:
    """Seconds until Google takes this machine; None while it has not announced that.

    Source: Compute Engine, "Spot VMs": 30 s from the notice to the end.
    """
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    notice = _metadata(f"http://{host}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return 30.0 if notice == "TRUE" else None


CLOUDS: dict[str, Callable[[], float | None]] = {"aws": aws, "google": google}


def _metadata(url: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
    """An entry of the machine's metadata; None if there is none.

    Raises:
        OSError: no answer, or a refusal.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # only the machine itself can reach them
    try:
        with direct.open(urllib.request.Request(url, headers=dict(headers), method=method), timeout=2) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            return None
        raise


def wait(notice: Callable[[], float | None], tell: Callable[[float], bool], pause: Callable[[], None]) -> None:
    """Ask until the machine is to be taken, then tell until somebody has heard it.

    Args:
        notice: seconds until the machine is taken, or None. An OSError counts as None.
        tell: passes the seconds on; returns whether that was heard.
        pause: between two questions.
    """
    while True:
        with contextlib.suppress(OSError):
            seconds = notice()
            if seconds is not None and tell(seconds):
                return
        pause()


def drain(seconds: float, nodes: Sequence[str]) -> bool:
    """Tell Ray, at RAY_ADDRESS, that nodes will be taken in this many seconds; whether it accepted all.

    Args:
        seconds: until the nodes are taken.
        nodes: their ids.
    """
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the cloud takes it"]
    command += ["--deadline-remaining-seconds", str(int(seconds))]
    codes = [subprocess.run([*command, "--node-id", node]).returncode for node in nodes]
    return bool(codes) and not any(codes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", choices=sorted(CLOUDS))
    parser.add_argument("--node-id", metavar="ID", help="Ray's id of the node (default: all nodes of this machine)")
    given = parser.parse_args(arguments)
    wait(
        CLOUDS[given.cloud],
        lambda seconds: drain(seconds, [given.node_id] if given.node_id else ray_private.node_ids_here()),
        lambda: time.sleep(_EVERY),
    )


if __name__ == "__main__":
    main()
