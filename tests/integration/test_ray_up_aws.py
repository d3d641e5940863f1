"""`ray up cluster.yaml` against an EC2 that runs here (moto), with Ray's real command line and node provider.

There are no machines behind that EC2. So `ssh` and `rsync` are replaced by programs that keep their arguments and
report success. That also ensures that nothing is ever sent to the addresses that EC2 invents.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from frostline.search.cluster.autoscaler import may_come
from frostline.search.cluster.capacity import Node
from tests.cluster_file import ROOT, read

PROFILE, WORKER = "ray-autoscaler-v1", "frostline-worker"
IMAGE = "ami-0123456789abcdef0"

SSH = """#!/bin/sh
for last; do :; done
printf '%s\\0' "$last" >> {kept}/commands
"""

RSYNC = """#!/bin/sh
printf '%s ' "$@" >> {kept}/rsync
while [ $# -gt 2 ]; do shift; done
target={kept}/files/$(echo "${{2#*:}}" | sed 's#^~/##')
mkdir -p "$(dirname "$target")" && cp -rT "$1" "$target"
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloud:
    """A private AWS, and what was sent to its machines."""

    environment: dict[str, str]
    home: Path
    kept: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=read()["provider"]["region"],
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ray = Path(sys.executable).with_name("ray")
        return subprocess.run(
            [str(ray), *arguments], env=self.environment, cwd=ROOT, text=True, capture_output=True, timeout=120
        )

    def instances(self, state: str) -> list[dict[str, Any]]:
        found = self.client("ec2").describe_instances(Filters=[{"Name": "instance-state-name", "Values": [state]}])
        return [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]

    def commands(self) -> list[str]:
        """Commands that were run on the machines, in order."""
        sent = (self.kept / "commands").read_text().split("\0")[:-1]
        return [shlex.split(command)[-1] for command in sent]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An account with two roles: Ray's own (Ray would make it and then sleep 30 s) and that of the workers."""
    folder = tmp_path_factory.mktemp("aws")
    home, kept, programs = (folder / name for name in ("home", "kept", "bin"))
    for path in (home / ".ray", kept, programs):
        path.mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64)
    for name, text in (("ssh", SSH), ("rsync", RSYNC)):
        program = programs / name
        program.write_text(text.format(kept=kept))
        program.chmod(0o755)
    mine = pytest.MonkeyPatch()  # this process uses the same server, independent of the user's AWS settings
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        mine.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        mine.setenv(name, os.devnull)
    mine.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # None of the user's variables: no profile, no credentials, no proxy, and a home without ~/.aws.
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(folder),
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cloud = Cloud(environment=environment, home=home, kept=kept)
    iam = cloud.client("iam")
    for name in (PROFILE, WORKER):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    yield cloud
    server.stop()
    mine.undo()


def test_up_workers_down(cloud: Cloud) -> None:
    """One pass in order: each step uses what the step before has left."""
    up = cloud.ray("up", "--yes", "--no-config-cache", "cluster.yaml")
    assert up.returncode == 0, up.stdout + up.stderr

    written = read()
    [head] = cloud.instances("running")
    wanted = written["available_node_types"]["head"]["node_config"]
    assert head["InstanceType"] == wanted["InstanceType"]
    assert head["ImageId"] == wanted["ImageId"]
    assert head["IamInstanceProfile"]["Arn"].endswith(PROFILE)
    assert "InstanceLifecycle" not in head  # not spot

    [group] = cloud.client("ec2").describe_security_groups(GroupIds=[head["SecurityGroups"][0]["GroupId"]])[
        "SecurityGroups"
    ]
    from_outside = [rule for rule in group["IpPermissions"] if not rule["UserIdGroupPairs"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]

    files = cloud.kept / "files"
    assert (files / ".ray" / "auth_token").read_text() == "0" * 64
    assert (files / "frostline" / "search" / "run.py").read_bytes() == (ROOT / "search" / "run.py").read_bytes()
    assert "--exclude __pycache__" in (cloud.kept / "rsync").read_text()

    commands = cloud.commands()
    order = [
        next(i for i, command in enumerate(commands) if part in command)
        for part in ("revoke-security-group-ingress", "uv sync", "environment.tar.zst", "ray start --head")
    ]
    assert order == sorted(order)
    assert "RAY_AUTH_MODE=token" in commands[order[-1]]
    assert "RAY_enable_autoscaler_v2" in commands[order[-1]]

    # A search reads in it what may be started: `ray up` has asked EC2 for the resources of the instance type.
    sent = yaml.safe_load((files / "ray_bootstrap_config.yaml").read_text())
    coming = may_come([Node(cpus=0, gpus=0, memory=12e9)], sent)
    assert len(coming) == written["max_workers"]
    assert {(machine.cpus, machine.gpus, machine.memory > 1e9) for machine in coming} == {(4, 1, True)}

    spot, other = launched(cloud, "spot", "on-demand")
    for worker in (spot, other):
        assert worker["InstanceType"] == written["available_node_types"]["spot"]["node_config"]["InstanceType"]
        assert worker["ImageId"] == IMAGE
        assert worker["IamInstanceProfile"]["Arn"].endswith(f"/{WORKER}")
        assert worker["SecurityGroups"] == head["SecurityGroups"]
    assert spot["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in other

    down = cloud.ray("down", "--yes", "cluster.yaml")
    assert down.returncode == 0, down.stdout + down.stderr
    assert cloud.instances("running") == []
    assert len(cloud.instances("terminated")) == 3


AS_THE_HEAD = """
import sys, yaml
from ray.autoscaler._private.providers import _get_node_provider
config = yaml.safe_load(open(sys.argv[1]))
provider = _get_node_provider(config["provider"], config["cluster_name"])
for kind in sys.argv[2:]:
    tags = {"ray-node-type": "worker", "ray-user-node-type": kind}
    provider.create_node(config["available_node_types"][kind]["node_config"], tags, 1)
"""


def launched(cloud: Cloud, *kinds: str) -> list[dict[str, Any]]:
    """Launch workers as the head would: with Ray's node provider and the configuration that was sent to the head."""
    resolved = cloud.kept / "autoscaling.yaml"
    resolved.write_text(with_image(cloud, cloud.kept / "files" / "ray_bootstrap_config.yaml"))
    command = [sys.executable, "-c", AS_THE_HEAD, str(resolved), *kinds]
    made = subprocess.run(command, env=cloud.environment, text=True, capture_output=True, timeout=60)
    assert made.returncode == 0, made.stdout + made.stderr
    by_kind = {
        tag["Value"]: instance
        for instance in cloud.instances("running")
        for tag in instance["Tags"]
        if tag["Key"] == "ray-user-node-type"
    }
    return [by_kind[kind] for kind in kinds]


def with_image(cloud: Cloud, sent: Path) -> str:
    """The configuration after the `sed` of the head's set-up. On a real head the machine itself names the image."""
    [command] = [command for command in cloud.commands() if "resolve:ssm" in command]
    sed = command[command.index("sed ") : command.index(" ~/ray_bootstrap_config.yaml")]
    shell = f"image={IMAGE}; {sed} {shlex.quote(str(sent))}"
    return subprocess.run(["bash", "-c", shell], text=True, capture_output=True, check=True).stdout
