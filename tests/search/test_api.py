"""The public names, and the options that Python and the command line share."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import frostline as fl
from frostline import spaces, trainables
from frostline.search import api, cli
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.trainables._family import Family


def test_the_public_names() -> None:
    assert fl.resume is api.resume
    assert fl.Space is spaces.Space
    assert fl.Metric is spaces.Metric
    assert fl.Family is Family
    assert fl.load is trainables.load


def test_every_public_name_is_listed_and_there() -> None:
    assert {"search", "resume", "load", "Space", "Family", "Metric", "Profile", "Data", "Budget"} <= {*fl.__all__}
    assert {*fl.__all__} <= {*dir(fl)}
    for name in fl.__all__:
        assert getattr(fl, name) is not None


@pytest.mark.parametrize("first", ["", "import frostline.search.cli", "from frostline.search.records import folder"])
def test_search_is_a_package_and_a_function(first: str) -> None:
    """Whatever was imported before. The call refuses its option before anything starts."""
    lines = (
        *(first, "import frostline as fl"),
        *("try: fl.search('bert_imdb', trails=3)", "except ValueError as error: print(error)"),
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("there is no option 'trails': did you mean 'trials'?")
    assert inspect.signature(fl.search) == inspect.signature(api.search)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'frostline' has no attribute 'serach'"):
        fl.serach  # noqa: B018


def test_the_command_line_has_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    arguments = cli._parser().parse_args(["--space", "bert_imdb"])
    assert api.options_of(cli._values(arguments)) == api.options_of({"space": "bert_imdb"})
    assert api.options_of({"space": "bert_imdb"}) == Options(space="bert_imdb")


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"storage": "runs/here"}, "storage", Path("runs/here")),
        ({"storage": Path("/shared")}, "storage", Path("/shared")),
        ({"storage": "s3://bucket/runs/"}, "url", "s3://bucket/runs"),
        ({"columns": ("review", "stars")}, "columns", ("review", "stars")),
        ({"columns": "review,stars"}, "columns", ("review", "stars")),
        ({"model": Path("/models/bert")}, "model", "/models/bert"),
        ({"cpus_per_trial": 2}, "cpus_per_trial", 2),
        ({"trials": "+4"}, "trials", "+4"),
        ({"trials": 4}, "trials", 4),
        ({"address": "auto"}, "address", "auto"),
    ],
)
def test_values_are_taken_as_a_user_gives_them(values: dict[str, Any], field: str, expected: Any) -> None:
    assert getattr(api.options_of(values), field) == expected


def test_the_cluster_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert api.options_of({}).address == "10.0.0.1:6379"
    assert api.options_of({"address": "auto"}).address == "auto"
    assert api.options_of({"address": "local"}).address is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert api.options_of({}).address is None, "a Ray of its own"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--space is missing; spaces are bert_imdb"),
        ({"space": "bert_imbd"}, "unknown space 'bert_imbd': did you mean 'bert_imdb'?"),
        ({"space": "bert_imdb", "trails": 3}, "there is no option 'trails': did you mean 'trials'?"),
        ({"space": "bert_imdb", "url": "s3://b"}, "there is no option 'url'"),
        ({"space": "bert_imdb", "profile": "tiny"}, "--profile is auto, small, full, got 'tiny'"),
        ({"space": "bert_imdb", "wandb": "on"}, "--wandb is online, offline, off, got 'on'"),
        ({"space": "bert_imdb", "epochs": True}, "--epochs must be float, got True"),
        ({"space": "bert_imdb", "seed": 2**70}, "--seed is at most 4,294,967,295, got"),
        ({"space": "bert_imdb", "name": ""}, "--name is empty"),
        (
            {"space": "bert_imdb", "name": "a\nb"},
            "--name is a folder name of characters that can be shown, got 'a\\nb'",
        ),
        ({"space": "bert_imdb", "storage": "file://host/runs"}, "a folder of this machine is file:///FOLDER, got"),
        ({"space": "bert_imdb", "storage": "s3:/runs"}, "a URL has :// after its protocol, got s3:/runs"),
        ({"space": "bert_imdb", "storage": "n" * 300}, "File name too long"),
        ({"space": "a\nb"}, "unknown space 'a\\nb'"),
        ({"retrain": "a\nb"}, "a b holds no best/recipe.json"),
        ({"space": "bert_imdb", "epochs": "3"}, "--epochs must be float, got '3'"),
        ({"space": "bert_imdb", "time_budget": 90}, "--time-budget must be str, got 90"),
        ({"space": "bert_imdb", "storage": 3}, "--storage must be Path or str, got 3"),
        ({"space": "bert_imdb", "columns": ("text",)}, "--columns is two names with a comma between them"),
        ({"space": "bert_imdb", "retrain": "/no/such"}, "--space cannot be combined with --retrain"),
        ({"retrain": "/no/such"}, "/no/such holds no best/recipe.json"),
    ],
)
def test_a_mistake_is_a_value_error_of_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        fl.search(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resume_cannot_change_what_is_searched(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"--epochs cannot be changed with --resume: {tmp_path} keeps its own"):
        fl.resume(tmp_path, epochs=3)
    with pytest.raises(ValueError, match=r"is not a run directory: it has no plan\.json"):
        fl.resume(tmp_path)


@pytest.fixture
def own_run(plan: Plan, tmp_path: Path) -> Path:
    """The run directory of a search that was started with a `Space` which is no file."""
    planning.claim(plan)
    path = plan.place.run / "plan.json"
    path.write_text(path.read_text().replace('"space": "bert_imdb"', '"space": "mine"'))
    return plan.place.run


def test_a_space_that_is_no_file_goes_on_as_the_plan_has_it(own_run: Path, plan: Plan) -> None:
    again, _ = planning.resume(own_run, Options(space=""))
    assert again.search.space == "mine"
    assert (again.search.distributions, again.search.recipes) == (plan.search.distributions, plan.search.recipes)
    with pytest.raises(ValueError, match="is of the space 'mine', got one named 'bert_imdb'"):
        fl.resume(own_run, space=spaces.load("bert_imdb"))


@pytest.mark.parametrize("columns", ["text,text", "text", ",", "a,b,c"])
def test_columns_are_two_names(columns: str) -> None:
    with pytest.raises(ValueError, match="--columns is two names with a comma between them, got"):
        fl.search("bert_imdb", columns=columns)


@pytest.mark.parametrize("run", ["n" * 300, "/tmp/" + "/".join(["d" * 200] * 30)])
def test_a_run_directory_with_an_impossible_path_is_one_line(run: str) -> None:
    with pytest.raises(ValueError, match="File name too long"):
        fl.resume(run)


def test_load_refuses_a_folder_without_an_export(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} is not the best/ of a run directory"):
        fl.load(tmp_path)
