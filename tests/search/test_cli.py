"""The command line as a user meets it: exit codes and one-line messages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import cli
from tests import tiny


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_list_shows_each_space_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["bert_imdb"]


def test_dry_run_prints_the_plan_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    data = ("--model", str(tiny_model), "--dataset", str(tiny_csv), "--storage", str(tmp_path / "runs"))
    code, out, _ = run(capsys, "--space", "bert_imdb", "--profile", "small", "--dry-run", *data)
    assert code == 0
    labels = {line.split(":")[0] for line in out.splitlines()}
    wanted = {"space", "profile", "parameter", "rungs", "trials", "at once", "each trial", "epochs", "disk"}
    assert wanted <= labels
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--space is missing; spaces are bert_imdb"),
        (("--space", "bert_imbd"), "did you mean 'bert_imdb'?"),
        (("--space", "bert_imdb", "--columns", "text"), "--columns is two names with a comma between"),
        (("--space", "bert_imdb", "--trials", "0", "--profile", "small"), "trials must be at least 1"),
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


def test_an_unknown_option_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--spaces", "x", "--no-such"])
    assert end.value.code == 2


@pytest.mark.parametrize("entry", ["console command", "script"])
def test_both_entries_answer_from_any_directory(entry: str, tmp_path: Path) -> None:
    root = Path(cli.__file__).resolve().parent.parent
    command = {
        "console command": [str(Path(sys.executable).parent / "frostline")],
        "script": [sys.executable, str(root / "search" / "run.py")],
    }[entry]
    done = subprocess.run([*command, "--space", "bert"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "frostline: unknown space 'bert': did you mean 'bert_imdb'? spaces are bert_imdb\n"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"interrupted": True, "best": None}, cli.INTERRUPTED),
        ({"interrupted": False, "best": None}, cli.NO_TRIAL_SUCCEEDED),
    ],
)
def test_exit_codes_of_a_search_without_a_winner(found: dict[str, object], code: int) -> None:
    import io

    from rich.console import Console

    rest = {"metric": "accuracy", "test": None, "references": [], "counts": {"FAIL": 3}, "seconds": 1.0, "run": "r"}
    text = io.StringIO()
    assert cli._close({**rest, **found}, Console(file=text)) == code
    assert "3 FAIL" in text.getvalue()
