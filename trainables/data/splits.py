"""Names of splits as people write them."""

import re
from collections.abc import Iterable, Sequence

_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout", "heldout"), "test"),
}
"""Word in small letters -> split."""

_OTHERS = {"mismatched", "unsupervised", "unlabeled", "unlabelled", "extra"}
"""Words of splits that are none of the three, whatever stands beside them: MNLI's `validation_mismatched`."""


def split_of(name: str) -> str | None:
    """The split that a name tells: `train`, `validation` or `test`; None if it tells none, or two.

    Args:
        name: name of a split, of a folder, or of a file without its endings: `dev`, `validation_matched`, `Test`,
            `reviews_train`, `train-00000-of-00002`, `val2017`, `trainSet`.
    """
    words = set(_words(name))
    splits = {_WORDS[word] for word in words if word in _WORDS}
    return splits.pop() if len(splits) == 1 and not words & _OTHERS else None


def split_of_file(stem: str, folders: Sequence[str]) -> str | None:
    """The split that the name of a file tells, else the nearest of its folders that tells one; None if none does.

    Args:
        stem: name of the file without its endings.
        folders: names of its folders inside the data set, the outermost first.
    """
    return next(filter(None, map(split_of, (stem, *reversed(folders)))), None)


def chosen(names: Iterable[str]) -> dict[str, str]:
    """The name of each split where each name is a whole split, as in a data set of the hub: split -> name.

    Of several names for one split the exact one is taken, else the one that says least beside it, else the first:
    `validation` before `validation_matched` before `dev_r1`. The other names are no splits of a search.
    """
    ranked = sorted(names, key=lambda name: (name not in _WORDS.values(), len(_words(name))))
    taken: dict[str, str] = {}
    for name in ranked:
        if split := split_of(name):
            taken.setdefault(split, name)
    return taken


def _words(name: str) -> list[str]:
    """The words of a name in small letters, without numbers. `trainSet`, `train_set` and `trainset` hold `train`."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    apart = re.sub(r"(?i)(hold|held)[-_ .]out", "holdout", apart)
    return [word.lower().removesuffix("set") for word in re.findall(r"[^\W\d_]+", apart)]
