"""A tree of texts by class: `pos/*.txt` and `neg/*.txt`, or `train/pos/*.txt` and so on."""

from collections.abc import Sequence

from frostline.trainables.data.formats.encoding import encoding_of
from frostline.trainables.data.formats.entries import Entry
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.splits import split_of


def classes_of(entries: Sequence[Entry]) -> dict[str | None, dict[str, list[Entry]]]:
    """The texts of each class of each split. The split is None where no folder tells one.

    Files at the top, and beside the folders of the classes, belong to no class.
    """
    tree: dict[str | None, dict[str, list[Entry]]] = {}
    common = _common([entry.folders for entry in entries])
    for entry in entries:
        folders = entry.folders[common:]
        split = next((split for split in map(split_of, folders) if split), None)
        inner = [number for number, name in enumerate(folders) if split_of(name)]
        below = folders[inner[-1] + 1 :] if inner else folders
        if below and entry.format in {"", ".txt"}:
            tree.setdefault(split, {}).setdefault(below[0], []).append(entry)
    return tree


def _common(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders all files lie in, without those that tell a split."""
    count = 0
    for names in zip(*paths, strict=False):
        if len(set(names)) > 1 or split_of(names[0]):
            break
        count += 1
    return count


def read(classes: dict[str, list[Entry]]) -> Rows:
    """One row a file, class by class.

    Raises:
        ValueError: a file is no text.
    """
    inputs, labels, odd = list[str | None](), list[str | None](), list[str]()
    for name, entries in sorted(classes.items()):
        for entry in entries:
            try:
                raw = b"".join(entry.chunks())
                text = raw.decode("utf-8-sig")
            except UnicodeDecodeError:
                encoding = encoding_of(entry)
                odd.append(encoding.note)
                text = raw.decode(encoding.name, encoding.errors)
            inputs.append(text if text.strip() else None)
            labels.append(name)
    more = f" (and {len(odd) - 1} more files)" if len(odd) > 1 else ""
    return Rows(inputs=inputs, labels=labels, notes=(odd[0] + more,) if odd else ())
