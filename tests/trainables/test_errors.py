import pytest

from frostline.trainables import _errors


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (RuntimeError("one line"), "one line", "one line"),
        (
            RuntimeError("\nCUDA error: 700\nthe last line \n"),
            "CUDA error: 700",
            "the last line",
        ),
        (RuntimeError("sizes differ:\n\tof a\n\tof b"), "sizes differ: of a", "\tof b"),
        (RuntimeError(), "RuntimeError", "RuntimeError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
        (KeyError("x"), "'x'", "'x'"),
    ],
)
def test_an_error_is_one_line(error: Exception, first: str, last: str) -> None:
    assert (_errors.first_line(error), _errors.last_line(error)) == (first, last)
