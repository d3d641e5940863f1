"""A small share of `python -m tests.bench.promises.fuzz_pictures`, with another seed than a person's."""

from tests.bench.promises import fuzz_pictures


def test_a_hundred_spoilt_pictures_are_read_or_left_out() -> None:
    row = fuzz_pictures.tried(110, seed=7)
    assert row.tried == 110
    assert not row.failures
