"""Every class of transformers that classifies texts, as a tiny model: does it train, go on, load?

    python -m tests.bench.every_model --out every_model.md          # all 127 in two minutes
    python -m tests.bench.every_model deberta-v2 gpt2

A model trains two steps with nothing, half and all of its blocks frozen, goes on from a snapshot after the first step,
is exported and loaded again, and starts from stored outputs where it can. tests/trainables/test_every_model.py does the
same for some of each kind.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers

from frostline.spaces import Data
from frostline.trainables.data.corpus import Corpus
from tests import tiny
from tests.trainables import model_trial, tiny_models

_HEAD = (
    "| model type | result | blocks | starts after | trains with the head | what is said |\n|---|---|---|---|---|---|"
)


def row(kind: str, data: Data, corpus: Corpus, folder: Path) -> str:
    """What becomes of one kind of model, as a row of the table."""
    try:
        tiny_models.make(kind, folder / "model")
    except Exception as error:
        return f"| {kind} | not tried | | | | no tiny model can be made here: {_line(error)} |"
    try:
        outcome = model_trial.run(folder / "model", data, corpus, folder)
    except ValueError as error:
        if not str(error).startswith(str(folder)):
            traceback.print_exc()
            return f"| {kind} | **fails** | | | | {_line(error)} |"
        return f"| {kind} | refused | | | | {str(error).split(' ', 1)[1]} |"
    except Exception as error:
        traceback.print_exc()
        return f"| {kind} | **fails** | | | | {type(error).__name__}: {_line(error)} |"
    depths, body = ", ".join(map(str, outcome.boundaries)) or "-", ", ".join(outcome.body) or "-"
    return f"| {kind} | trains | {outcome.blocks} | {depths} | {body} | {'; '.join(outcome.remarks)} |"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def rows(kinds: Sequence[str], folder: Path) -> Iterator[str]:
    """The rows of all kinds, each as soon as it is known."""
    table = tiny.write_csv(folder / "texts.csv", tiny.rows(24))
    data = Data(source=str(table), train=8, validation=6, test=6, max_length=32)
    corpus = tiny.corpus(data, 4)
    for kind in kinds:
        yield row(kind, data, corpus, folder / kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="model types of transformers; all of them by default")
    parser.add_argument("--out", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    lines = [_HEAD]
    print(_HEAD)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FROSTLINE_CACHE"] = f"{folder}/cache"
        for line in rows(arguments.kinds or tiny_models.KINDS, Path(folder)):
            print(line, flush=True)
            lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
