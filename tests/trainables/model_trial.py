"""All that a search does with a model, in one process: plan, train at three depths, go on, export."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from frostline.spaces import Budget, Data, Recipe
from frostline.trainables import _freezing
from frostline.trainables._task import Boundary
from frostline.trainables.data.corpus import Corpus
from frostline.trainables.data.model_files import digest
from frostline.trainables.prefix import boundary, features
from frostline.trainables.prefix.boundary import Body, results_of, starting_at
from frostline.trainables.text_classification import FAMILY
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import loop, training
from tests.trainables.points import grouped


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a model."""

    blocks: int
    boundaries: tuple[int, ...]
    """Depths at which training can start."""
    body: tuple[str, ...]
    """Weights of the pretrained body that train where all blocks are frozen."""
    remarks: tuple[str, ...]


def run(folder: Path, data: Data, corpus: Corpus, out: Path) -> Outcome:
    """Try everything.

    Raises:
        ValueError: the model is refused.
        AssertionError: something of it does not hold.
    """
    info = FAMILY.describe(folder)
    entry = FAMILY.prepare(folder, data, corpus)
    boundaries, _ = boundary.survey(FAMILY.build(folder, len(corpus.classes)), FAMILY, FAMILY.open(entry, "train"))
    is_random = any("random" in text for text in info.remarks)
    depths = (0, info.blocks // 2, info.blocks)
    for depth in depths:
        model = _train(folder, entry, data, corpus, depth, out / str(depth), is_random)
    _export(model, folder, data, corpus, out / "best", is_exact=not info.remarks)
    if boundaries and not info.remarks:
        _start_at(boundaries[-1], folder, entry, data, corpus)
    body: nn.Module = model.base_model  # type: ignore[assignment]
    return Outcome(
        blocks=info.blocks,
        boundaries=tuple(b.depth for b in boundaries),
        body=tuple(name for name, p in body.named_parameters() if p.requires_grad),
        remarks=info.remarks,
    )


def _build(folder: Path, classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(0)
    model = FAMILY.build(folder, classes)
    torch.manual_seed(seed)
    FAMILY.reset_head(model)
    return model


def _recipe(folder: Path, data: Data, depth: int) -> Recipe:
    return Recipe(
        family="text_classification",
        model=str(folder),
        data=data,
        budget=Budget(trials=1, epochs=1, first_rung=1),
        learning_rate=1e-2,
        batch_size=4,
        frozen_layers=depth,
        weight_decay=0.0,
    )


def _start_at(boundary_: Boundary, folder: Path, entry: Path, data: Data, corpus: Corpus) -> None:
    """Training from the stored outputs of the frozen blocks gives the scores of training from the input."""
    splits = {split: FAMILY.open(entry, split) for split in features.SPLITS}
    wanted = features.Wanted(
        entry=entry,
        weights=digest(folder),
        boundaries=(boundary_.depth,),
        first_only=(boundary_.depth,) if boundary_.first_only else (),
        dtype="float32",
        device="cpu",
        threads=1,
        limit=1e9,
    )
    found = []
    for is_cached in (False, True):
        model, reports = _build(folder, len(corpus.classes)), list[training.Report]()
        body, own, options = Body.of(model, FAMILY), splits, grouped(at=(1.0,), to=reports.append)
        with ExitStack() as stack:
            family = FAMILY
            if is_cached:
                cached = features.prepare(body, splits, wanted, boundary_.depth)
                assert cached
                example = splits["train"].batch(np.arange(1))
                family = stack.enter_context(starting_at(body, boundary_.depth, results_of(body, example)))
                own = cached
            torch.manual_seed(1)
            loop.fit(model, family, _recipe(folder, data, boundary_.depth), own, **options)
        found.append(reports[-1].metrics["loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-3), "scores from the cache are others"


def _train(folder: Path, entry: Path, data: Data, corpus: Corpus, depth: int, out: Path, is_random: bool) -> nn.Module:
    """Two steps; and again with an end after the first one, from which another process goes on."""
    recipe = _recipe(folder, data, depth)
    splits = {split: FAMILY.open(entry, split) for split in ("train", "validation")}
    snapshot, best = out / "last.safetensors", out / "best.safetensors"

    def fit(model: nn.Module, **options: object) -> list[training.Report]:
        reports: list[training.Report] = []
        torch.manual_seed(1)
        loop.fit(model, FAMILY, recipe, splits, **grouped(at=(0.5, 1.0), to=reports.append, **options))
        return reports

    model = _build(folder, len(corpus.classes))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reports = fit(model, after_step=lambda take: checkpoints.write(take(), snapshot))
    assert reports[-1].step == 2
    frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in frozen), "a frozen weight has changed"
    assert any(not torch.equal(before[name], after[name]) for name in after), "nothing has changed"
    again = _build(folder, len(corpus.classes), seed=5)
    same = fit(again, resume=checkpoints.read(snapshot)) == reports[1:]
    same &= all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in after.items())
    assert same or is_random, "a training that goes on ends otherwise"
    checkpoints.save(model, best)
    other = _build(folder, len(corpus.classes), seed=9)
    _freezing.freeze(other, FAMILY.blocks(other), depth)
    checkpoints.load(other, best)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in after.items()), "a weight is not saved"
    return model


def _export(model: nn.Module, folder: Path, data: Data, corpus: Corpus, out: Path, is_exact: bool) -> None:
    """The export gives the model's probabilities, for each text alone and for all in one batch."""
    model.eval()
    texts = corpus.inputs["test"]
    examples = FAMILY.open(FAMILY.prepare(folder, data, corpus), "test")
    with torch.inference_mode():
        expected = FAMILY.logits(model, examples.batch(np.arange(len(texts)))).softmax(1)
    FAMILY.export(model, folder, data, corpus.classes, out)
    answers = FAMILY.load_export(out)(texts, top_k=None)
    alone = [[{a["label"]: a["score"] for a in answer}[name] for name in corpus.classes] for answer in answers]
    loaded = AutoModelForSequenceClassification.from_pretrained(out).eval()
    inputs = AutoTokenizer.from_pretrained(out)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        together = loaded(**inputs).logits.softmax(1)
    if is_exact:
        torch.testing.assert_close(torch.tensor(alone), expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-4)
