"""Validation and test rows of files beside the data set: `--validation FILE` and `--test FILE`."""

import dataclasses
from collections.abc import Callable, Mapping

from frostline.spaces import Data
from frostline.trainables.data.rows import Rows


def read_all(read: Callable[[Data], Mapping[str, Rows]], data: Data) -> dict[str, Rows]:
    """The rows of each split. Files for validation and test take the place of the source's own splits.

    Args:
        read: reads the rows of `data.source` by split.
        data: the sources.

    Raises:
        ValueError: a source that cannot be read, or a file for a split that has several splits or no label.
    """
    alone = dataclasses.replace(data, validation_source=None, test_source=None)
    rows = dict(read(alone))
    for split in ("validation", "test"):
        source = getattr(data, f"{split}_source")
        if source is None:
            continue
        given = read(dataclasses.replace(alone, source=source))
        if len(given) > 1 and split not in given:
            raise ValueError(f"--{split} {source}: it has the splits {', '.join(given)}; name one file of them")
        of_split = given[split] if split in given else next(iter(given.values()))
        if not any(label is not None for label in of_split.labels):
            raise ValueError(f"--{split} {source}: none of its {len(of_split.labels):,} rows has a {data.label}")
        if split in rows:
            count = len(rows[split].labels)
            note = f"--{split} takes the place of the {split} split in {data.source}: its {count:,} rows are not used"
            of_split = dataclasses.replace(of_split, notes=(*of_split.notes, note))
        rows[split] = of_split
    return rows
