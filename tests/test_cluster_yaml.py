"""cluster.yaml against Ray's schema and autoscaler, and the model of EC2's RunInstances. Nothing is launched."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import botocore.session
import psutil
import pytest
import ray.autoscaler
import yaml
from botocore.validate import ParamValidator
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest

from tests.cluster_file import ROOT, alternative, read
from tests.metadata import Amazon
from tests.test_package import build, checkout_spaces, install, listed


def _provider_keys() -> set[str]:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    return set(schema["properties"]["provider"]["properties"])


def check(config: dict[str, Any]) -> None:
    """Check what `ray up` checks, and what EC2 would refuse later: Ray passes `node_config` on unchanged.

    Raises:
        ValidationError: a key or value that Ray does not know.
        ValueError: one that RunInstances does not know.
    """
    prepared = prepare_config(copy.deepcopy(config))
    for kind in prepared["available_node_types"].values():
        kind.setdefault("resources", {})  # `ray up` asks EC2 what the instance type has
    validate_config(prepared)
    unknown = prepared["provider"].keys() - _provider_keys()  # here alone the schema lets anything through
    if unknown:
        raise ValueError(f"provider has no key {', '.join(sorted(unknown))}")
    shape = botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, kind in prepared["available_node_types"].items():
        request = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(request, shape)
        if report.has_errors():
            raise ValueError(f"node_config of {name}: {report.generate_report()}")


def test_ray_and_ec2_accept_the_file() -> None:
    check(read())


def test_the_files_commands_make_the_role_by_which_workers_use_the_bucket() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    roles = [kind["node_config"].get("IamInstanceProfile") for kind in read()["available_node_types"].values()]
    assert roles == [None, {"Name": "frostline-worker"}, {"Name": "frostline-worker"}]  # Ray gives the head its own
    check(yaml.safe_load("\n".join(line for line in text.splitlines() if "IamInstanceProfile:" not in line)))
    commands = "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    policies = [json.loads(found) for found in re.findall(r"'(\{\"Version\".*?\})'", commands, flags=re.DOTALL)]
    trust, bucket, head = (policy["Statement"][0] for policy in policies)
    assert trust["Action"] == "sts:AssumeRole"
    assert {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"} <= set(bucket["Action"])
    assert bucket["Resource"] == ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"]
    assert (head["Action"], head["Resource"]) == ("iam:PassRole", "arn:aws:iam::*:role/frostline-worker")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ((), "idle_timeout_minute"),
        (("provider",), "cached_stopped_nodes"),
        (("auth",), "ssh_usr"),
        (("available_node_types", "spot"), "min_worker"),
        (("available_node_types", "spot", "node_config"), "InstanceMarketOption"),
        (("available_node_types", "spot", "node_config", "InstanceMarketOptions"), "MarketKind"),
        (("available_node_types", "head", "node_config", "BlockDeviceMappings", 0, "Ebs"), "VolumSize"),
    ],
)
def test_a_misspelt_key_is_refused(path: tuple[Any, ...], wrong: str) -> None:
    config = read()
    place: Any = config
    for step in path:
        place = place[step]
    place[wrong] = 1
    with pytest.raises((ValidationError, ValueError), match=wrong):
        check(config)


def test_ray_accepts_the_alternatives() -> None:
    """On premise, as tests/integration/on_premise.py runs it; Ray does not check Google's keys."""
    kept = {name: read()[name] for name in ("cluster_name", "file_mounts", "rsync_exclude")}
    own = alternative("Machines of your own", WORKER_ADDRESS="10.0.0.2", HEAD_ADDRESS="10.0.0.1", SHARED="/mnt/all")
    validate_config(prepare_config({**kept, **own}))
    google = {**read(), **alternative("Google Cloud")}
    validate_config(prepare_config(google))
    assert google["available_node_types"].keys() == read()["available_node_types"].keys()


def test_the_head_runs_no_trial_and_no_worker_runs_at_first() -> None:
    config = read()
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0
    assert any("--num-cpus=0" in command for command in config["head_start_ray_commands"])
    workers = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    assert [kind["min_workers"] for kind in workers] == [0, 0]


def launches(trials: int, availability: dict[str, float]) -> dict[str, int]:
    """Node type -> machines that Ray's autoscaler starts for waiting trials; a failed launch lowers `availability`."""
    config = read()
    for name in ("spot", "on-demand"):
        config["available_node_types"][name]["resources"] = {"CPU": 4, "GPU": 1}  # of a g6.xlarge; Ray asks EC2
    scaling = AutoscalingConfig(config, skip_content_hash=True)
    trial = GangResourceRequest(requests=[ResourceRequestUtil.make({"CPU": 4, "GPU": 1})])
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=scaling.get_node_type_configs(),
        max_num_nodes=scaling.get_max_num_nodes(),
        gang_resource_requests=[trial] * trials,
        recoverable_resource_availabilities=availability,
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler(None).schedule(request).to_launch}


def test_waiting_trials_start_spot_machines_and_on_demand_ones_if_spot_has_none() -> None:
    assert launches(3, {}) == {"spot": 3}
    assert launches(2, {"spot": 0.5}) == {"on-demand": 2}
    assert launches(100, {})["spot"] == read()["available_node_types"]["spot"]["max_workers"]


def test_spot_comes_first_and_on_demand_is_the_same_machine() -> None:
    spot, other = (read()["available_node_types"][name] for name in ("spot", "on-demand"))
    assert spot["priority"] > other["priority"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot["node_config"] == other["node_config"]


def test_every_ray_start_asks_for_the_token() -> None:
    config = read()
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [c for c in config["head_start_ray_commands"] + config["worker_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    for command in starts:
        assert command.index("RAY_AUTH_MODE=token") < command.index("ray start")


def test_only_files_that_a_node_needs_are_mounted_and_they_exist() -> None:
    """Ray hashes every mounted file at each `ray up`, excluded or not: no environment, no runs, no history."""
    mounted = [local for local in read()["file_mounts"].values() if not local.startswith("~")]
    assert all((ROOT / local).exists() for local in mounted)
    packages = {name for name in ("search", "trainables", "spaces") if (ROOT / name).is_dir()}
    assert packages <= set(mounted)
    assert not {".", ".venv", ".git", "runs"} & {os.path.normpath(local) for local in mounted}


@pytest.mark.parametrize("kind", ["editable", "wheel"])
def test_an_installation_needs_nothing_but_the_mounted_files(kind: str, tmp_path: Path) -> None:
    """`uv sync` on a node builds from these files; the build hook reads some that pyproject.toml does not name."""
    node = tmp_path / "frostline"
    for remote, local in read()["file_mounts"].items():
        if not local.startswith("~"):
            path = node / Path(remote).relative_to("~/frostline")
            path.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / local).is_dir() else shutil.copy)(ROOT / local, path)
    wheel = build(kind, node, tmp_path / "wheel")
    if kind == "wheel":
        whole = build(kind, ROOT, tmp_path / "whole")
        assert zipfile.ZipFile(wheel).namelist() == zipfile.ZipFile(whole).namelist()
    install(tmp_path / "target", wheel)
    assert listed(tmp_path / "target", tmp_path) == checkout_spaces()


def test_the_program_that_announces_a_spot_machines_end_runs_once_beside_ray(tmp_path: Path) -> None:
    [command] = [
        command for command in read()["worker_start_ray_commands"] if "frostline.search.cluster.spot" in command
    ]
    with Amazon() as ec2:
        environment = {
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "RAY_HEAD_IP": "127.0.0.1",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": ec2.address,
        }

        def beside() -> list[psutil.Process]:
            found = []
            for process in psutil.process_iter(["cmdline", "environ"]):
                given = process.info["environ"] or {}
                if "frostline.search.cluster.spot" in (process.info["cmdline"] or []) and given.get("HOME") == str(
                    tmp_path
                ):
                    found.append(process)
            return found

        try:
            for _ in range(2):  # a node that is started again has it already
                subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=10)
            until = time.monotonic() + 30
            while not ec2.asked:
                assert time.monotonic() < until, (tmp_path / "spot.log").read_text()
                time.sleep(0.05)
            running = [process for process in beside() if process.name() != "flock"]
            assert len(running) == 1
            assert running[0].environ()["RAY_ADDRESS"] == "127.0.0.1:6379"
        finally:
            for process in beside():
                process.kill()
