"""A whole search over pictures: an `ImageFolder` tree, a ResNet, real Ray."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.spaces import Recipe
from frostline.trainables.image_classification import load
from frostline.trainables.vision.picture_rows import read_rows
from frostline.trainables.vision.reading import decode
from tests import tiny


@pytest.fixture(scope="module")
def found(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`resnet_cats_dogs` on generated pictures, with one broken file and a ResNet of random weights."""
    from frostline.search import tuner

    folder = tmp_path_factory.mktemp("vision")
    tiny.make_pictures(folder / "pets" / "train", {"cat": 130, "dog": 60})
    tiny.make_pictures(folder / "pets" / "val", {"cat": 21, "dog": 20})
    broken = folder / "pets" / "train" / "cat" / "100.png"
    broken.write_bytes(broken.read_bytes()[:200])
    options = Options(
        space="resnet_cats_dogs",
        profile="full",
        model=str(tiny.make_vision_model(folder / "resnet", "resnet18")),
        dataset=str(folder / "pets"),
        storage=folder / "runs",
        trials=4,
        concurrent=1,
        epochs=1,
        confirm_recipes=1,
        confirm_seeds=1,
    )
    plan, corpus = planning.resolve(options)
    planning.claim(plan)
    text = io.StringIO()
    summary = tuner.run(plan, corpus, Console(file=text, width=200))
    lines = [json.loads(line) for line in Path(summary["run"], "trials.jsonl").read_text().splitlines()]
    return {"plan": plan, "summary": summary, "lines": lines, "printed": text.getvalue()}


def test_what_is_odd_about_the_pictures_is_said_before_it_starts(found: dict[str, Any]) -> None:
    unreadable, unbalanced, stored = found["plan"].data.remarks
    assert unreadable == "1 input cannot be read: train/cat/100.png"
    assert "out of balance: 'cat' has 2.2 times as many training examples as 'dog'" in unbalanced
    assert stored.startswith("pictures are decoded and resized once")
    assert found["plan"].data.sizes == {"train": 152, "validation": 41, "test": 37}


def test_every_trial_ends_with_the_familys_metrics(found: dict[str, Any]) -> None:
    assert sum(found["summary"]["counts"].values()) == 4
    assert found["summary"]["counts"]["failed"] == 0, found["lines"]
    reports = [line for line in found["lines"] if line["outcome"] == "running"]
    assert all(line["metrics"].keys() >= {"accuracy", "macro_f1", "loss", "train_loss"} for line in reports)


def test_the_seed_recipe_comes_first_and_heads_read_the_prefix_cache(found: dict[str, Any]) -> None:
    first = next(line for line in found["lines"] if line["number"] == 0)
    assert first["label"] == "default"
    wanted = {
        "learning_rate": 1e-4,
        "batch_size": 32,
        "frozen_layers": found["plan"].search.models[first_model(found)].blocks,
    }
    assert wanted.items() <= first["params"].items()
    for line in found["lines"]:
        if line["outcome"] == "running":
            started_at = found["plan"].recipe(line["params"], 0).cached_layers
            assert line["cached_layers"] == started_at
            assert started_at == 0 or line["params"]["augmentation"] == "none"
    assert first["cached_layers"] > 0


def first_model(found: dict[str, Any]) -> str:
    return found["plan"].search.base.model


def test_the_exported_model_scores_the_test_set_as_reported(found: dict[str, Any]) -> None:
    best = Path(found["summary"]["run"]) / "best"
    recipe = Recipe.from_json((best / "recipe.json").read_text())
    corpus = tiny.corpus(recipe.data, 8, read_rows)
    classify = load(best)
    answers = [next(iter(classify(decode(picture.read())))) for picture in corpus.inputs["test"]]
    right = sum(a == corpus.classes[label] for a, label in zip(answers, corpus.labels["test"], strict=True))
    assert right / len(answers) == pytest.approx(found["summary"]["test"]["accuracy"])
    card = (best / "README.md").read_text()
    assert f'load("{best.parent.name}/best")' in card
    assert "32 x 32 pixels" in card
    assert found["summary"]["load"] == f'frostline.load("{best}")'
