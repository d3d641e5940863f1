import errno
import math
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frostline.trainables._atomic import DISK_FULL
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training.checkpoint import Snapshot
from tests.trainables.points import Linear, Points, assert_equal, fit, recipe


def snapshot(size: int = 1000, **numbers: Any) -> Snapshot:
    torch.manual_seed(0)
    return Snapshot(tensors={"a": torch.randn(size), "b.c": torch.arange(3)}, numbers=numbers)


def files(folder: Path) -> set[str]:
    """Names of all files, hidden ones too."""
    return {path.name for path in folder.iterdir()}


# --- a snapshot comes back exactly, or not at all


def test_tensors_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "float32": torch.tensor([0.1, -0.0, 1e-45, math.inf, math.pi]),
        "float64": torch.tensor([0.1 + 0.2, 5e-324], dtype=torch.float64),
        "bfloat16": torch.randn(3, 5).bfloat16(),
        "int64": torch.tensor([2**62, -1]),
        "uint8": torch.get_rng_state(),
        "bool": torch.tensor([True, False]),
        "one number": torch.tensor(3.0),
        "none": torch.zeros(0, 4),
        "not in a row": torch.arange(12.0).reshape(3, 4).T,
        "a part": torch.arange(12.0)[::2],
    }
    checkpoints.write(Snapshot(tensors=tensors, numbers={}), tmp_path / "last.safetensors")
    found = checkpoints.read(tmp_path / "last.safetensors")
    assert found
    assert_equal(found.tensors, tensors)
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
    assert torch.signbit(found.tensors["float32"][1]), "minus zero"


def test_numbers_come_back_exactly(tmp_path: Path) -> None:
    numbers = {
        "floats": [0.1 + 0.2, 1e-5 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2e-05],
        "integers": [0, -1, 2**63, 10**30],
        "text": 'a "recipe" with \n ü and \u2028',
        "nested": {"last_epoch": 3, "none": None, "flag": True, "rates": [[0.1], [1 / 3]]},
    }
    checkpoints.write(Snapshot(tensors={"a": torch.zeros(1)}, numbers=numbers), tmp_path / "last.safetensors")
    found = checkpoints.read(tmp_path / "last.safetensors")
    assert found
    assert found.numbers == numbers
    assert [number.hex() for number in found.numbers["floats"]] == [number.hex() for number in numbers["floats"]]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "last.safetensors"
    checkpoints.write(snapshot(learning_rates=[0.1]), path)
    assert checkpoints.read(path)
    return path


def test_there_is_none_where_nothing_was_written(tmp_path: Path) -> None:
    assert checkpoints.read(tmp_path / "last.safetensors") is None
    assert checkpoints.read(tmp_path / "no such folder" / "last.safetensors") is None
    assert checkpoints.read(tmp_path) is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.02, 0.03, 0.25, 0.5, 0.9, 0.999, "all but a byte"])
def test_a_torn_file_is_none(whole: Path, share: float | str) -> None:
    content = whole.read_bytes()
    whole.write_bytes(content[:-1] if isinstance(share, str) else content[: int(share * len(content))])
    assert checkpoints.read(whole) is None


@pytest.mark.parametrize("length", range(0, 130, 9))
def test_a_file_torn_in_its_header_is_none(whole: Path, length: int) -> None:
    whole.write_bytes(whole.read_bytes()[:length])
    assert checkpoints.read(whole) is None


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 5000,
        b"\xff" * 5000,
        bytes(range(256)) * 20,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"not json",
        b'{"numbers": "{}"}',
        "eine Schneeflöcke ❄\n".encode() * 100,
    ],
    ids=["zeros", "ones", "bytes", "endless-header", "no-tensors", "no-json", "json", "text"],
)
def test_a_file_of_something_else_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.safetensors").write_bytes(content)
    assert checkpoints.read(tmp_path / "last.safetensors") is None


def test_weights_are_no_snapshot(tmp_path: Path) -> None:
    checkpoints.save(nn.Linear(2, 2), tmp_path / "best.safetensors")
    assert checkpoints.read(tmp_path / "best.safetensors") is None


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy torch"])
def test_a_pickle_is_none_and_is_never_executed(tmp_path: Path, kind: str) -> None:
    path, sprung = tmp_path / "last.safetensors", tmp_path / "sprung"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    else:
        torch.save(Trap(sprung), path, _use_new_zipfile_serialization=kind == "torch")
    assert checkpoints.read(path) is None
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoints.load(nn.Linear(2, 2), path)
    assert not sprung.exists()
    bare = path.rename(tmp_path / "last.pt")  # torch, too, goes by the name
    if kind == "pickle":
        pickle.loads(bare.read_bytes())
    else:
        torch.load(bare, weights_only=False)
    assert sprung.exists(), "it is a trap"


# --- a file is whole, or the one before


def test_a_newer_snapshot_takes_the_place_of_the_older(whole: Path) -> None:
    checkpoints.write(snapshot(10, step=2), whole)
    found = checkpoints.read(whole)
    assert found
    assert found.numbers == {"step": 2}
    assert files(whole.parent) == {whole.name}


def test_what_was_read_stays_when_the_file_is_replaced_or_removed(whole: Path) -> None:
    before = checkpoints.read(whole)
    assert before
    checkpoints.write(Snapshot(tensors={"a": torch.ones(5000)}, numbers={}), whole)
    whole.unlink()
    assert_equal(before.tensors, snapshot().tensors)


def assert_as_before(path: Path) -> None:
    """The snapshot of the fixture `whole`, and nothing beside it."""
    found = checkpoints.read(path)
    assert found
    assert found.numbers == {"learning_rates": [0.1]}
    assert_equal(found.tensors, snapshot().tensors)
    assert files(path.parent) == {path.name}


def test_a_full_disk_is_an_error_with_its_number_and_the_older_snapshot_stays(
    small_disk: Callable[[str], Path],
) -> None:
    path = small_disk("1m") / "trial" / "last.safetensors"
    checkpoints.write(snapshot(learning_rates=[0.1]), path)
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoints.write(snapshot(1_000_000), path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.errno in DISK_FULL
    assert caught.value.filename == str(path)
    assert_as_before(path)
    checkpoints.write(snapshot(100, step=2), path)  # there is room again for a small one


def test_a_disk_without_room_for_the_folder_is_an_error_with_its_number(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("64k,nr_inodes=3")  # one is the folder itself
    (disk / "a").write_text("")
    (disk / "b").write_text("")
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoints.write(snapshot(), disk / "trial" / "last.safetensors")
    assert caught.value.errno in DISK_FULL


def test_weights_on_a_full_disk_are_the_same_error(small_disk: Callable[[str], Path]) -> None:
    path = small_disk("64k") / "best.safetensors"
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoints.save(nn.Linear(1000, 1000), path)
    assert caught.value.errno == errno.ENOSPC
    assert files(path.parent) == set()


def test_another_error_keeps_its_number_and_is_no_full_disk(whole: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoints.write(snapshot(1_000_000), whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.errno not in DISK_FULL
    assert_as_before(whole)


def test_what_cannot_take_its_name_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "last.safetensors" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="Is a directory"):
        checkpoints.write(snapshot(), tmp_path / "last.safetensors")
    assert files(tmp_path) == {"last.safetensors"}


def test_tensors_that_cannot_be_written_leave_the_older_snapshot(whole: Path) -> None:
    shared = torch.zeros(10)
    with pytest.raises(RuntimeError, match="share memory"):
        checkpoints.write(Snapshot(tensors={"a": shared, "b": shared}, numbers={}), whole)
    assert_as_before(whole)


# --- what is in it


def test_a_snapshot_has_adams_state_and_not_the_frozen_weights(tmp_path: Path) -> None:
    """Three numbers for each weight that trains, none for one that does not."""
    path, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    model = nn.Sequential(nn.Linear(4, 5000), nn.Linear(5000, 2))
    frozen, trains = 4 * 5000 + 5000, 5000 * 2 + 2
    fit(
        recipe(frozen_layers=1),
        Points(64),
        (1.0,),
        model=model,
        family=Linear(),
        after_step=lambda take: checkpoints.write(take(), path),
    )
    checkpoints.save(model, best)
    found = checkpoints.read(path)
    assert found
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == {
        "model.1.weight": (2, 5000),
        "model.1.bias": (2,),
        "optimizer.0.exp_avg": (2, 5000),
        "optimizer.0.exp_avg_sq": (2, 5000),
        "optimizer.0.step": (),
        "optimizer.1.exp_avg": (2,),
        "optimizer.1.exp_avg_sq": (2,),
        "optimizer.1.step": (),
        "random.cpu": tuple(torch.get_rng_state().shape),
        "total": (),
    }
    rest = torch.get_rng_state().nbytes + 3000  # names and numbers
    assert 3 * 4 * trains < path.stat().st_size < 3 * 4 * trains + rest
    assert 4 * trains < best.stat().st_size < 4 * trains + 1000
    assert path.stat().st_size < 3 * 4 * trains + rest < 4 * (frozen + 3 * trains)


def test_trained_state_has_what_trains_and_the_buffers_beside_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    for frozen in model[:2]:
        frozen.requires_grad_(False)
    statistics = {f"3.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert set(checkpoints.trained_state(model)) == {"2.weight", "2.bias", "3.weight", "3.bias", *statistics}


def test_weights_of_another_depth_are_refused_and_change_nothing(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    checkpoints.save(model, tmp_path / "best.safetensors")
    model[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = "best.safetensors does not belong to this model: 2 tensors differ, first 0.bias"
    with pytest.raises(ValueError, match=message):
        checkpoints.load(model, tmp_path / "best.safetensors")
    assert_equal(dict(model.state_dict()), before)
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoints.load(model, tmp_path / "none.safetensors")
