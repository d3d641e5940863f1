"""Which held-out rows is a model right about? Asked after a run, so that it costs the system no time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.own_data.rows import OwnData, read

FITTED, ANSWERS = "fitted.json", "answers.json"
"""Files of scikit-learn's scripts: the moment at which the model was there, and its answers."""

_BATCH = 32


def digits(answers: Sequence[Any], labels: Sequence[Any]) -> str:
    """A digit for each row: 1 where the answer is the label, else 0.

    Raises:
        ValueError: not as many answers as labels.
    """
    return "".join(str(int(answer == label)) for answer, label in zip(answers, labels, strict=True))


def of_script(folder: Path, data: OwnData) -> tuple[float, str] | None:
    """When scikit-learn's model was there (seconds since 1970), and its digits; None where it was not."""
    if not (folder / FITTED).exists():
        return None
    answers = json.loads((folder / ANSWERS).read_text())
    return json.loads((folder / FITTED).read_text()), digits(answers, read(data.test)[1])


def of_export(folder: Path, data: OwnData) -> str:
    """The digits of Frostline's export, which is loaded as its card says and gets texts."""
    import frostline

    texts, labels = read(data.test)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    classify = frostline.load(folder)
    found = classify([texts[number] for number in order], batch_size=_BATCH)
    answers = {number: answer["label"] for number, answer in zip(order, found, strict=True)}
    return digits([answers[number] for number in range(len(texts))], labels)


def of_weights(folder: Path, data: OwnData) -> str:
    """The digits of weights that a peer has kept, on the token ids of the benchmark."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification

    tokens, offsets, labels = (
        np.load(Path(data.tokens) / f"test-{part}.npy", allow_pickle=False) for part in ("tokens", "offsets", "labels")
    )
    pad = int(np.load(Path(data.tokens) / "pad.npy", allow_pickle=False)[0])
    rows = [torch.from_numpy(tokens[start:stop]).long() for start, stop in itertools.pairwise(offsets)]
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False).eval()
    answers = [0] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            numbers = order[start : start + _BATCH]
            some = [rows[number] for number in numbers]
            ids, mask = (
                torch.nn.utils.rnn.pad_sequence(these, batch_first=True, padding_value=value)
                for these, value in ((some, pad), ([torch.ones_like(row) for row in some], 0))
            )
            for number, answer in zip(
                numbers, model(input_ids=ids, attention_mask=mask).logits.argmax(1).tolist(), strict=True
            ):
                answers[number] = answer
    return digits(answers, labels.tolist())
