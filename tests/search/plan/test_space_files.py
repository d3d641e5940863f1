"""Spaces from a user's files and folders and from installed packages."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from frostline import spaces
from frostline.search.plan import new_space, space_files
from frostline.spaces import ALL, Depth, Space

YAML = """
extends: bert_imdb
summary: reviews of ours
parameters:
  learning_rate: {low: 1e-6, high: 1e-4, log: true}
  batch_size: {choices: [16, 32]}
  weight_decay: 0.01
  frozen_layers: {low: 2, high: all}
  label_smoothing: {low: 0, high: 0.2, step: 0.1}
recipes:
  linear probe: null
  mine: {learning_rate: 3e-5, frozen_layers: all}
metric: macro_f1
data: {source: reviews.csv, text: body}
budget: {trials: 14}
full: {model: my-bert, budget: {trials: 40}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a Python and a YAML space, and files that are none."""
    (tmp_path / "reviews.yaml").write_text(YAML)
    (tmp_path / "digits.py").write_text(new_space.template("digits"))
    for other in ("_draft.py", ".hidden.py", "notes.txt", "reviews.csv"):
        (tmp_path / other).write_text("")
    return tmp_path


def test_a_yaml_space_says_what_differs(folder: Path) -> None:
    found = space_files.find(str(folder / "reviews.yaml"))
    space, base = found.space, spaces.load("bert_imdb")
    assert (space.name, space.summary, space.family, space.metric) == (
        *("reviews", "reviews of ours", "text_classification", "macro_f1"),
    )
    assert space.parameters == {
        "learning_rate": FloatDistribution(1e-6, 1e-4, log=True),
        "batch_size": CategoricalDistribution((16, 32)),
        "frozen_layers": Depth(low=2),
        "weight_decay": CategoricalDistribution((0.01,)),
        "label_smoothing": FloatDistribution(0.0, 0.2, step=0.1),
    }
    default = {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 2, "weight_decay": 0.01, "label_smoothing": 0}
    assert space.recipes == {
        "default": default,
        "mine": {**default, "learning_rate": 3e-5, "frozen_layers": ALL},
    }
    assert (space.small.budget.trials, space.full.budget.trials) == (14, 40)
    assert space.small.budget.epochs == base.small.budget.epochs
    assert (space.small.data.source, space.small.data.text) == (str(folder / "reviews.csv"), "body"), "beside the file"
    assert (space.small.model, space.full.model) == (base.small.model, "my-bert")
    assert found.copy == {"space.yaml": YAML}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("{low: 8, high: 64}", IntDistribution(8, 64)),
        ("{low: 8, high: 64, log: true}", IntDistribution(8, 64, log=True)),
        ("[8, 16]", CategoricalDistribution((8, 16))),
        ("16", CategoricalDistribution((16,))),
    ],
)
def test_values_are_in_the_terms_of_optuna(tmp_path: Path, given: str, values: Any) -> None:
    (tmp_path / "s.yaml").write_text(f"extends: bert_imdb\nparameters:\n  batch_size: {given}\n")
    assert space_files.find(str(tmp_path / "s.yaml")).space.parameters["batch_size"] == values


def test_a_metric_beside_the_file_is_found(folder: Path) -> None:
    (folder / "m.py").write_text("def cost(labels): return 1\n")
    (folder / "own.yaml").write_text("extends: bert_imdb\nmetric: m.py:cost\n")
    assert space_files.find("own", folder).space.metric == f"{folder}/m.py:cost"


def test_a_python_space_and_its_copy(folder: Path) -> None:
    found = space_files.find(str(folder / "digits.py"))
    assert found.space.name == "digits"
    assert found.copy == {"space.py": (folder / "digits.py").read_text()}
    assert not (folder / "__pycache__").exists()


def test_names_of_a_folder_and_of_the_package(folder: Path) -> None:
    assert space_files.names(folder) == sorted([*spaces.names(), "digits", "reviews"])
    assert space_files.find("reviews", folder).space.name == "reviews"
    assert space_files.find("bert_imdb", folder).file is None
    (folder / "bert_imdb.yaml").write_text("extends: efficientnet_digits\n")
    assert space_files.find("bert_imdb", folder).file == folder / "bert_imdb.yaml", "the user's own comes first"


def test_a_space_extends_another_one_of_the_same_folder(folder: Path) -> None:
    (folder / "more.yaml").write_text("extends: reviews.yaml\nbudget: {trials: 99}\n")
    (folder / "named.yaml").write_text("extends: reviews\nbudget: {trials: 99}\n")
    for found in (space_files.find(str(folder / "more.yaml")), space_files.find("named", folder)):
        assert found.space.small.budget.trials == 99
        assert found.space.metric == "macro_f1"


def test_an_installed_package_brings_a_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as an installer leaves it: its module, and `entry_points.txt` in its metadata."""
    package = folder / "site"
    (package / "pets-1.0.dist-info").mkdir(parents=True)
    (package / "pets-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pets\nVersion: 1.0\n")
    entries = "[frostline.spaces]\npets = pets_space:SPACE\nbroken = pets_space:NOTHING\nodd = pets_space:ODD\n"
    (package / "pets-1.0.dist-info" / "entry_points.txt").write_text(entries)
    text = new_space.template("pets") + "\nODD = 3\n"
    (package / "pets_space.py").write_text(text)
    monkeypatch.syspath_prepend(str(package))
    assert "pets" in space_files.names()
    found = space_files.find("pets")
    assert (found.space.name, found.copy) == ("pets", {"space.py": text})
    with pytest.raises(ValueError, match=r"broken = pets_space:NOTHING of frostline.spaces cannot be loaded"):
        space_files.find("broken")
    with pytest.raises(ValueError, match=r"odd = pets_space:ODD of frostline.spaces is no Space, but int"):
        space_files.find("odd")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", "SPACE = 3", "a.py defines no SPACE = Space(...); frostline --new-space a writes an example"),
        ("a.py", "x = (", "a.py, line 1: '(' was never closed"),
        (
            "a.py",
            "import no_such\n",
            "a.py, line 1: ModuleNotFoundError: No module named 'no_such'; a copy of the file",
        ),
        ("a.py", "x = 1\ny = 1 / 0\n", "a.py, line 2: ZeroDivisionError: division by zero"),
        ("a.py", "import sys\nsys.exit(3)\n", "a.py, line 2: SystemExit: 3"),
        ("a.txt", "", "a space is a Python file or a YAML file, .py, .yaml, .yml"),
        ("a.yaml", "", "a.yaml: extends is missing: it names the space whose values hold"),
        ("a.yaml", "[1]", "a.yaml: the file has names with values, got [1]"),
        ("a.yaml", "a: [", "a.yaml, line 1: "),
        ("a.yaml", "extends: bert_imbd", "unknown space 'bert_imbd': did you mean 'bert_imdb'?"),
        ("a.yaml", "extends: a.yaml", "a.yaml extends itself"),
        ("a.yaml", "extends: bert_imdb\nparameter: {}", "has no 'parameter': did you mean 'parameters'?"),
        ("a.yaml", "extends: bert_imdb\nsmall: {modle: x}", "small has no 'modle': did you mean 'model'?"),
        ("a.yaml", "extends: bert_imdb\ndata: {sauce: x}", "data: there is no field 'sauce'"),
        ("a.yaml", "extends: bert_imdb\nbudget: {trials: many}", "budget: trials is a whole number, got 'many'"),
        ("a.yaml", "extends: bert_imdb\nbudget: {trials: 0}", "budget: trials must be at least 1, got 0"),
        ("a.yaml", "extends: bert_imdb\nmetric: 3", "metric is a text, got 3"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        space_files.find(str(path), tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("learning_rat: 1", "there is no parameter 'learning_rat': did you mean 'learning_rate'?"),
        ("learning_rate: {low: 1}", "parameters.learning_rate: it has low and high, or choices"),
        ("learning_rate: {lo: 1, high: 2}", "parameters.learning_rate: it has no 'lo': did you mean 'low'?"),
        ("learning_rate: {low: 0, high: 2, log: true}", "parameters.learning_rate: "),
        ("learning_rate: {low: x, high: 2}", "parameters.learning_rate: learning_rate is a number, got 'x'"),
        ("learning_rate: {low: 1, high: 2, log: 3}", "log is true or false, got 3"),
        ("learning_rate: null", "a value is a number or a text, got None"),
        ("learning_rate: true", "a value is a number or a text, got True"),
        ("batch_size: {choices: []}", "choices is a list, and stands alone"),
        ("batch_size: {choices: [0]}", "batch_size must be at least 1, got 0"),
        ("class_weights: {low: 1, high: 2}", "it has choices"),
    ],
)
def test_a_mistake_in_a_parameter_is_one_line(tmp_path: Path, given: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"extends: bert_imdb\nparameters:\n  {given}\n")
    with pytest.raises(ValueError) as caught:
        space_files.find(str(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nope.py", "--space nope.py does not exist; spaces with a name are bert_imdb, "),
        ("/", "--space / is not a file; "),
        ("reviws", "unknown space 'reviws': did you mean 'reviews'? spaces are bert_imdb, "),
    ],
)
def test_a_name_that_leads_nowhere(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        space_files.find(name, folder)
    assert str(caught.value).startswith(message)


def test_a_space_path_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--space-path .*/none is not a folder"):
        space_files.names(tmp_path / "none")


def test_the_list_as_json(folder: Path) -> None:
    found = {name: space_files.find(name, folder) for name in space_files.names(folder)}
    listed = {one["name"]: one for one in json.loads(space_files.to_json(found))}
    assert list(listed) == list(found)
    reviews = listed["reviews"]
    assert reviews["file"] == str(folder / "reviews.yaml")
    assert listed["bert_imdb"]["file"] is None
    assert reviews["parameters"]["batch_size"]["attributes"]["choices"] == [16, 32]
    assert reviews["parameters"]["frozen_layers"] == {"name": "Depth", "attributes": {"low": 2, "high": None}}
    assert (reviews["metric"], reviews["small"]["budget"]["trials"]) == ("macro_f1", 14)


def test_the_template_is_a_space_and_names_every_parameter() -> None:
    code = new_space.template("my-reviews")
    names: dict[str, Any] = {}
    exec(compile(code, "my-reviews.py", "exec"), names)
    assert isinstance(names["SPACE"], Space)
    assert names["SPACE"].name == "my-reviews"
    for name in ("class_weights", "label_smoothing", "warmup", "clip_norm", "dropout", "augmentation"):
        assert f'"{name}": ' in code
    with pytest.raises(ValueError, match="--new-space is a name of letters, digits, - and _, got 'a/b'"):
        new_space.template("a/b")
