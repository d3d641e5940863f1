"""The sizes and SHA-256 of a folder's files, listed in one of them, so that a damaged file is noticed."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

NAME = "sizes.tsv"
"""The list: name, bytes and SHA-256 of a file in each line. No loader of models reads `*.tsv`."""


def write(folder: Path, but: Collection[str] = ()) -> None:
    """List all files below a folder, except those named in `but`."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{name}\t{(folder / name).stat().st_size}\t{_sha256(folder / name)}\n"
        for name in names
        if name not in {NAME, *but}
    ]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def damage(folder: Path, thorough: bool = True) -> str:
    """Why a folder is not as it was listed, in words; empty if it is.

    Args:
        folder: the folder.
        thorough: whether to read all files. Otherwise only their sizes are compared.
    """
    try:
        listed = list(_listed(folder))
    except (OSError, ValueError):
        return f"its {NAME} is missing or damaged"
    for name, size, sha256 in listed:
        file = folder / name
        try:
            if not file.is_file() or file.stat().st_size != size or (thorough and _sha256(file) != sha256):
                return f"{name} is damaged"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return "" if listed else f"its {NAME} lists nothing"


def check(folder: Path) -> None:
    """Refuse a folder with a damaged file; one without a list passes.

    Raises:
        ValueError: a file is not as it was listed.
    """
    if (folder / NAME).is_file() and (problem := damage(folder)):
        raise ValueError(
            f"{folder}: {problem}: --resume exports the model again (if the change is yours, remove {NAME})"
        )


def _listed(folder: Path) -> Iterator[tuple[str, int, str]]:
    for line in (folder / NAME).read_text(encoding="utf-8").splitlines():
        name, size, sha256 = line.split("\t")
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name} leads out of the folder")
        yield name, int(size), sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
