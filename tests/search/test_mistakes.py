import errno
from pathlib import Path

import pytest

from frostline.search.mistakes import one_line, one_line_each


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a mistake", "a mistake"),
        ("one\ntwo \r\n\n  three\u2028four\n", "one two three four"),
        ("\x1b[31mred\x07 \udcff a\tb ü 漢", r"\x1b[31mred\x07 \udcff a\tb ü 漢"),
        ("no " + "n" * 999, "no " + "n" * 999),
        ("no " + "n" * 5000 + " file", "no " + "n" * 100 + "..." + "n" * 100 + " file"),
        ("", ""),
    ],
)
def test_a_message_is_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_path_that_cannot_be_opened_is_a_mistake_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for do, said in (
        (lambda: (tmp_path / ("n" * 300)).stat(), "File name too long"),
        (lambda: (tmp_path / "/".join(["d" * 200] * 30)).exists(), "File name too long"),
        (lambda: (tmp_path / "loop").open(), f"{tmp_path}/loop: Too many levels of symbolic links"),
        (lambda: (tmp_path / "loop").resolve(), f"{tmp_path}/loop: Too many levels of symbolic links"),
        (lambda: (tmp_path / "file" / "x").open(), f"{tmp_path}/file/x: Not a directory"),
        (lambda: tmp_path.open(), f"{tmp_path}: Is a directory"),
        (lambda: (tmp_path / "\udcff\n").stat(), f"{tmp_path}/\\udcff : No such file"),
        (lambda: int("one\ntwo"), "one"),
    ):
        with pytest.raises(ValueError) as mistake, one_line_each():
            do()
        assert said in str(mistake.value)
        assert str(mistake.value).isprintable()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device", "/a"), OSError(errno.EIO, "I/O error"), RuntimeError("a bug")],
)
def test_a_full_disk_and_a_bug_are_no_mistakes_of_the_user(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, one_line_each():
        raise error
    assert raised.value is error
