"""Which columns of a table hold the pictures and the classes, where the space calls them otherwise."""

from collections.abc import Sequence

from frostline.spaces import Data

_CLASS = (
    *(
        "label",
        "labels",
        "class",
        "classes",
        "class_name",
        "class_label",
        "class_id",
        "target",
        "category",
        "fine_label",
    ),
    *("y", "name", "label_name", "species", "breed", "diagnosis", "tag"),
)
"""Names, in small letters, under which people keep classes, the likeliest first."""


def class_column(columns: Sequence[str], data: Data, where: str) -> str:
    """The column of classes: the space's, else one with a usual name, else the only one.

    Args:
        columns: all columns but that of the pictures.
        data: whose `label` is the space's own name.
        where: name of the table in messages.

    Raises:
        ValueError: none or several may be it.
    """
    if named := named_class_column(columns, data):
        return named
    if len(columns) == 1:
        return columns[0]
    rest = ", ".join(columns)
    raise ValueError(
        f"{where}: which column holds the classes? Beside the pictures it has {rest} (--columns IMAGE,LABEL)"
    )


def named_class_column(columns: Sequence[str], data: Data) -> str | None:
    """The column of classes, told by its name; None if no name tells it."""
    if data.label in columns:
        return data.label
    small = {column.lower().replace(" ", "_"): column for column in reversed(columns)}
    return next((small[name] for name in _CLASS if name in small), None)


def said(picture: str, label: str, data: Data, where: str) -> list[str]:
    """A sentence about the columns that were taken, where they are not those of the space."""
    if (picture, label) == (data.text, data.label):
        return []
    return [f"{where}: pictures are read from column {picture!r}, classes from {label!r}"]
