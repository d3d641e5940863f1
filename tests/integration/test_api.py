"""A whole search from Python: a `Space` made on the spot, its result, and how it goes on."""

import ast
import re
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

import frostline as fl
from frostline.search.records import trials as trial_records


@pytest.fixture(scope="module")
def space(tiny_model: Path, tiny_csv: Path) -> fl.Space:
    """No file in `spaces/` holds it."""
    data = fl.Data(source=str(tiny_csv), train=200, validation=60, test=40, max_length=16)
    budget = fl.Budget(trials=2, epochs=2, first_rung=0.5, confirm_recipes=0)
    profile = fl.Profile(model=str(tiny_model), data=data, budget=budget)
    return fl.Space(
        name="mine",
        summary="made in a test",
        family="text_classification",
        parameters={
            "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
            "batch_size": CategoricalDistribution((8, 16)),
            "frozen_layers": fl.Depth(),
            "weight_decay": FloatDistribution(1e-3, 1e-1, log=True),
            "pooling": CategoricalDistribution(("mean",)),
        },
        recipes={
            "default": {
                "learning_rate": 1e-3,
                "batch_size": 16,
                "frozen_layers": 0,
                "weight_decay": 0.01,
                "pooling": "mean",
            }
        },
        full=profile,
        small=profile,
    )


def test_a_search_runs_from_python_and_goes_on(
    ray_here: None, space: fl.Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a metric of one's own, which is not there any more when the search goes on."""
    file = tmp_path / "m.py"
    file.write_text("def cost(labels, predicted):\n    return 5 * (labels != predicted).mean()\n")
    own = {"metric": f"{file}:cost", "set": {"weight_decay": 0.01}, "class_weights": "balanced"}
    summary = fl.search(space, storage=tmp_path, name="r", wandb="off", concurrent=1, **own)
    file.unlink()
    out = capsys.readouterr().out
    assert (summary["space"], summary["run"]) == ("mine", str(tmp_path / "r"))
    assert "trial 0 starts: default" in out
    assert f"Model: {tmp_path}/r/best" in out

    classify = fl.load(f"{summary['run']}/best")
    [answer] = classify("good great lovely film")
    assert summary["best"]["params"]["pooling"] == "mean"
    assert summary["load"] == f'frostline.load("{summary["run"]}/best")'
    card = Path(summary["run"], "best", "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    shown = code.replace('"r/best', f'"{summary["run"]}/best').replace(
        "A quiet film that stays with you.", "good great lovely film"
    )
    exec(compile(shown, "card", "exec"), {})  # its lines load the model with transformers alone
    label, score = max(ast.literal_eval(capsys.readouterr().out).items(), key=lambda pair: pair[1])
    assert (label, score) == (answer["label"], pytest.approx(answer["score"], abs=1e-5))

    more = fl.resume(tmp_path / "r", trials="+1", concurrent=1, quiet=True)
    assert sum(more["counts"].values()) == 3
    assert (more["metric"], more["better"]) == ("cost", "lower")
    assert more["test"]["cost"] == pytest.approx(5 * (1 - more["test"]["accuracy"]))
    assert {"accuracy", "macro_f1", "loss", "mcc", "roc_auc"} <= {*more["test"]}
    for trial in trial_records.read(tmp_path / "r" / "trials.jsonl"):
        assert trial.params["weight_decay"] == 0.01
        assert trial.params["class_weights"] == "balanced"
        assert all(line.objective == -line.metrics["cost"] for line in trial.reports)
    assert capsys.readouterr().out == ""
