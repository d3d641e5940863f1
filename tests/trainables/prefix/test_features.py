"""The frozen-prefix cache: same scores with and without it, never a stale entry, shared, and bounded in size."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from frostline.trainables import _family
from frostline.trainables.prefix import boundary, features, store
from frostline.trainables.prefix.boundary import Body, results_of, starting_at, survey
from frostline.trainables.prefix.features import Wanted
from frostline.trainables.training import evaluation, loop, training
from tests.trainables.points import CPU, grouped
from tests.trainables.test_contract import Case


@pytest.fixture(scope="module", params=_family.names())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(f"features-{request.param}"))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for this test alone."""
    monkeypatch.setattr(store, "root", lambda: tmp_path / "features")
    return tmp_path / "features"


def wanted(case: Case, **changes: Any) -> Wanted:
    """All boundaries of the tiny model."""
    boundaries, _ = look(case)
    fields: dict[str, Any] = {
        "entry": case.entry,
        "weights": "abc",
        "boundaries": tuple(b.depth for b in boundaries),
        "first_only": tuple(b.depth for b in boundaries if b.first_only),
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "limit": 1e9,
    }
    return Wanted(**{**fields, **changes})


def look(case: Case) -> tuple[list[Any], bool]:
    return survey(case.build(), case.family, case.family.open(case.entry, "train"))


def prepare(
    case: Case, cache: Wanted, depth: int, model: nn.Module | None = None
) -> dict[str, _family.Examples] | None:
    """The splits of the case with their features, made by a new model if none is given."""
    return features.prepare(Body.of(model or case.build(), case.family), splits(case), cache, depth)


def started(case: Case, model: nn.Module, depth: int) -> AbstractContextManager[_family.Family]:
    """The case's family on a model that starts at `depth`."""
    body = Body.of(model, case.family)
    return starting_at(body, depth, results_of(body, splits(case)["train"].batch(np.arange(1))))


def splits(case: Case) -> dict[str, _family.Examples]:
    return {split: case.family.open(case.entry, split) for split in features.SPLITS}


def reports(case: Case, depth: int, cache: Wanted | None, start: int = 0, **recipe: Any) -> list[training.Report]:
    """Two epochs with `depth` blocks frozen, from the input or from a boundary of the cache."""
    model, found = case.build(), list[training.Report]()
    options = grouped(at=(0.5, 1.0, 2.0), to=found.append)
    made = case.recipe(frozen_layers=depth, learning_rate=1e-3, **recipe)
    plain = splits(case)
    if cache is None:
        torch.manual_seed(0)
        loop.fit(model, case.family, made, plain, **options)
        return found
    cached = prepare(case, cache, start, model)
    assert cached
    with started(case, model, start) as family:
        torch.manual_seed(0)
        loop.fit(model, family, made, cached, **options)
    assert not any("forward" in vars(module) for module in model.modules()), "the model is as it was"
    return found


# --- equal results ---------------------------------------------------------------------------------


def test_every_boundary_of_the_tiny_model_is_found(case: Case) -> None:
    found, roomy = look(case)
    assert [b.depth for b in found] == list(range(1, case.info.blocks + 1))
    assert roomy
    assert [b.flops for b in found] == sorted(b.flops for b in found)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_with_and_without_the_cache_are_the_same(case: Case, dtype: str) -> None:
    """To rounding, from every boundary: of float32 at every depth, of float16 where the head alone trains.

    What float16 rounds off grows without bound in training that goes deeper: a batch norm or a large step amplifies it.
    """
    cache, blocks = wanted(case, dtype=dtype), case.info.blocks
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    for depth in range(1, blocks + 1) if dtype == "float32" else [blocks]:
        without = reports(case, depth, None)
        for start in (b for b in cache.boundaries if b <= depth):
            found = reports(case, depth, cache, start)
            assert [r.samples for r in found] == [r.samples for r in without]
            for with_, other in zip(found, without, strict=True):
                assert with_.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=tolerance)
                assert with_.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=tolerance)
                assert with_.metrics["accuracy"] == pytest.approx(other.metrics["accuracy"], abs=1 / 20 + 1e-9)


def test_a_frozen_block_is_not_run_at_all_behind_its_boundary(case: Case) -> None:
    model, cache = case.build(), wanted(case)
    deepest = cache.boundaries[-1]
    cached = prepare(case, cache, deepest, model)
    assert cached
    ran: list[nn.Module] = []
    for block in case.family.blocks(model):
        for part in block:
            for module in part.modules():
                if module is not part:
                    module.register_forward_pre_hook(lambda module, _: ran.append(module))
    with started(case, model, deepest) as family:
        ran.clear()
        logits, _ = evaluation.predict(model, family, cached["validation"], CPU)
    assert ran == []
    assert torch.isfinite(logits).all()


def test_where_only_the_first_token_is_read_only_that_is_stored(case: Case) -> None:
    found, _ = look(case)
    examples = case.family.open(case.entry, "train")
    for first in (b for b in found if b.first_only):
        assert first.values < max(b.values for b in found)
        cached = prepare(case, wanted(case), first.depth)
        assert cached
        assert cached["train"].batch(np.arange(3))["prefix"].shape[:2] == (3, 1)
        assert sum(len(array) for array in cached["train"]._arrays) == len(examples.labels)
        assert _family.First(cached["train"], 3).longest == 1, "as many as fit go through the head at once"


class Crossed(type(_family.load("text_classification"))):  # type: ignore[misc]
    """A model whose head also reads the output of the stem: it cannot be started after any later block."""

    def logits(self, model: nn.Module, batch: _family.Batch) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        hook = self.blocks(model)[0][-1].register_forward_hook(lambda _m, _i, result: seen.append(result))
        try:
            return super().logits(model, batch) + seen[0][:, :1, 0]
        finally:
            hook.remove()


def test_a_boundary_that_does_not_hold_is_not_offered() -> None:
    """Depth 1 is the stem itself, so it holds; behind it the stem's own output is lost."""
    case_ = Case("text_classification", _fresh())
    case_.family = Crossed()
    assert [b.depth for b in look(case_)[0]] == [1]


@pytest.mark.parametrize(
    ("name", "sizes", "blocks", "expected"),
    [
        ("vit_tiny_patch16_224", {"depth": 2}, 3, [1, 2, 3]),
        # One table of relative positions, in timm's last group, that every block reads.
        ("vit_srelpos_small_patch16_224", {"depth": 2}, 4, [1]),
        ("selecsls42", {}, 8, [1]),  # its blocks return lists of tensors
    ],
)
def test_only_boundaries_that_hold_while_the_rest_trains_are_offered(
    name: str, sizes: dict[str, int], blocks: int, expected: list[int]
) -> None:
    """Stored outputs would not follow weights that go on training."""
    model = timm.create_model(name, num_classes=3, **sizes).eval()
    model.pixel_mean, model.pixel_std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    model.pixel_is_reversed = False
    family = _family.load("image_classification")
    assert len(family.blocks(model)) == blocks
    assert [b.depth for b in survey(model, family, Noise())[0]] == expected


class Noise(_family.Examples):
    """Two pictures."""

    labels = lengths = np.ones(2, dtype=np.int64)

    def batch(self, indices: Any) -> _family.Batch:
        pixels = torch.randint(0, 255, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return {"pixels": pixels[indices], "labels": torch.zeros(len(indices), dtype=torch.int64)}


def test_numbers_that_float16_cannot_hold_are_an_error(case: Case) -> None:
    model = case.build()
    with torch.no_grad():
        for parameter in case.family.blocks(model)[0][-1].parameters():
            parameter.mul_(1e6)
    assert not survey(model, case.family, case.family.open(case.entry, "train"))[1], "auto takes float32"
    with pytest.raises(OverflowError, match="--prefix-cache float32"):
        prepare(case, wanted(case, dtype="float16", boundaries=(1,)), 1, model)


# --- never stale -----------------------------------------------------------------------------------


def _fresh() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp())


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "another model"},
        {"dtype": "float16"},
        {"device": "cuda"},
        {"threads": 2},
        {"first_only": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_settings_that_decide_the_numbers_are_in_the_key(case: Case, changes: dict[str, Any]) -> None:
    one = wanted(case, first_only=(1,))
    assert dataclasses.replace(one, **changes).folder(case.family, 1) != one.folder(case.family, 1)
    assert one.folder(case.family, 1) != one.folder(case.family, 2)


def test_vectors_of_another_pooling_have_a_key_of_their_own_and_shallower_outputs_are_shared(case: Case) -> None:
    plain = wanted(case)
    ways = [plain, *(dataclasses.replace(plain, pooled=pooling) for pooling in ("first", "mean", "both"))]
    assert len({way.folder(case.family, plain.boundaries[-1]) for way in ways}) == len(ways)
    assert len({way.folder(case.family, 1) for way in ways}) == 1


def test_other_data_or_another_size_or_preprocessing_is_another_key(case: Case, tmp_path: Path) -> None:
    """They are in the name of the prepared entry: `prepare` in the contract test shows that for each family."""
    one = wanted(case)
    folders = {one.folder(case.family, 1)}
    smaller = dataclasses.replace(case.data, max_length=8, image_size=24)
    for data, corpus in (
        (smaller, case.corpus),
        (case.data, dataclasses.replace(case.corpus, fingerprint="another")),
    ):
        entry = case.family.prepare(case.model_folder, data, corpus)
        folders.add(dataclasses.replace(one, entry=entry).folder(case.family, 1))
    # The same tokenizer but for one word, the same transform but for a standard deviation.
    other = shutil.copytree(case.model_folder, tmp_path / "other")
    for name, before, after in (("tokenizer.json", '"film"', '"movie"'), ("config.json", "0.25", "0.26")):
        if (other / name).exists():
            (other / name).write_text((other / name).read_text().replace(before, after))
    entry = case.family.prepare(other, case.data, case.corpus)
    folders.add(dataclasses.replace(one, entry=entry).folder(case.family, 1))
    assert len(folders) == 4


def test_changed_code_is_another_key(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wanted(case)
    before = one.folder(case.family, 1)

    def _shards(lengths: Any) -> list[Any]:
        return [np.argsort(lengths, kind="stable")]

    monkeypatch.setattr(features, "_shards", _shards)
    assert one.folder(case.family, 1) != before


# --- one pass, many processes ----------------------------------------------------------------------


def test_one_pass_fills_every_boundary_and_the_next_trial_none(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, model, passes = wanted(case), case.build(), list[int]()
    real = boundary.outputs
    monkeypatch.setattr(boundary, "outputs", lambda *given: passes.append(len(given[2])) or real(*given))
    monkeypatch.setattr(features, "code_version", lambda *_: "a version")
    prepare(case, cache, cache.boundaries[0], model)
    count = len(passes)
    assert set(passes) == {len(cache.boundaries)}
    for depth in cache.boundaries:
        assert prepare(case, cache, depth, model)
    assert len(passes) == count


def _fill_in_a_process(folder: Path, cache_root: Path, started: Any, work: Any, slow: float) -> None:
    torch.set_num_threads(1)
    os.environ["FROSTLINE_CACHE"] = str(cache_root)
    case = Case("text_classification", folder)
    cache, real = wanted(case), features._fill_shard

    def counted(*given: Any) -> None:
        started.set()
        time.sleep(slow)
        real(*given)
        work.put((os.getpid(), given[-1]))

    features._fill_shard = counted
    store.root = lambda: cache_root / "features"
    features._shards = shards_of_five
    prepare(case, cache, cache.boundaries[-1])


def shards_of_five(lengths: Any) -> list[Any]:
    """Many small ones."""
    order = np.argsort(lengths, kind="stable")
    return np.array_split(order, len(order) // 5)


@pytest.fixture
def processes() -> Iterator[Any]:
    """Starts `_fill_in_a_process`; all are gone afterwards."""
    context, made = multiprocessing.get_context("spawn"), []

    def start(*given: Any) -> Any:
        process = context.Process(target=_fill_in_a_process, args=given)
        made.append(process)
        process.start()
        return process

    start.context = context  # type: ignore[attr-defined]
    yield start
    for process in made:
        process.kill()
        process.join()


def test_processes_share_a_pass_and_one_that_is_killed_costs_a_shard(
    processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed while it holds a shard; the other ends with all of them, each computed once."""
    started, unheard, work = processes.context.Event(), processes.context.Event(), processes.context.Queue()
    (tmp_path / "a").mkdir()
    victim = processes(tmp_path / "a", tmp_path / "cache", started, work, 60.0)
    assert started.wait(300)
    (tmp_path / "b").mkdir()
    other = processes(tmp_path / "b", tmp_path / "cache", unheard, work, 0.0)
    deadline = time.monotonic() + 300
    done: list[tuple[int, str]] = []
    while len(done) < 15:  # all but the one that the first holds: 12 of train and 4 of validation
        assert time.monotonic() < deadline, done
        done.append(work.get(timeout=300))
    assert other.is_alive(), "it waits for the last"
    os.kill(victim.pid, signal.SIGKILL)
    done.append(work.get(timeout=300))
    other.join(300)
    assert other.exitcode == 0
    assert {pid for pid, _ in done} == {other.pid}
    assert len({name for _, name in done}) == 16
    entries = list((tmp_path / "cache" / "features").iterdir())
    assert all((entry / "key.json").exists() for entry in entries)
    assert not [path for entry in entries for path in entry.glob(".*")], "nothing half written is left"


def test_an_entry_that_was_left_half_filled_is_filled_up_and_is_the_same(case: Case, root: Path) -> None:
    cache = wanted(case)
    first = prepare(case, cache, 1)
    assert first
    before = {path: path.read_bytes() for path in root.rglob("*.npy")}
    del first
    for folder in root.iterdir():
        (folder / "key.json").unlink()
        lost = next(iter(folder.glob("*.npy")))
        lost.unlink()
        (folder / f".{lost.name}").write_bytes(b"half of it")
    assert prepare(case, cache, 1)
    assert {path: path.read_bytes() for path in root.rglob("*.npy")} == before


def test_a_damaged_entry_is_made_again(case: Case, root: Path) -> None:
    """Files cut short by a power cut, or removed by someone who cleans up."""
    cache = wanted(case)
    prepare(case, cache, 1)
    before = {path: path.read_bytes() for path in root.rglob("*.npy")}
    kept = [path for path in before if path.parent == cache.folder(case.family, 1)]
    for damage in (Path.unlink, Path.touch, lambda path: path.write_bytes(before[path][:-4])):
        for path in kept:
            path.unlink()
            path.touch()
            damage(path)
        assert prepare(case, cache, 1)
        assert {path: path.read_bytes() for path in root.rglob("*.npy")} == before


def test_a_pass_takes_fewer_examples_at_once_where_memory_runs_out(
    case: Case, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = boundary.outputs, list[int]()

    def small(body: Body, batch: _family.Batch, depths: Any) -> Any:
        sizes.append(len(batch["labels"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError
        return real(body, batch, depths)

    monkeypatch.setattr(features, "code_version", lambda *_: "a version")
    monkeypatch.setattr(boundary, "outputs", small)
    cached = prepare(case, wanted(case), 1)
    assert cached
    assert max(sizes) > 3
    assert sum(len(array) for array in cached["train"]._arrays) == cached["train"]._rows.sum()


# --- room ------------------------------------------------------------------------------------------


def test_features_beyond_the_limit_are_not_made_and_training_goes_without(case: Case, root: Path) -> None:
    assert prepare(case, wanted(case, limit=1000.0), 1) is None
    assert not list(root.rglob("*.npy"))


def test_where_not_all_boundaries_have_room_the_one_that_is_needed_is_kept(case: Case, root: Path) -> None:
    cache = wanted(case)
    prepare(case, cache, 1)
    size = sum(path.stat().st_size for path in root.rglob("*.npy"))
    shutil.rmtree(root)
    assert prepare(case, wanted(case, limit=size * 0.9), 2)
    assert [path.parent for path in root.rglob("key.json")] == [cache.folder(case.family, 2)]


def test_a_folder_that_cannot_be_written_is_no_cache(case: Case, root: Path) -> None:
    root.parent.mkdir(exist_ok=True)
    root.write_text("a file is in the way")
    assert prepare(case, wanted(case), 1) is None


def test_a_key_names_its_boundary_and_data(case: Case, root: Path) -> None:
    cache = wanted(case)
    prepare(case, cache, 1)
    keys = [json.loads((folder / "key.json").read_text()) for folder in root.iterdir()]
    assert sorted(key["boundary"] for key in keys) == list(cache.boundaries)
    assert {key["data"] for key in keys} == {case.entry.name}
