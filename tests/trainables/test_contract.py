"""Every family in the folder keeps the contract, on a tiny model that `tests/tiny.py` makes for it."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import frostline
from frostline.spaces import Budget, Recipe
from frostline.trainables import _family, _freezing
from frostline.trainables._family import Family
from frostline.trainables.data.batches import by_length
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import evaluation, loop, training
from frostline.trainables.vision.pictures import Picture
from frostline.trainables.vision.reading import decode
from tests import tiny
from tests.trainables.points import grouped

CPU = torch.device("cpu")


class Case:
    """A family, its tiny model, and prepared data."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.family = name, _family.load(name)
        # A new family brings its own maker: tests/tiny.py, make_<family>.
        self.model_folder, self.data = getattr(tiny, f"make_{name}")(folder)
        self.corpus = tiny.corpus(self.data, 8, self.family.read_rows)
        self.entry = self.family.prepare(self.model_folder, self.data, self.corpus)
        self.info = self.family.describe(self.model_folder)

    def build(self, seed: int = 0) -> torch.nn.Module:
        torch.manual_seed(0)
        model = self.family.build(self.model_folder, len(self.corpus.classes))
        torch.manual_seed(seed)
        self.family.reset_head(model)
        return model

    def recipe(self, **changes: Any) -> Recipe:
        fields: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8, "frozen_layers": 0, "weight_decay": 0.01}
        budget = Budget(trials=1, epochs=1, first_rung=1)
        return Recipe(family="f", model="m", data=self.data, **{"budget": budget, **fields, **changes})

    def fit(self, model: torch.nn.Module, recipe: Recipe, **options: Any) -> list[training.Report]:
        torch.manual_seed(recipe.seed)
        reports: list[training.Report] = []
        splits = {split: self.family.open(self.entry, split) for split in ("train", "validation")}
        loop.fit(model, self.family, recipe, splits, **grouped(**{"at": (1.0,), "to": reports.append, **options}))
        return reports


@pytest.fixture(scope="module", params=_family.names())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_blocks_and_head_are_the_whole_model_and_share_nothing(case: Case) -> None:
    model = case.build()
    blocks = case.family.blocks(model)
    assert len(blocks) == case.info.blocks >= 2
    parts = [part for block in blocks for part in block]
    in_blocks = [p for part in parts for p in (part.parameters() if isinstance(part, torch.nn.Module) else [part])]
    assert len({id(p) for p in in_blocks}) == len(in_blocks), "a parameter stands in two blocks"
    _freezing.freeze(model, blocks, len(blocks))
    head = [p for p in model.parameters() if p.requires_grad]
    assert head, "the head always trains"
    assert len(head) + len(in_blocks) == len(list(model.parameters()))


def test_describe_counts_what_trains_at_each_depth(case: Case) -> None:
    model = case.build()
    blocks = case.family.blocks(model)
    for depth, expected in enumerate(case.info.trainable_at):
        _freezing.freeze(model, blocks, depth)
        assert _freezing.count_trainable(model) == expected
    assert list(case.info.trainable_at) == sorted(case.info.trainable_at, reverse=True)


def test_a_depth_the_model_lacks_is_refused(case: Case) -> None:
    model = case.build()
    with pytest.raises(ValueError, match=f"0 to {case.info.blocks} for this model, got {case.info.blocks + 1}"):
        _freezing.freeze(model, case.family.blocks(model), case.info.blocks + 1)


def test_frozen_parameters_do_not_change_and_the_others_do(case: Case) -> None:
    model = case.build()
    depth = case.info.blocks - 1
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    case.fit(model, case.recipe(frozen_layers=depth))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    after = model.state_dict()
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert all(not torch.equal(before[n], p) for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1)


def test_the_same_trial_twice_is_the_same_to_the_bit(case: Case) -> None:
    runs = []
    for _ in range(2):
        model = case.build()
        runs.append((case.fit(model, case.recipe(frozen_layers=1)), model.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(tensor, runs[1][1][name]) for name, tensor in runs[0][1].items())


@pytest.mark.parametrize("step", [3, 11])
def test_interrupted_within_an_epoch_it_ends_the_same_to_the_bit(case: Case, tmp_path: Path, step: int) -> None:
    """8 steps an epoch. It goes on with another head and random state, as a fresh process does."""
    path, budget = tmp_path / "last.safetensors", Budget(trials=1, epochs=2, first_rung=1)
    recipe, points = case.recipe(frozen_layers=1, budget=budget), {"at": (0.5, 1.0, 1.6, 2.0)}
    whole, gone_on, count = case.build(), case.build(seed=9), 0

    def keep(take: training.Take) -> None:
        nonlocal count
        count += 1
        if count == step:
            checkpoints.write(take(), path)

    reports = case.fit(whole, recipe, after_step=keep, **points)
    assert {report.step for report in reports} > {8, 16}
    again = case.fit(gone_on, recipe, resume=checkpoints.read(path), **points)
    assert again == [report for report in reports if report.step > step]
    assert all(torch.equal(tensor, gone_on.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_the_head_comes_from_the_seed(case: Case) -> None:
    one, same, other = case.build(1).state_dict(), case.build(1).state_dict(), case.build(2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_batches_hold_the_requested_examples(case: Case) -> None:
    examples = case.family.open(case.entry, "validation")
    model = case.build().eval()
    order = by_length(examples.lengths, 7)
    with torch.inference_mode():
        together = case.family.logits(model, examples.batch(order[0]))
        alone = torch.cat([case.family.logits(model, examples.batch(order[0][i : i + 1])) for i in range(7)])
    assert together.shape == (7, len(case.corpus.classes))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert examples.batch(order[0])["labels"].tolist() == examples.labels[order[0]].tolist()


def test_it_scores_exactly_the_metrics_that_it_declares(case: Case) -> None:
    scores = evaluation.evaluate(case.build(), case.family, case.family.open(case.entry, "validation"), CPU)
    assert list(scores) == [metric.name for metric in case.family.metrics]
    assert [case.family.metric(name).name for name in scores] == list(scores)
    choices = ", ".join(scores)
    with pytest.raises(
        ValueError, match=f"metric 'f1_score' is not one that {case.name} reports: .*metrics are {choices}"
    ):
        case.family.metric("f1_score")


def test_its_baselines_are_scored_in_every_metric(case: Case) -> None:
    for baseline in case.family.baselines(case.corpus):
        assert set(baseline.scores) == {"validation", "test"}
        for split, scores in baseline.scores.items():
            assert list(scores) == [metric.name for metric in case.family.metrics]
            assert all(math.isfinite(value) for value in scores.values()), split


def test_its_trained_baseline_learns_from_the_training_slice(case: Case) -> None:
    baseline = case.family.trained_baseline(case.model_folder, case.data, case.corpus)
    if baseline is None:
        assert type(case.family).trained_baseline is Family.trained_baseline
        assert case.family.baseline_name == ""
        return
    assert baseline.name == case.family.baseline_name
    answers = baseline.compute(**json.loads(json.dumps(baseline.arguments)))
    assert int(answers["train"][0]) == len(case.corpus.labels["train"])
    for split in ("validation", "test"):
        labels, logits = case.corpus.labels[split], answers[split]
        assert (logits.shape, logits.dtype) == ((len(labels), len(case.corpus.classes)), np.float32)
        assert np.exp(logits).sum(1) == pytest.approx(np.ones(len(labels)), abs=1e-4)
        scores = case.family.score(torch.from_numpy(logits), torch.from_numpy(labels))
        assert list(scores) == [metric.name for metric in case.family.metrics]
        assert scores["accuracy"] > 0.8, "a class of the tiny data is easy to tell"


def test_a_checkpoint_holds_only_trained_parameters_and_restores_them(case: Case, tmp_path: Path) -> None:
    model = case.build()
    recipe = case.recipe(frozen_layers=case.info.blocks)
    reports = case.fit(model, recipe)
    path = tmp_path / "deep" / "best.safetensors"
    checkpoints.save(model, path)
    assert path.stat().st_size < 4 * case.info.trainable_at[-1] * 1.5 + 20_000
    other = case.build(seed=9)
    _freezing.freeze(other, case.family.blocks(other), recipe.frozen_layers)
    checkpoints.load(other, path)
    scores = evaluation.evaluate(other, case.family, case.family.open(case.entry, "validation"), CPU)
    assert scores["accuracy"] == reports[-1].metrics["accuracy"]
    assert scores["loss"] == pytest.approx(reports[-1].metrics["loss"], abs=1e-6)
    _freezing.freeze(other, case.family.blocks(other), 0)
    with pytest.raises(ValueError, match="does not belong to this model"):
        checkpoints.load(other, path)


def test_a_prepared_entry_is_reused_and_another_setting_makes_another(case: Case) -> None:
    assert case.family.prepare(case.model_folder, case.data, case.corpus) == case.entry
    smaller = dataclasses.replace(case.data, max_length=8, image_size=24)
    assert case.family.prepare(case.model_folder, smaller, case.corpus) != case.entry
    changed = dataclasses.replace(case.corpus, fingerprint="another")
    assert case.family.prepare(case.model_folder, case.data, changed) != case.entry


def test_an_export_is_complete(case: Case, tmp_path: Path) -> None:
    model = case.build()
    case.family.export(model, case.model_folder, case.data, case.corpus.classes, tmp_path / "out")
    assert list((tmp_path / "out").glob("*.safetensors"))
    assert "MODEL_FOLDER" in case.family.usage(case.recipe())
    code = case.family.usage(case.recipe()).replace("MODEL_FOLDER", str(tmp_path / "out"))
    exec(compile(code, "usage", "exec"), {})  # the lines that the model card shows


def _sample(case: Case, value: Any) -> Any:
    """An example as a user gives it to a loaded model: a text, or a `PIL.Image`."""
    return decode(value.read()) if isinstance(value, Picture) else value


def _probabilities(answer: Any) -> dict[str, float]:
    """Class -> probability, from the answer of transformers' pipeline or of our own classifier."""
    return {entry["label"]: entry["score"] for entry in answer} if isinstance(answer, list) else answer


def test_an_export_loads_with_one_line_and_gives_the_same_scores(case: Case, tmp_path: Path) -> None:
    model, out = case.build().eval(), tmp_path / "best"
    recipe = dataclasses.replace(case.recipe(), family=case.name)
    case.family.export(model, case.model_folder, case.data, case.corpus.classes, out)
    (out / "recipe.json").write_text(recipe.to_json())
    examples = case.family.open(case.entry, "test")
    count = len(case.corpus.inputs["test"])
    with torch.inference_mode():
        expected = case.family.logits(model, examples.batch(np.arange(count))).softmax(1)
    classify = frostline.load(out)
    options = {"top_k": None} if case.family.library_name == "transformers" else {}
    for value, row in zip(case.corpus.inputs["test"], expected, strict=True):
        probabilities = _probabilities(classify(_sample(case, value), **options))
        scores = [probabilities[name] for name in case.corpus.classes]
        torch.testing.assert_close(torch.tensor(scores), row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [None, "not json", "{}"], ids=["none", "not json", "another object"])
def test_a_folder_without_a_recipe_is_no_export(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=r"is not the best/ of a run directory: "):
        frostline.load(tmp_path)
