"""From the rows of a source to the slices of a search: one table of rows, and what becomes of them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from frostline.spaces import Data
from frostline.trainables.data.corpus import SPLITS, Corpus, cut_corpus
from frostline.trainables.data.rows import Rows

Split = Rows | Sequence[tuple[str | None, str | None]]


def rows(count: int, *labels: str | None, start: int = 0) -> list[tuple[str | None, str | None]]:
    """Different texts, whose labels take turns."""
    return [(f"text {start + number}", labels[number % len(labels)]) for number in range(count)]


def as_rows(pairs: Sequence[tuple[str | None, str | None]], **more: Any) -> Rows:
    return Rows(inputs=[text for text, _ in pairs], labels=[label for _, label in pairs], **more)


def cut(data: Data | None = None, batch: int = 1, **splits: Split) -> Corpus:
    """The slices of these rows. Each row is in a slice, left out, or unused: that is checked here."""
    given = {name: split if isinstance(split, Rows) else as_rows(split) for name, split in splits.items()}
    made = cut_corpus(data or Data(source="d"), given, batch)
    assert made.read == sum(made.sizes().values()) + sum(made.left_out.values()) + made.unused
    assert made.read == sum(len(split.labels) + len(split.skipped) for split in given.values())
    return made


HUNDRED = rows(100, "neg", "pos")
MORE = rows(40, "neg", "pos", start=100)
OTHERS = rows(200, "neg", "pos", start=300)
TWENTY = rows(20, "neg", "pos", start=700)

SOME = "some classes have no example in a slice: validation lacks "
INTENTS = [f"intent {number}" for number in range(150)]

CASES: dict[str, tuple[dict[str, Any], tuple[int, int, int], dict[str, int], tuple[str, ...]]] = {
    # What it is: rows by split -> train, validation, test; rows left out; beginnings of what is said.
    "no splits": ({"train": HUNDRED}, (80, 10, 10), {}, ("slices of fewer than 20 examples tell little: validation",)),
    "two splits": ({"train": HUNDRED, "test": MORE}, (90, 10, 40), {}, ("slices of fewer than 20",)),
    "three splits": (
        {"train": HUNDRED, "validation": MORE, "test": TWENTY},
        (100, 40, 20),
        {},
        (),
    ),
    "sizes": (
        {"data": Data(source="d", train=30, validation=20, test=20), "train": HUNDRED},
        (30, 20, 20),
        {},
        (),
    ),
    "every third label is missing": (
        {"train": rows(300, "neg", "pos", None)},
        (160, 20, 20),
        {"without a label": 100},
        (),
    ),
    "texts are missing too": (
        {"train": [*rows(250, "neg", "pos"), (None, "neg"), (" ", "pos"), ("", None)]},
        (200, 25, 25),
        {"without a text": 3},
        (),
    ),
    "a validation split lacks some labels": (
        {"train": HUNDRED, "validation": [*MORE, *rows(9, None, start=500)], "test": rows(30, "neg", "pos", start=200)},
        (100, 40, 30),
        {"without a label": 9},
        (),
    ),
    "a test split without labels (Kaggle, GLUE)": (
        {"train": rows(200, "neg", "pos"), "test": rows(50, None, start=500)},
        (160, 20, 20),
        {"of a test split without labels": 50},
        ("the test split has no labels, so its 50 rows are set aside; the test slice is cut from train",),
    ),
    "train rows that stand in test": (
        {"train": [*OTHERS, *MORE[:5]], "test": MORE},
        (180, 20, 40),
        {"duplicates": 5},
        (),
    ),
    "an official test split repeats itself": (
        {"train": OTHERS, "test": [*MORE, *MORE[:3]]},
        (180, 20, 43),
        {},
        ("the test split is scored as it is: 3 of its 43 rows repeat an input",),
    ),
    "an official test split contradicts itself": (
        {"train": OTHERS, "test": [*MORE, ("text 100", "pos")]},
        (180, 20, 41),
        {},
        ("the test split is scored as it is: 1 of its 41 rows repeat an input, and 1 of its inputs have more",),
    ),
    "a row twice": ({"train": [*rows(250, "neg", "pos"), *HUNDRED[:50]]}, (200, 25, 25), {"duplicates": 50}, ()),
    "60 texts with both labels": (
        {
            "train": [
                *rows(310, "neg", "pos"),
                *[(text, "neg") for text, _ in rows(120, "neg", "pos")[1::2]],
            ]
        },
        (200, 25, 25),
        {"with several labels for one input": 120},
        ("60 inputs occur with more than one label and are left out, such as 'text 1' as 'neg' and 'pos'",),
    ),
    "train contradicts validation": (
        {
            "train": [*OTHERS, ("text 100", "pos")],
            "validation": MORE,
            "test": TWENTY,
        },
        (200, 39, 20),
        {"with several labels for one input": 2},
        ("1 input occurs with more than one label and is left",),
    ),
    "train contradicts test": (
        {"train": [*OTHERS, ("text 100", "pos")], "test": MORE},
        (180, 20, 40),
        {"duplicates": 1},
        (),
    ),
    "labels that differ by case or spaces": (
        {"train": rows(250, "pos", "pos ", "POS", "neg", "neg")},
        (200, 25, 25),
        {},
        ("labels that differ by case or spaces only stay different classes: 'POS' (50 rows), 'pos' (50 rows), 'pos '",),
    ),
    "a class with one row": (
        {"train": [*rows(250, "neg", "pos"), ("odd", "other")]},
        (201, 25, 25),
        {},
        ("1 class has one row, too few to learn it and to measure it: 'other'",),
    ),
    "ratings in half steps": ({"train": rows(250, *(f"{step / 2}" for step in range(2, 11)))}, (200, 25, 25), {}, ()),
    "years": ({"train": rows(250, *map(str, range(1990, 2020)))}, (200, 25, 25), {}, (SOME + "6 of 30",)),
    "prices": (
        {"train": rows(450, *(str(price * price) for price in range(60)))},
        (360, 45, 45),
        {},
        (
            "the 60 classes are numbers from 0 to 3481 with gaps; a quantity, such as a price or an age, is no class",
            SOME,
        ),
    ),
    "ids of 150 intents": ({"train": rows(450, *map(str, range(150)))}, (360, 45, 45), {}, (SOME + "105 of 150",)),
    "a few dates": ({"train": rows(250, "2024-01-01", "2024-02-01")}, (200, 25, 25), {}, ()),
    "150 intents with 3 examples": (
        {"train": rows(450, *INTENTS)},
        (360, 45, 45),
        {},
        (SOME + "105 of 150",),
    ),
    "8 examples a class": (
        {"batch": 8, "train": rows(16, "neg", "pos")},
        (14, 1, 1),
        {},
        (
            "slices of fewer than 20 examples tell little: train has 14, validation has 1, test has 1",
            SOME + "1 of 2",
        ),
    ),
    "names that are numbers with a zero": ({"train": rows(250, "01", "1", "02", "10")}, (200, 25, 25), {}, ()),
    "pictures that cannot be read": (
        {"train": as_rows(HUNDRED, skipped=("a.png", "b.png"))},
        (80, 10, 10),
        {"unreadable": 2},
        ("slices of",),
    ),
    "a reader has something to say": (
        {"train": as_rows(HUNDRED, notes=("d is read as cp1252",))},
        (80, 10, 10),
        {},
        ("d is read as cp1252", "slices of"),
    ),
}


@pytest.mark.parametrize(("given", "sizes", "left_out", "notes"), CASES.values(), ids=CASES)
def test_rows_become_slices(
    given: dict[str, Any], sizes: tuple[int, int, int], left_out: dict[str, int], notes: tuple[str, ...]
) -> None:
    made = cut(**given)
    assert (tuple(made.sizes()[split] for split in SPLITS), made.left_out) == (sizes, left_out)
    assert len(made.notes) == len(notes), made.notes
    for note, start in zip(made.notes, notes, strict=True):
        assert note.startswith(start)
    assert all(note.isprintable() for note in made.notes)
    trained = {*made.inputs["train"], *made.inputs["validation"]}
    assert not trained & {*made.inputs["test"]}
    assert len(trained) == len(made.inputs["train"]) + len(made.inputs["validation"])


FLOATS = [f"{number / 1000:.3f}" for number in range(200)]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "over half without a label": (
        {"train": rows(30, "neg", None, None, "pos", None)},
        "18 of the 30 train rows have no label",
    ),
    "a validation split without labels": (
        {"train": HUNDRED, "validation": rows(10, None, start=500)},
        "10 of the 10 validation rows have no label",
    ),
    "no label at all": ({"train": rows(30, None)}, "30 of the 30 train rows have no label; each row needs both"),
    "validation stands in test": (
        {"train": HUNDRED, "validation": MORE, "test": MORE},
        "all 40 rows of validation stand in test as well; give rows of its own, or leave it away",
    ),
    "train stands in test": ({"train": MORE, "test": MORE}, "all 40 rows of train stand in test as well; give rows"),
    "train stands in both": (
        {"train": MORE, "validation": MORE[:20], "test": MORE[20:]},
        "all 40 rows of train stand in test or validation as well",
    ),
    "validation contradicts train": (
        {"train": [*OTHERS, *MORE[1:]], "validation": [(text, "pos" if x == "neg" else "neg") for text, x in MORE[1:]]},
        "all 39 rows of validation stand elsewhere, with another label; give rows",
    ),
    "all texts have both labels": ({"train": [*rows(60, "neg"), *rows(60, "pos")]}, "120 of 120 rows have an input"),
    "most texts have several labels": (
        {"train": [*rows(60, "neg"), *rows(60, "pos"), *rows(30, "neg", start=200)]},
        "120 of 150 rows have an input that occurs with another label too, such as 'text 0' as 'neg' and 'pos'; class",
    ),
    "one class": ({"train": rows(30, "pos")}, "has one class only ('pos'); classification needs two"),
    "a real number": (
        {"train": rows(400, *FLOATS)},
        "holds 200 different numbers in 400 rows, such as 0.000; a quantity",
    ),
    "similarities of STS-B": (
        {"train": rows(5000, *(f"{number / 10}" for number in range(51)))},
        "51 different numbers in 5,000 rows",
    ),
    "numbers with a comma": (
        {"train": rows(400, *(text.replace(".", ",") for text in FLOATS))},
        "different numbers in",
    ),
    "ids": (
        {"train": rows(60, *map(str, range(60)))},
        "holds 60 different values in 60 rows, such as 0; an id, a name",
    ),
    "nearly all labels differ": (
        {"train": rows(60, *(f"n{number}" for number in range(45)))},
        "45 different values in 60",
    ),
    "texts as labels": (
        {"train": rows(60, *("long text " * 20 + str(number) for number in range(60)))},
        "such as long text long text long text long text ; an id",
    ),
    "dates": (
        {"train": rows(400, *(f"2024-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(200)))},
        "200 different dates in",
    ),
    "times": ({"train": rows(400, *(f"2024-01-01 10:{n:02}:00" for n in range(60)))}, "60 different dates in 400 rows"),
    "lists": (
        {"train": rows(60, '["a", "b"]', "['a']", "[]")},
        "3 different lists or objects",
    ),
    "one-hot lists": ({"train": rows(60, "[0, 1]", "[1, 0]")}, "holds 2 different lists or objects in 60 rows"),
    "structs": ({"train": rows(60, '{"name": "a"}', "{'name': 'b'}")}, "lists or objects in 60 rows"),
    "labels that validation writes otherwise": (
        {"train": HUNDRED, "validation": rows(30, "Negative", "Positive", start=200)},
        "30 of the 30 validation rows have a class that train lacks, such as 'Negative'; train has 'neg', 'pos'",
    ),
    "fewer rows than a batch": (
        {"batch": 32, "train": rows(20, "a", "b")},
        "leaves 16 training rows, fewer than a batch of 32",
    ),
    "no rows to cut from": ({"train": rows(2, "a", "b")}, "d has 2 different training rows; the slices need 2 for"),
    "groups without a column": (
        {"data": Data(source="d", group="user"), "train": HUNDRED},
        "--group user: data set d has no",
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_rows_are_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        cut(**given)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


# --- groups -----------------------------------------------------------------------------------------


def grouped(groups: Sequence[str | None], label: Callable[[int], str] = lambda i: "pn"[i % 2], start: int = 0) -> Rows:
    texts = [f"text {start + number}" for number in range(len(groups))]
    return Rows(inputs=texts, labels=[label(number) for number in range(len(groups))], groups=list(groups))


BY_USER = Data(source="d", group="user")

GROUPS: dict[str, tuple[list[str | None], tuple[int, int, int]]] = {
    # Group of each row -> the least of train, validation and test.
    "100 users with 10 rows each": ([f"u{i // 10}" for i in range(1000)], (760, 80, 80)),
    "users with 1 to 40 rows": ([f"u{i}" for i in range(41) for _ in range(i)], (600, 60, 60)),
    "one user wrote half of all": ([*["u"] * 500, *(f"u{i // 5}" for i in range(500))], (760, 80, 80)),
    "three users": ([f"u{i // 30}" for i in range(90)], (30, 30, 30)),
    "some rows have no user": ([None if i % 4 == 0 else f"u{i // 10}" for i in range(400)], (300, 30, 30)),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("groups", "least"), GROUPS.values(), ids=GROUPS)
def test_rows_of_one_group_are_in_one_slice(groups: list[str | None], least: tuple[int, int, int], seed: int) -> None:
    made = cut(Data(source="d", group="user", seed=seed), train=grouped(groups))
    group_of = dict(zip((f"text {number}" for number in range(len(groups))), groups, strict=True))
    users = {split: {group_of[text] for text in made.inputs[split]} - {None} for split in SPLITS}
    assert not (
        users["train"] & users["validation"] or users["train"] & users["test"] or users["validation"] & users["test"]
    )
    assert all(made.sizes()[split] >= size for split, size in zip(SPLITS, least, strict=True)), made.sizes()
    for split in SPLITS:
        assert abs(float(made.labels[split].mean()) - 0.5) < 0.1, "the class shares stay near"
    without = sum(group is None for group in groups)
    assert any(f"{without} rows have no 'user'" in note for note in made.notes) is bool(without)


def test_a_slice_of_groups_has_no_more_rows_than_asked_for() -> None:
    data = Data(source="d", group="user", train=300, validation=50, test=60)
    made = cut(data, train=grouped([f"u{i // 7}" for i in range(1000)]))
    assert made.sizes()["train"] == 300
    assert 40 <= made.sizes()["validation"] <= 50
    assert 50 <= made.sizes()["test"] <= 60


def test_official_splits_that_share_groups_stay_as_they_are() -> None:
    train, test = grouped([f"u{i // 10}" for i in range(200)]), grouped(["u3", "u4", "v"] * 10, start=500)
    made = cut(BY_USER, train=train, test=test)
    assert made.sizes()["test"] == 30
    assert (
        "the source's own splits train and test share 2 values of 'user', such as 'u3'; they stay as they are"
        in made.notes
    )


@pytest.mark.parametrize(("users", "have"), [(1, "one value"), (2, "2 different values")])
def test_too_few_groups(users: int, have: str) -> None:
    with pytest.raises(ValueError, match=f"--group user: it has {have}, and test, train, validation need a group each"):
        cut(BY_USER, train=grouped([f"u{i % users}" for i in range(60)]))
