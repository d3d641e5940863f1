import dataclasses
import datetime
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search import plan, report
from search.plan import Options
from spaces import ALL, Depth

NOW = datetime.datetime(2026, 11, 23, 12, 30, 5, tzinfo=datetime.UTC)


@pytest.fixture
def options(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> Options:
    return Options(
        space="bert_imdb", profile="small", model=str(tiny_model), dataset=str(tiny_csv), storage=tmp_path, name="run"
    )


def test_auto_is_full_where_there_is_a_gpu() -> None:
    assert plan.choose_profile("auto", True) == ("full", "the cluster has a GPU")
    assert plan.choose_profile("auto", False) == ("small", "the cluster has no GPU")
    assert plan.choose_profile("full", False)[0] == "full"


def test_the_plan_resolves_everything(options: Options) -> None:
    made, corpus = plan.resolve(options)
    assert made.blocks == 3
    assert made.distributions["frozen_layers"] == IntDistribution(0, 3)
    assert made.recipes["linear probe"]["frozen_layers"] == 3
    assert made.base.data.max_length == 64, "the model takes no more"
    assert made.sizes == corpus.sizes() == {"train": 320, "validation": 240, "test": 400}
    assert (made.device, made.threads) == ("cpu", 1)
    assert not made.run.exists(), "nothing has started"
    assert json.loads(made.to_json())["base"]["model"] == options.model
    text = "\n".join(f"{label} {line}" for label, line in report.plan_lines(made))
    for part in ("learning_rate: 1e-05 to 0.001, log", "frozen_layers: 0 to 3", "rungs", "at worst 24", "MB in", "CPU"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "bert_imbd"}, "did you mean 'bert_imdb'"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"epochs": -1}, "epochs must be at least 1, got -1"),
        ({"concurrent": 0}, "--concurrent must be at least 1"),
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial must be above 0"),
        ({"gpus_per_trial": -1.0}, "--gpus-per-trial must not be negative"),
        ({"gpus_per_trial": 64.0}, r"no node can hold one trial: it needs .* 64 GPU, .*; there is"),
        ({"cpus_per_trial": 10_000.0}, "no node can hold one trial"),
        ({"dataset": "/no/such.csv"}, "neither an existing folder or file nor a hub name"),
        ({"model": "/no/such"}, "neither an existing folder or file nor a hub name"),
        ({"columns": ("review", "label")}, "has no column 'review'"),
        ({"name": "../elsewhere"}, "--name is a folder name"),
    ],
)
def test_a_mistake_is_one_line(options: Options, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        plan.resolve(dataclasses.replace(options, **changes))
    assert "\n" not in str(caught.value)


def _copy(model: Path, to: Path, **files: str) -> Path:
    shutil.copytree(model, to)
    for name, text in files.items():
        (to / name.replace("_", ".")).write_text(text)
    return to


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config_json": "{}"}, "is not a model that transformers knows"),
        ({"config_json": "not json"}, "is not a model that transformers knows"),
        ({"model_safetensors": "x"}, "does not load as a text classifier"),
        ({"tokenizer_json": "{}"}, "has no tokenizer"),
    ],
)
def test_a_folder_with_a_broken_model_is_one_line(
    options: Options, tiny_model: Path, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = _copy(tiny_model, tmp_path / "broken", **files)
    with pytest.raises(ValueError, match=message) as caught:
        plan.resolve(dataclasses.replace(options, model=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_model_that_lacks_weights_of_its_body_is_refused(options: Options, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _copy(tiny_model, tmp_path / "holey")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of the model's body, first .*layer.1.output.dense.weight"):
        plan.resolve(dataclasses.replace(options, model=str(folder)))


def test_a_depth_the_model_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"frozen_layers up to 9, but m has 3 blocks"):
        plan.resolve_parameters({"frozen_layers": Depth(high=9)}, 3, "m")
    with pytest.raises(ValueError, match=r"freezes 4 blocks; the model has 3"):
        plan.resolve_recipe("deep", {"frozen_layers": 4}, 3)
    assert plan.resolve_recipe("probe", {"frozen_layers": ALL}, 3) == {"frozen_layers": 3}


def test_a_recipe_outside_the_space() -> None:
    distributions = {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "batch_size": CategoricalDistribution((8,)),
    }
    plan.check_recipe("good", {"learning_rate": 1e-4, "batch_size": 8}, distributions)
    with pytest.raises(ValueError, match=r"recipe 'fast': learning_rate = 1.0 is outside"):
        plan.check_recipe("fast", {"learning_rate": 1.0, "batch_size": 8}, distributions)
    with pytest.raises(ValueError, match=r"batch_size = 9 is outside"):
        plan.check_recipe("odd", {"learning_rate": 1e-4, "batch_size": 9}, distributions)


def test_the_run_directory_is_named_by_space_and_time(options: Options) -> None:
    unnamed = dataclasses.replace(options, name=None)
    assert plan.run_directory(unnamed, NOW) == options.storage / "bert_imdb-20261123T123005Z"


def test_a_storage_that_cannot_be_written(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is not a folder"):
        plan.run_directory(dataclasses.replace(options, storage=tmp_path / "file"), NOW)
    # The tests may run as root, whom no mode keeps out: the system's answer is put in.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="no permission to write"):
        plan.run_directory(options, NOW)


def test_a_run_directory_belongs_to_one_search(options: Options) -> None:
    made, _ = plan.resolve(options)
    plan.claim(made)
    assert json.loads((made.run / "plan.json").read_text())["space"] == "bert_imdb"
    with pytest.raises(ValueError, match="holds this very search, unfinished: choose another --name"):
        plan.claim(made)
    (made.run / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="holds this very search, finished"):
        plan.claim(dataclasses.replace(made, slots_reason="another machine", slots=9, disk=1))
    with pytest.raises(ValueError, match="holds a search with another plan"):
        plan.claim(dataclasses.replace(made, seed=1))
    (made.run / "plan.json").write_text("torn")
    with pytest.raises(ValueError, match="holds a search with another plan"):
        plan.claim(made)
    (made.run / "plan.json").unlink()
    with pytest.raises(ValueError, match="is not empty and holds no search"):
        plan.claim(made)


def test_largest() -> None:
    assert plan.largest(CategoricalDistribution((8, 32, 16))) == 32
    assert plan.largest(IntDistribution(4, 64)) == 64
