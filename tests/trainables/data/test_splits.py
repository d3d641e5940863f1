import pytest

from frostline.trainables.data.splits import chosen, split_of

NAMES = {
    "train": ["train", "Train", "TRAIN", "training", "train-00000-of-00002", "reviews_train", "train_2", "train2017"],
    "validation": ["dev", "valid", "val", "eval", "Validation", "DEV", "validation_matched", "dev-1", "val2017"],
    "test": ["test", "TEST", "holdout", "Hold-Out", "held_out", "test_matched", "IMDBTest", "reviews.test", "test (1)"],
    None: ["unsupervised", "validation_mismatched", "test_mismatched", "train_test", "latest", "contest", "devices"],
}
SETS = ["trainset", "train_set", "trainSet", "TrainingSet", "train set"]
NO_NAMES = ["", "00001", "data", "reviews", "extra", "train_extra", "détest", "unlabeled_train", "set"]
CASES = [
    *((name, split) for split, names in NAMES.items() for name in names),
    *((name, "train") for name in SETS),
    *((name, None) for name in NO_NAMES),
]


@pytest.mark.parametrize(("name", "split"), CASES)
def test_the_split_that_a_name_tells(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "dev", "test"], {"train": "train", "validation": "dev", "test": "test"}),
        (["train", "test", "unsupervised"], {"train": "train", "test": "test"}),
        (["train", "dev", "validation"], {"train": "train", "validation": "validation"}),
        (
            ["train", "validation_mismatched", "validation_matched", "test_matched"],
            {"train": "train", "validation": "validation_matched", "test": "test_matched"},
        ),
        (["train_r1", "train_r2", "dev_r1", "dev_r2"], {"train": "train_r1", "validation": "dev_r1"}),
        (["Train", "HoldOut"], {"train": "Train", "test": "HoldOut"}),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_one_name_for_each_split(names: list[str], splits: dict[str, str]) -> None:
    assert chosen(names) == splits
