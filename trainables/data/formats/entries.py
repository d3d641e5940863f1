"""Files of a data set: on disk or in a zip, compressed or not."""

import bz2
import dataclasses
import gzip
import lzma
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from frostline.trainables.data.formats.wanted import visible

_ROOM = 2**26
"""Bytes that a small compressed file may hold."""
_GROWTH = 100
"""How many times its own size a larger one may hold. Text compresses to a tenth; copies of one text to nothing."""
_CHUNK = 2**20


def _open_zst(file: IO[bytes]) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")


_OPENERS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}
"""Ending of a compressed file -> its reader."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a data set."""

    path: Path
    """The file on disk, or the zip that holds it."""
    name: str
    """With the folders in which it lies, without those of the data set itself."""
    where: str
    """The data set and the file, as they begin a message."""
    member: str | None = None
    """Its name in the zip."""

    @property
    def title(self) -> str:
        """Its name in messages."""
        return visible(self.name)

    @property
    def packing(self) -> str:
        """The ending of its compression; empty if it has none."""
        ending = PurePosixPath(self.name).suffix.lower()
        return ending if ending in _OPENERS else ""

    @property
    def _plain(self) -> PurePosixPath:
        return PurePosixPath(self.name[: len(self.name) - len(self.packing)])

    @property
    def format(self) -> str:
        """The ending that tells the format, in small letters: `.csv` of `Train.CSV.gz`."""
        return self._plain.suffix.lower()

    @property
    def stem(self) -> str:
        """Its name without folders and endings."""
        return self._plain.stem

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders in which it lies, from the outermost on."""
        return self._plain.parent.parts

    def open(self) -> Any:
        """Its bytes without compression, as a binary stream."""
        if self.member is None:
            file: Any = self.path.open("rb")
        else:
            file = zipfile.ZipFile(self.path).open(self.member)  # noqa: SIM115
        return _OPENERS[self.packing](file) if self.packing else file

    def chunks(self) -> Iterator[bytes]:
        """Its bytes without compression, a megabyte each.

        Raises:
            ValueError: they are far more than the compressed file tells.
        """
        if self.member is None and not self.packing:
            with self.open() as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            return
        size, total = self._packed_size(), 0
        with self.open() as file:
            while chunk := file.read(_CHUNK):
                total += len(chunk)
                check_growth(size, total, self.where)
                yield chunk

    def _packed_size(self) -> int:
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).compress_size

    def source(self) -> Any:
        """What pyarrow and openpyxl open: the path of a file on disk, else its bytes."""
        import io

        if self.member is None and not self.packing:
            return str(self.path)
        return io.BytesIO(b"".join(self.chunks()))


def check_growth(packed: int, total: int, where: str) -> None:
    """Refuse a compressed file that holds far more than its size tells.

    Raises:
        ValueError: it does.
    """
    if total > max(_ROOM, _GROWTH * packed):
        raise ValueError(f"{where} cannot be read: its {packed} bytes hold over {total // 10**6} MB")


def in_zip(entry: Entry) -> list[Entry]:
    """The files in a zip, without hidden ones and those that a Mac adds.

    Raises:
        zipfile.BadZipFile: no zip, or a damaged one.
    """
    with zipfile.ZipFile(entry.path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    members = []
    for info in sorted(infos, key=lambda info: info.filename):
        parts = PurePosixPath(info.filename).parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            name = "/".join((entry.name.removesuffix(PurePosixPath(entry.name).suffix), *parts))
            where = f"{entry.where}: {visible(info.filename)}"
            members.append(dataclasses.replace(entry, name=name, where=where, member=info.filename))
    return members
