"""The encoding of a text file, found by reading it once."""

import codecs
import io
import re
from dataclasses import dataclass, field
from typing import IO

from frostline.trainables.data.formats.entries import Entry

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""First bytes of a file -> its encoding. UTF-32 comes first: its mark begins as that of UTF-16 does."""
_MAGIC = (
    (b"PK\3\4", "a zip"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
)
"""First bytes, in small letters where they are words, of files that people take for tables."""
_ASCII = bytes(range(128))
_FAR = (
    "cp1251",
    "koi8_r",
    "cp866",
    "cp1253",
    "cp1255",
    "cp1256",
    "cp874",
    "gb18030",
    "big5",
    "cp932",
    "euc_jp",
    "cp949",
)
"""Encodings of other scripts than the Latin one. Those of Europe's Latin letters cannot be told apart safely."""
_SAMPLE = 2**16
"""Bytes of lines with other letters than ASCII's that are enough to guess an encoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How a text file is read."""

    name: str
    """Python's name of the encoding."""
    errors: str
    """`strict`, or `replace` where the file is damaged."""
    note: str
    """What was assumed, as a sentence; empty for UTF-8."""
    escaped_quotes: bool
    r"""Whether `\"` is in the text."""

    def open(self, entry: Entry) -> IO[str]:
        """The text of a file, with its line ends as they are."""
        return io.TextIOWrapper(entry.open(), encoding=self.name, errors=self.errors, newline="")


def encoding_of(entry: Entry) -> Encoding:
    """The encoding of a file: by its first bytes, else UTF-8, else what its other bytes look like.

    Raises:
        ValueError: it is empty, or no text.
    """
    chunks = entry.chunks()
    first = next(chunks, b"")
    if not first.strip():
        raise ValueError(f"{entry.where} is empty")
    name = _marked(first)
    if name is None:
        _check_text(first, entry.where)
        name = "utf-8"
    count = _Count(name)
    count.add(first)
    for chunk in chunks:
        count.add(chunk)
    count.end()
    if not count.bad:
        note = "" if name.startswith("utf-8") else f"{entry.title} is {name.upper()}, not UTF-8"
        return Encoding(name=name, errors="strict", note=note, escaped_quotes=count.escaped)
    if name != "utf-8" or count.good > count.bad:
        note = f"{entry.title}: line {count.line} and {count.bad - 1} more places are damaged {name.upper()}"
        if count.bad == 1:
            note = f"{entry.title}: line {count.line} has a byte that is not UTF-8, read as \ufffd"
        return Encoding(name=name, errors="replace", note=note, escaped_quotes=count.escaped)
    guess = _guess(bytes(count.sample))
    note = f"{entry.title} is not UTF-8; it is read as {guess}"
    return Encoding(name=guess, errors="replace", note=note, escaped_quotes=count.escaped)


def _marked(first: bytes) -> str | None:
    """The encoding that the first bytes tell, by a mark or by zeros between the letters."""
    for mark, name in _BOMS:
        if first.startswith(mark):
            return name
    even, odd = first[0::2].count(0), first[1::2].count(0)
    if max(even, odd) > 0.2 * len(first) and min(even, odd) < 0.1 * max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _check_text(first: bytes, where: str) -> None:
    start = first[:64].lstrip()
    for magic, kind in _MAGIC:
        if start.startswith(magic) or start.lower().startswith(magic):
            raise ValueError(f"{where} cannot be read: it is {kind}")
    if first.count(0) > max(8, 0.01 * len(first)):
        raise ValueError(f"{where} cannot be read: it is no text, {first.count(0)} of its first bytes are 0")


@dataclass(slots=True)
class _Count:
    """What an encoding makes of a file's bytes."""

    name: str
    bad: int = 0
    """Bytes that are not of this encoding."""
    good: int = 0
    """Letters beyond ASCII that are of this encoding."""
    line: int = 0
    """Line of the first bad byte, from 1."""
    escaped: bool = False
    sample: bytearray = field(default_factory=bytearray)
    """Lines with bytes beyond ASCII."""
    _lines: int = 1
    _decoder: codecs.IncrementalDecoder | None = None

    def add(self, chunk: bytes, final: bool = False) -> None:
        """Take the next bytes."""
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder(self.name)()
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError:
            self._decoder.errors = "replace"
            self._decoder.setstate(state)
            text = self._decoder.decode(chunk, final)
        if self._decoder.errors == "replace":
            bad = text.count("\ufffd")
            if bad and not self.bad:
                self.line = self._lines + text.count("\n", 0, text.index("\ufffd"))
            self.bad += bad
        self._lines += text.count("\n")
        self.escaped = self.escaped or '\\"' in text
        if not chunk.isascii():
            self.good += len(text) - text.count("\ufffd") - (len(chunk) - len(chunk.translate(None, _ASCII)))
            if len(self.sample) < _SAMPLE:
                for line in chunk.splitlines():
                    if not line.isascii():
                        self.sample += line[: _SAMPLE // 4] + b"\n"
                    if len(self.sample) >= _SAMPLE:
                        break

    def end(self) -> None:
        """Take the end of the file."""
        self.add(b"", final=True)


def _guess(sample: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8: Western Europe's, unless they stand in rows of several."""
    from charset_normalizer import from_bytes

    runs = re.findall(b"[\x80-\xff]+", sample)
    if len(b"".join(runs)) < 2 * len(runs):  # letters with accents among those of ASCII
        return "cp1252"
    for name in ("cp932", "euc_jp"):
        text = sample.decode(name, "replace")
        if len(re.findall("[\u3041-\u30fa]", text)) > 0.2 * len(re.findall("[^\x00-\x7f]", text)):
            return name  # Japanese in the encoding of another script has none of its syllables
    best = from_bytes(sample, cp_isolation=list(_FAR)).best()
    return "cp1252" if best is None else str(best.encoding)
