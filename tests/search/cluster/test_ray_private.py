"""Each private name of Ray, tried on the real Ray. After an upgrade of Ray these tests say what has changed."""

import ast
import contextlib
import inspect
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.tune import TuneError
from ray.tune.experiment import Trial

from frostline.search.cluster import ray_private

ROOT = Path(ray_private.__file__).resolve().parents[2]


class _Maker:
    """An actor that makes a placement group."""

    def where(self) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def make(self) -> str:
        return str(ray.util.placement_group([{"CPU": 0.01}]).id.hex())


@contextlib.contextmanager
def actor() -> Iterator[Any]:
    made = ray.remote(num_cpus=0)(_Maker).remote()
    try:
        yield made
    finally:
        ray.kill(made)


def until(holds: Callable[[], bool]) -> None:
    """Wait until Ray is so far."""
    while not holds():
        time.sleep(0.05)


# --- nodes and actors ----------------------------------------------------------------------------


def test_a_node_has_its_id_as_a_label(ray_here: None) -> None:
    (node,) = ray.nodes()
    assert node["Labels"][ray_private.NODE_ID_LABEL] == node["NodeID"]
    assert ray._raylet.RAY_NODE_ID_KEY == ray_private.NODE_ID_LABEL


def test_the_head_has_its_resource(ray_here: None) -> None:
    (node,) = ray.nodes()
    assert ray_private.HEAD_RESOURCE in node["Resources"]


def test_cpus_are_counted() -> None:
    assert 1 <= ray_private.cpu_count() <= (os.cpu_count() or 1)


def test_a_node_that_stays_is_not_draining(ray_here: None) -> None:
    """`integration/test_nodes.py` drains a node and sees it listed."""
    assert ray_private.draining_nodes() == set()


def test_the_node_of_an_actor(ray_here: None) -> None:
    with actor() as maker:
        id_, _ = ray.get(maker.where.remote())
        assert ray_private.node_of(maker) == id_


def test_placement_groups_made_by_actors_say_whether_their_maker_is_dead(ray_here: None) -> None:
    def made(id_: str) -> list[ray_private.MadeGroup]:
        return [made for made in ray_private.groups_made_by_actors() if made.group.id.hex() == id_]

    with actor() as maker:
        ours = ray.util.placement_group([{"CPU": 0.01}])  # the driver made it, no actor
        theirs = ray.get(maker.make.remote())
        assert not made(ours.id.hex())
        assert [made.maker_died for made in made(theirs)] == [False]
    until(lambda: [made.maker_died for made in made(theirs)] == [True])
    for group in (ours, made(theirs)[0].group):
        ray.util.remove_placement_group(group)
    until(lambda: not made(theirs))


# --- Ray's processes -----------------------------------------------------------------------------


def test_a_private_instance_needs_two_children_and_its_node_tells_its_id(ray_here: None) -> None:
    processes = ray_private.processes_it_needs()
    assert sorted(name for name, _ in processes) == ["gcs_server", "raylet"]
    assert ray_private.dead(processes) == ""
    assert ray.get_runtime_context().get_node_id() in ray_private.node_ids_here()


def test_ray_sets_its_handler_of_signals_and_prints_its_errors_through_names_that_we_replace() -> None:
    for code in (ray._private.worker.connect, ray._private.node.Node._register_shutdown_hooks):
        assert "ray._private.utils.set_sigterm_handler(" in inspect.getsource(
            code
        ) or "signal" not in inspect.getsource(code)
    assert "        print_to_stdstream(\n" in inspect.getsource(ray._private.worker.listen_error_messages)


@pytest.mark.parametrize("flag", ["--gcs-address=", "--autoscaling-config="])
def test_ray_starts_the_autoscaler_with_the_flags_that_we_read(flag: str) -> None:
    """`test_autoscaler.py` reads them from a process."""
    assert flag in inspect.getsource(ray._private.services.start_monitor)


# --- error texts ---------------------------------------------------------------------------------


def test_an_actor_whose_process_is_killed(ray_here: None) -> None:
    with actor() as maker:
        _, pid = ray.get(maker.where.remote())
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RayActorError) as caught:
            ray.get([maker.where.remote() for _ in range(100)])
        until(lambda: ray_private.says_actor_died(_error(maker)))
        assert not ray_private.says_node_died(_error(maker))
    text = str(caught.value)
    assert ray_private.says_actor_died(text) or ray_private.says_actor_unavailable(text)


def _error(maker: Any) -> str:
    with pytest.raises(RayActorError) as caught:
        ray.get(maker.where.remote())
    return str(caught.value)


@pytest.mark.parametrize("sentence", ["its node has died", "the actor's node was"])
def test_rays_gcs_has_the_sentences_about_a_dead_node(sentence: str) -> None:
    """`integration/test_nodes.py` kills a node and reads one of them."""
    assert ray_private.says_node_died(f"The actor died because {sentence}")
    assert sentence.encode() in (Path(ray.__file__).parent / "core/src/ray/gcs/gcs_server").read_bytes()


def test_an_actor_that_does_not_answer() -> None:
    text = str(ActorUnavailableError("RpcError: Socket closed", os.urandom(16)))
    assert ray_private.says_actor_unavailable(text)
    assert not ray_private.says_actor_died(text)


# --- Tune and Train ------------------------------------------------------------------------------


def test_a_tune_trial_has_its_actor_and_its_error(tmp_path: Path) -> None:
    trial = Trial("trial", stub=True)
    assert ray_private.actor_of(trial) is None, "it has not started"
    trial.temporary_state.ray_actor = handle = object()
    assert ray_private.actor_of(trial) is handle
    trial.storage = SimpleNamespace(trial_driver_staging_path=str(tmp_path))
    trial.handle_error(TuneError("its first line\nits last line"))
    assert ray_private.error_of(trial) == "its first line\nits last line"


def test_only_the_cleaner_of_placement_groups_is_left_out() -> None:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def callbacks(kind: Any) -> list[str]:
        trainer = kind(print, scaling_config=ScalingConfig(num_workers=2))
        return [type(callback).__name__ for callback in trainer._create_default_callbacks()]

    ours, rays = callbacks(ray_private.trainer_without_cleaner()), callbacks(TorchTrainer)
    assert [name for name in rays if name not in ours] == ["PlacementGroupCleanerCallback"]
    assert [name for name in rays if name in ours] == ours


# --- nowhere else --------------------------------------------------------------------------------


def private_names(path: Path) -> list[str]:
    """Private modules of Ray that a file imports, and private attributes that it reads from `ray`."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names.append(ast.unparse(node))
    rays = [name.split(".") for name in names if name.startswith("ray.")]
    return [".".join(parts) for parts in rays if parts[1] == "core" or any(part.startswith("_") for part in parts)]


def test_private_names_of_ray_are_in_one_file_a_tree() -> None:
    files = [path for tree in ("search", "trainables", "spaces") for path in (ROOT / tree).rglob("*.py")]
    private = {str(path.relative_to(ROOT)) for path in files if private_names(path)}
    assert private == {"search/cluster/ray_private.py", "trainables/slot/ray_private.py"}
