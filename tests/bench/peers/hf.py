"""The training script that S, R, O and Y share: one Hugging Face `Trainer` per recipe.

Follows https://huggingface.co/docs/transformers/training (`padding="max_length"`, `eval_strategy="epoch"`,
`compute_metrics`) and, for the variant that groups by length,
https://huggingface.co/docs/transformers/tasks/sequence_classification (`DataCollatorWithPadding`). Tuned, it has also
what https://huggingface.co/docs/transformers/perf_train_gpu_one names: bf16 and `torch.compile`; SDPA and the fused
AdamW are what transformers takes by itself.
Kinder to the peers than those pages: tokenising is done, nothing but (on a user's own data) the best weights so far is
saved, no progress bar is drawn. Warm-up,
clipping and the linear schedule are those of our recipes, so that the scores can be compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from tests.bench.job import Job, read_reports

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

OnScore = Callable[[float, float], None]
"""Called with epoch and validation accuracy; may raise to end the trial."""


def load_split(job: Job, split: str, pad_to: int | None) -> datasets.Dataset:
    """Token ids as a tokenizer would give them: `pad_to` tokens each, or as they are where it is None."""
    tokens, offsets, labels = (
        np.load(Path(job.data) / f"{split}-{n}.npy", allow_pickle=False) for n in ("tokens", "offsets", "labels")
    )
    pad = int(np.load(Path(job.data) / "pad.npy", allow_pickle=False)[0])
    rows, masks = [], []
    for start, stop in itertools.pairwise(offsets):
        row = tokens[start:stop].tolist()
        fill = 0 if pad_to is None else pad_to - len(row)
        rows.append(row + [pad] * fill)
        masks.append([1] * len(row) + [0] * fill)
    return datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": masks, "labels": labels.tolist()})


def freeze(model: Any, depth: int) -> None:
    """Fix the embeddings and then layer after layer, as the forum's answers do: by `requires_grad`."""
    body = model.base_model
    for part in [body.embeddings, *body.encoder.layer][:depth]:
        for parameter in part.parameters():
            parameter.requires_grad = False


class _Tell(TrainerCallback):
    def __init__(self, job: Job, recipe: Mapping[str, Any], on_score: OnScore) -> None:
        self._job, self._recipe, self._on_score = job, recipe, on_score

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], model: Any, **_: Any
    ) -> None:
        epoch, score = round(float(state.epoch), 6), metrics["eval_accuracy"]
        # A score that has been told has its weights on disk.
        if self._job.keep and score > max((report.accuracy for report in read_reports(self._job)), default=-1.0):
            model.save_pretrained(self._job.kept(self._recipe, epoch))
        self._on_score(epoch, score)


def accuracy(prediction: Any) -> dict[str, float]:
    """The argument of `compute_metrics`."""
    logits, labels = prediction
    return {"accuracy": float((np.argmax(logits, axis=-1) == labels).mean())}


def build(job: Job, recipe: Mapping[str, Any], on_score: OnScore, tuned: bool = False) -> Trainer:
    """A `Trainer` for one recipe; `.train()` trains it to its end.

    Args:
        job: what is trained on.
        recipe: how.
        on_score: is told.
        tuned: with what the documentation has for one GPU; nothing of it is for a CPU.
    """
    tuned = tuned and torch.cuda.is_available()
    transformers.set_seed(job.seed)  # the new head
    model = AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=2, trust_remote_code=False)
    freeze(model, recipe["frozen_layers"])
    pad_to = None if job.by_length else job.length
    arguments = TrainingArguments(
        output_dir=str(Path(job.scratch) / "trainer"),
        learning_rate=recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
        per_device_train_batch_size=recipe["batch_size"],
        num_train_epochs=job.epochs,
        # Below 1 a share of all steps; `warmup_ratio` is gone in transformers 5. The default training has none.
        warmup_steps=0 if job.system == "D" else 0.1,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=tuned,
        torch_compile=tuned,
        per_device_eval_batch_size=128 if tuned else 8,
        # transformers 5 has no `group_by_length=True` any more.
        train_sampling_strategy="group_by_length" if job.by_length else "random",
        seed=job.seed,
    )
    tokenizer = AutoTokenizer.from_pretrained(job.model, trust_remote_code=False)
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=load_split(job, "train", pad_to),
        eval_dataset=load_split(job, "validation", pad_to),
        data_collator=DataCollatorWithPadding(tokenizer) if job.by_length else default_data_collator,
        compute_metrics=accuracy,
        callbacks=[_Tell(job, recipe, on_score)],
    )
