"""The columns that a search needs of a table, and what is said where a table has others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST = 40
"""Characters of a name that a message shows."""
_MOST = 12
"""Names that a message shows."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


def visible(name: str) -> str:
    """A name with its hidden characters made visible."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), name)


def shown(name: str) -> str:
    """A name of a file as a message shows it: short, and with hidden characters made visible."""
    seen = visible(name)
    return seen if len(seen) <= _LONGEST else f"{seen[: _LONGEST - 3]}..."


def listed(names: Sequence[str]) -> str:
    """Names of columns as a message lists them."""
    more = [f"{len(names) - _MOST} more"] if len(names) > _MOST else []
    return ", ".join([*(shown(name) or "(no name)" for name in names[:_MOST]), *more])


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Numbers of the wanted columns in a table."""

    text: int
    label: int | None
    """None if a test split has no labels."""
    group: int | None

    @property
    def last(self) -> int:
        """The last of them."""
        return max(place for place in (self.text, self.label, self.group) if place is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Names of the columns that are read."""

    text: str
    label: str
    group: str | None = None
    label_optional: bool = False
    """Whether a table may lack the labels: a test split as Kaggle has it."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.text, self.label) if self.group is None else (self.text, self.label, self.group)

    def places(self, columns: Sequence[str], where: str) -> Places:
        """Where the wanted columns are among those of a table.

        Raises:
            ValueError: one is not there, or is there twice.
        """
        optional = self.label_optional and self.label not in columns
        for name in self.names:
            count = sum(column == name for column in columns)
            if not count and not (optional and name != self.text):
                option = "--group COLUMN" if name == self.group else "--columns TEXT,LABEL"
                raise ValueError(f"{where} has no column {shown(name)!r}; it has {listed(columns)} ({option})")
            if count > 1:
                raise ValueError(f"{where} has {count} columns called {shown(name)!r}; give each its own name")
        columns = list(columns)
        return Places(
            text=columns.index(self.text),
            label=None if optional else columns.index(self.label),
            group=None if self.group is None or self.group not in columns else columns.index(self.group),
        )

    def refusal(self, column: str, kind: str, where: str) -> ValueError:
        """The error about a column that holds lists, objects or bytes."""
        right = "text" if column == self.text else "class" if column == self.label else "name"
        return ValueError(
            f"{where}: column {shown(column)!r} holds {kind} in each row, not one {right}; "
            "name a column of texts and one of classes (--columns TEXT,LABEL)"
        )
