import pytest

from frostline.trainables.data.rows import Rows, complete

COLUMNS = ("text", "label")


def _rows(*pairs: tuple[str | None, str | None]) -> Rows:
    return Rows(inputs=[text for text, _ in pairs], labels=[label for _, label in pairs])


def test_rows_without_an_input_or_a_label_are_left_out_and_counted() -> None:
    rows = _rows(("a", "0"), (None, "1"), ("b", None), ("  ", None), (" c ", "nan"), ("d", ""))
    whole = complete({"train": rows}, "data set d", COLUMNS)
    assert (whole.rows["train"].inputs, whole.rows["train"].labels) == (["a", "c", "d"], ["0", "nan", ""])
    assert (whole.without_input, whole.without_label, whole.set_aside) == (2, 1, 0)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("column", COLUMNS)
def test_over_half_is_refused(split: str, column: str) -> None:
    lacking = (None, "0") if column == "text" else ("a", None)
    half = _rows(*[lacking] * 2, *[("a", "0")] * 2)
    assert len(complete({split: half}, "data set d", COLUMNS).rows[split].labels) == 2
    with pytest.raises(ValueError, match=rf"^data set d: 3 of the 5 {split} rows have no {column};"):
        complete({split: _rows(*[lacking] * 3, *[("a", "0")] * 2)}, "data set d", COLUMNS)


def test_a_test_split_without_labels_is_set_aside() -> None:
    none, some = _rows(("a", None), ("b", None)), _rows(("c", "0"), ("d", "1"))
    whole = complete({"train": some, "test": none}, "data set d", COLUMNS)
    assert (set(whole.rows), whole.set_aside) == ({"train"}, 2)
    with pytest.raises(ValueError, match="2 of the 2 validation rows have no label"):
        complete({"train": some, "validation": none}, "data set d", COLUMNS)


def test_groups_stay_with_their_rows() -> None:
    rows = Rows(inputs=["a", "b", "c"], labels=["0", None, "1"], groups=["x", "y", None])
    assert complete({"train": rows}, "data set d", COLUMNS).rows["train"].groups == ["x", None]
