"""Folders of data with links, pipes and other people's leftovers in them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.trainables.data.folders import check_file, files_below, folders_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/more/2.png", "dog/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files_below(root)]


def test_files_and_folders_by_name(tree: Path) -> None:
    assert names(tree) == ["cat/1.png", "cat/more/2.png", "dog/3.png"]
    assert [path.name for path in folders_in(tree)] == ["cat", "dog"]


def leave_checkpoints(tree: Path) -> None:
    for folder in (tree, tree / "cat"):
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints" / "1-checkpoint.png").write_text("a copy")


def leave_a_mac(tree: Path) -> None:
    (tree / "__MACOSX" / "cat").mkdir(parents=True)
    (tree / "__MACOSX" / "cat" / "._1.png").write_text("x")
    (tree / ".DS_Store").write_text("x")


def leave_a_hidden_pipe(tree: Path) -> None:
    os.mkfifo(tree / ".monitor")


def link_to_the_top(tree: Path) -> None:
    (tree / "cat" / "top").symlink_to(tree)


def link_to_itself(tree: Path) -> None:
    (tree / "cat" / "here").symlink_to(tree / "cat" / "here")
    (tree / "cat" / "here").unlink()
    (tree / "cat" / "self").symlink_to(".")


def link_each_folder_to_each(tree: Path) -> None:
    """Without a memory of folders there are more ways through them than a machine can walk."""
    folders = [tree / "dog" / f"{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
        for number, other in enumerate(folders):
            (folder / f"to-{number}").symlink_to(other)


LEFTOVERS = [
    leave_checkpoints,
    leave_a_mac,
    leave_a_hidden_pipe,
    link_to_the_top,
    link_to_itself,
    link_each_folder_to_each,
]


@pytest.mark.parametrize("leave", LEFTOVERS)
def test_leftovers_and_circles_do_not_matter(leave: Callable[[Path], None], tree: Path) -> None:
    leave(tree)
    assert names(tree) == ["cat/1.png", "cat/more/2.png", "dog/3.png"]
    assert [path.name for path in folders_in(tree)] == ["cat", "dog"]


def make_a_pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_a_socket(path: Path) -> None:
    here = os.getcwd()  # noqa: PTH109 - a socket's path has at most 107 bytes
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize("make", [make_a_pipe, link_to_a_device, make_a_socket])
def test_a_pipe_a_device_and_a_socket_are_refused(make: Callable[[Path], None], tree: Path) -> None:
    make(tree / "cat" / "4.png")
    with pytest.raises(ValueError, match=r"^.*4\.png is a pipe, a socket or a device, not a file$"):
        files_below(tree)


def test_a_link_that_leads_nowhere_stays_in_the_list(tree: Path) -> None:
    """Whether it is left out or refused is for the reader to decide."""
    (tree / "dog" / "4.png").symlink_to("missing.png")
    (tree / "dog" / "5.png").symlink_to("5.png")
    assert names(tree)[-2:] == ["dog/4.png", "dog/5.png"]
    check_file(tree / "dog" / "5.png")
