"""The command line as a user meets it: exit codes and one-line messages."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline import spaces
from frostline.search import cli
from frostline.search.plan import resolve as planning
from frostline.search.plan.plan import Plan
from frostline.search.records.log import hold
from frostline.trainables._metrics import METRICS
from tests import tiny
from tests.search.made import NOTHING, summary


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_list_shows_each_space_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == spaces.names()
    code, out, _ = run(capsys, "--list", "--json")
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == spaces.names()


def test_help_names_every_metric() -> None:
    text = " ".join(cli._parser().format_help().split())
    assert all(f" {metric.name}" in text for metric in METRICS)


def test_a_new_space_is_one_that_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--new-space", "reviews")
    assert code == 0
    (tmp_path / "reviews.py").write_text(out)
    code, out, _ = run(capsys, "--list", "--space-path", str(tmp_path))
    assert [line.split()[0] for line in out.splitlines()] == sorted([*spaces.names(), "reviews"])


def test_dry_run_prints_the_plan_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    data = ("--model", str(tiny_model), "--dataset", str(tiny_csv), "--storage", str(tmp_path / "runs"))
    data += ("--trials", "12")
    code, out, _ = run(capsys, "--space", "bert_imdb", "--profile", "small", "--dry-run", "--quiet", *data)
    assert code == 0
    labels = {line.split(":")[0] for line in out.splitlines()}
    wanted = {"space", "profile", "parameter", "rungs", "trials", "at once", "each trial", "epochs", "disk", "baseline"}
    assert wanted <= labels
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_is_json_on_stdout_where_asked(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    data = ("--model", str(tiny_model), "--dataset", str(tiny_csv), "--storage", str(tmp_path / "runs"))
    own = ("--set", "learning_rate=1e-6..1e-4", "--set", "batch_size=16", "--metric", "mcc", "--class-weights", "none")
    code, out, err = run(capsys, "--space", "bert_imdb", "--profile", "small", "--dry-run", "--json", *data, *own)
    assert code == 0
    fields = json.loads(out)
    assert fields["distributions"]["learning_rate"]["attributes"]["low"] == 1e-6
    assert fields["baseline"] == "TF-IDF with logistic regression"
    assert (fields["metric"], fields["settings"]) == ("mcc", ["learning_rate=1e-6..1e-4", "batch_size=16"])
    assert "metric: validation mcc, higher is better" in err, "what people read"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--space is missing; spaces are bert_imdb"),
        (("--space", "bert_imbd"), "did you mean 'bert_imdb'?"),
        (("--new-space", "a b"), "--new-space is a name of letters, digits, - and _, got 'a b'"),
        (("--space", "bert_imdb", "--set", "learning_rat=1"), "did you mean 'learning_rate'?"),
        (("--space", "bert_imdb", "--metric", "acuracy", "--profile", "small"), "did you mean 'accuracy'?"),
        (("--space", "bert_imdb", "--metric", "./m.py:cost", "--profile", "small"), "--metric m.py does not exist"),
        (("--space", "./no.yaml"), "--space no.yaml does not exist; spaces with a name are bert_imdb"),
        (("--space", "bert_imdb", "--space-path", "/no/such"), "--space-path /no/such is not a folder"),
        (("--list", "--space-path", "/no/such"), "--space-path /no/such is not a folder"),
        (("--space", "bert_imdb", "--columns", "text"), "--columns is two names with a comma between"),
        (("--space", "bert_imdb", "--trials", "0", "--profile", "small"), "trials must be at least 1"),
        (("--space", "bert_imdb", "--trials", "-3", "--profile", "small"), "trials must be at least 1, got -3"),
        (("--space", "bert_imdb", "--trials", "x", "--profile", "small"), "--trials is a number, or +N with --resume"),
        (("--space", "bert_imdb", "--trials", "+5", "--profile", "small"), "needs --resume: it adds to a search"),
        (("--space", "bert_imdb", "--time-budget", "+5m", "--profile", "small"), "needs --resume: it adds to a search"),
        (("--space", "bert_imdb", "--time-budget", "90", "--profile", "small"), "--time-budget must be a time such as"),
        (("--space", "bert_imdb", "--time-budget", "0s", "--profile", "small"), "a time budget must be above 0"),
        (("--space", "bert_imdb", "--confirm", "-1", "--profile", "small"), "--confirm must not be negative, got -1"),
        (("--space", "bert_imdb", "--retries", "-1", "--profile", "small"), "--retries must not be negative, got -1"),
        (("--retrain", "/no/such"), "/no/such holds no best/recipe.json: has the search in it finished?"),
        (("--retrain", "/no/such", "--space", "bert_imdb"), "--space cannot be combined with --retrain"),
        (("--dashboard", "/no/such"), "/no/such is not a run directory: it does not exist"),
        (
            ("--dashboard", "/no/such", "--space", "bert_imdb"),
            "shows /no/such: --space cannot be combined with it",
        ),
        (("--dashboard", "/no/such", "--resume", "/no"), "shows /no/such: --resume cannot be combined with it"),
        (("--resume", "/no/such"), "/no/such is not a run directory: it does not exist"),
        (("--space", "bert_imdb", "--profile", "small", "--name", "a/b"), "--name is a folder name"),
        (("--space", "bert_imdb", "--address", "127.0.0.1:9"), "no Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("frostline: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [
        ("--space", "bert_imdb"),
        ("--space-path", "spaces"),
        ("--set", "batch_size=8"),
        ("--metric", "loss"),
        ("--class-weights", "none"),
        ("--profile", "small"),
        ("--columns", "a,b"),
        ("--epochs", "3"),
        ("--seed", "0"),
        ("--storage", "runs"),
        ("--name", "n"),
        ("--retrain", "r"),
    ],
    ids=lambda given: given[0],
)
def test_what_a_search_is_cannot_change_when_it_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, given: tuple[str, str]
) -> None:
    code, out, err = run(capsys, "--resume", str(tmp_path), *given)
    assert (code, out) == (2, "")
    assert err == f"frostline: {given[0]} cannot be changed with --resume: {tmp_path} keeps its own\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not a run directory: it has no plan.json"),
        ({"plan.json": "torn {"}, "plan.json cannot be read: "),
        ({"plan.json": "[]"}, "plan.json is not a plan"),
        ({"plan.json": "{}"}, "plan.json is not a plan of this version: it lacks 'distributions'"),
    ],
)
def test_a_folder_without_a_search_does_not_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code, out, err = run(capsys, "--resume", str(tmp_path))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == set(files), "nothing is left in it"


def test_a_file_is_no_run_directory(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    code, _, err = run(capsys, "--resume", str(path))
    assert (code, err) == (2, f"frostline: {path} is not a run directory: a file\n")


def test_a_search_that_runs_does_not_go_on_elsewhere(capsys: pytest.CaptureFixture[str], plan: Plan) -> None:
    planning.claim(plan)
    with hold(plan.place.run):
        code, _, err = run(capsys, "--resume", str(plan.place.run))
        assert run(capsys, "--resume", str(plan.place.run), "--dry-run")[0] == 0, "looking does no harm"
    assert code == 2
    assert err.startswith(f"frostline: {plan.place.run} is in use by process {os.getpid()} on ")
    assert err.count("\n") == 1


def test_a_dry_run_says_how_a_search_would_go_on_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    planning.claim(plan)
    code, out, _ = run(capsys, "--resume", str(plan.place.run), "--dry-run", "--trials", "+3", "--confirm", "1")
    assert code == 0
    lines = dict(line.split(":", 1) for line in out.splitlines())
    assert lines["trials"].strip().startswith("15, of up to 2 epochs")
    assert lines["profile"].strip() == "small: as the search began"
    assert lines["confirm"].strip().startswith("the best recipe again, with")
    assert [path.name for path in plan.place.run.iterdir()] == ["plan.json"]


def test_a_folder_with_a_broken_recipe_is_not_trained_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    for where in (tmp_path, tmp_path / "best"):
        (tmp_path / "best" / "recipe.json").write_text('{"learning_rate": 1}')
        code, out, err = run(capsys, "--retrain", str(where))
        assert (code, out) == (2, "")
        assert "best/recipe.json is not a recipe: " in err
        assert err.count("\n") == 1


def test_a_data_set_of_one_class_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, tmp_path: Path
) -> None:
    table = tiny.write_csv(tmp_path / "one.csv", [(text, "pos") for text, _ in tiny.rows(50)])
    arguments = ("--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(table))
    code, _, err = run(capsys, *arguments, "--storage", str(tmp_path))
    assert code == 2
    assert "has one class only ('pos')" in err
    assert not list(tmp_path.glob("bert_imdb-*"))


def test_full_without_a_network_is_one_line_that_names_model_and_data(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    root = Path(cli.__file__).resolve().parent.parent
    command = [sys.executable, str(root / "search/run.py"), "--space", "bert_imdb", "--profile", "full"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == (
        "frostline: model 'bert-base-uncased' and data set 'stanfordnlp/imdb' are not cached here and the Hugging Face "
        "hub cannot be reached: run with --profile small (works offline), or give --model FOLDER and "
        "--dataset FILE-OR-FOLDER\n"
    )
    assert list(tmp_path.glob("runs*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--spaces", "x", "--no-such"), "unrecognized arguments: --spaces x --no-such"),
        (("stray",), "unrecognized arguments: stray"),
        (("a\nb\x1b[0m",), "unrecognized arguments: a b\\x1b[0m"),
        (("--seed", "1.5"), "argument --seed: invalid int value: '1.5'"),
        (("--epochs",), "argument --epochs: expected one argument"),
        (("--profile", "tiny"), "argument --profile: invalid choice: 'tiny' (choose from 'auto', 'small', 'full')"),
        (("--resume", ""), "argument --resume: a folder or a URL is missing: the text is empty"),
        (("--report", "s3:/b/x"), "argument --report: a URL has :// after its protocol, got s3:/b/x"),
        (
            ("--dashboard", "file://host/x"),
            "argument --dashboard: a folder of this machine is file:///FOLDER, got file",
        ),
    ],
)
def test_a_command_that_cannot_be_read_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith(f"frostline: {message}")
    assert err.endswith("; frostline --help shows the options\n")
    assert err.count("\n") == 1


LOOKS, PLANS = ("--resume", "--report", "--dashboard", "--retrain"), ("--model", "--dataset", "--storage")
LONG = ("n" * 300, "/tmp/" + "/".join(["d" * 200] * 30))


@pytest.mark.parametrize("given", [*LONG, "a-ring", "a-ring/x", "file", "file/x", "a\nb", "\udcff", "\x1b[0m"])
@pytest.mark.parametrize("option", [*LOOKS, *PLANS])
def test_a_path_that_cannot_be_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, given: str
) -> None:
    (tmp_path / "a-ring").symlink_to("a-ring")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.rglob("*")}
    space = ("--space", "bert_imdb", "--profile", "small") if option in PLANS else ()
    missing = ("--dataset", "none.csv") if option == "--storage" else ()  # a folder of any name can be made
    code, out, err = run(capsys, *space, *missing, option, given)
    assert (code, out) == (2, "")
    assert err.startswith("frostline: ")
    assert err.removesuffix("\n").isprintable()
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{} --list | head -1", 0, ""),
        ("{} --list >&-", 0, ""),
        ("{} --list > /dev/full", 1, "frostline: No space left on device\n"),
        ("{} --help > /dev/full", 0, ""),
    ],
)
def test_a_list_that_nobody_reads_is_silent(shell: str, code: int, said: str) -> None:
    root = Path(cli.__file__).resolve().parent.parent
    line = "set -o pipefail; " + shell.format(f"{sys.executable} {root}/search/run.py")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("entry", ["console command", "script"])
def test_both_entries_answer_from_any_directory(entry: str, tmp_path: Path) -> None:
    root = Path(cli.__file__).resolve().parent.parent
    command = {
        "console command": [str(Path(sys.executable).parent / "frostline")],
        "script": [sys.executable, str(root / "search" / "run.py")],
    }[entry]
    done = subprocess.run([*command, "--space", "bert"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    names = ", ".join(spaces.names())
    assert done.stderr == f"frostline: unknown space 'bert': did you mean 'bert_imdb'? spaces are {names}\n"


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (summary(), cli.OK, "Model: runs/r/best"),
        (summary(**NOTHING), cli.NO_TRIAL_SUCCEEDED, "No trial succeeded"),
        (summary(**NOTHING, interrupted=True), cli.INTERRUPTED, "Go on: frostline --resume runs/r"),
        (summary(interrupted=True), cli.INTERRUPTED, "Go on: frostline --resume runs/r"),
        (
            summary(**NOTHING, failure="five in a row failed"),
            cli.NO_TRIAL_SUCCEEDED,
            "Stopped: five in a row failed\nWhen the cause is gone: frostline --resume runs/r",
        ),
    ],
)
def test_how_a_search_ended_is_said_and_is_its_exit_code(found: dict[str, Any], code: int, said: str) -> None:
    text = io.StringIO()
    assert cli._close(found, Console(file=text, width=200)) == code
    assert said in text.getvalue()
    assert "12 trials: 4 complete, 7 stopped early, 1 failed. 6 min 24 s. Records: runs/r" in text.getvalue()
    assert ("Model:" in text.getvalue()) is (code == cli.OK)
    assert ("No model was exported" in text.getvalue()) is (found["interrupted"] and not found["test_reads"])


def test_what_could_not_be_sent_is_said_last_and_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    found = summary(run="s3://bucket/r", copy="/cache/r", unsent="not everything was sent to s3://bucket/r: away")
    assert cli._close(found, Console(width=200)) == cli.FAILED
    told = capsys.readouterr()
    assert "Model: s3://bucket/r/best" in told.out
    assert told.err == "frostline: not everything was sent to s3://bucket/r: away\n"
