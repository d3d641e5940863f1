"""The report of any run directory, as text. tests/integration/test_page.py opens it in a browser."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from frostline.search import api, cli
from frostline.search.plan.options import Options
from frostline.search.records import folder as run_folder
from frostline.search.report import page
from frostline.search.report import view as views
from frostline.search.report.command import command
from frostline.search.report.view import View
from frostline.spaces import Metric
from tests.search import made, runs
from tests.search.altered import altered


def shown(run: Path) -> str:
    """The report's text without plotly's script."""
    return shown_of(views.read(run))


def shown_of(view: View) -> str:
    text = page.page(view)
    return re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", text, flags=re.S)


def rows_of(text: str) -> list[str]:
    """The rows of the table of trials."""
    return re.findall(r"<tr[^>]*><td.*?</tr>", text.split('id="trials"')[1].split("</section>")[0], flags=re.S)


def test_the_scores_of_the_records_come_first(finished: View) -> None:
    text = shown_of(finished)
    assert finished.won is not None
    best = finished.confirmed[0]
    assert f"Trial {best.number} wins" in text
    assert f'<p class="big">{best.estimate:.4f}</p>' in text
    assert finished.test is not None
    assert f'<p class="big">{finished.test["metrics"]["accuracy"]:.4f}</p>' in text
    assert "majority class" in text
    parts = ["the-answer", "findings", "learning", "together", "importance-of", "one-by-one", "frozen", "front-seconds"]
    parts += ["front-size", "slots", "trials", "plan", "again"]
    places = [text.index(f'id="{part}"') for part in parts]
    assert places == sorted(places)
    assert len(rows_of(text)) == 30


def test_a_search_by_the_loss_shows_the_loss_and_no_percentage_points(tmp_path: Path) -> None:
    loss = Metric(name="loss", better="lower", unit="nats")
    runs.write(tmp_path / "run", 30, plan=altered(runs.plan_of(tmp_path / "run"), metric=loss))
    view = views.read(tmp_path / "run")
    text = shown_of(view)
    assert view.won is not None
    best = view.confirmed[0].estimate
    assert view.won.number == view.confirmed[0].number
    assert f'<p class="big">{best:.4f}</p>' in text
    assert view.test is not None
    assert f'<p class="big">{view.test["metrics"]["loss"]:.4f}</p>' in text
    assert "Validation loss" in text
    assert "Test minus validation: +0.0200." in text
    assert " points" not in text.split('id="findings"')[1].split("</section>")[0]
    assert 'data-better="lower"' in text


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("end", ["finished", "interrupted", "running"])
def test_a_report_of_few_trials_makes_sense(tmp_path: Path, count: int, end: str) -> None:
    runs.write(tmp_path / "run", count, end=end)
    text = shown(tmp_path / "run")
    assert len(rows_of(text)) == count
    assert {"finished": "Finished:", "interrupted": "Interrupted:", "running": "Still running:"}[end] in text
    assert "nan" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S).lower()
    assert "Importance needs at least 10 trials" in text
    if count == 0:
        assert "No trial has a score yet" in text
        assert 'type="application/json"' not in text


def test_why_a_search_stopped_is_said(tmp_path: Path) -> None:
    runs.write(tmp_path / "run", 3)
    failure = "there is no machine to train on: w1 has no room"
    seen = dataclasses.replace(views.read(tmp_path / "run"), status=views.FAILED, summary={"failure": failure})
    line, again = page.status_line(seen), len(seen.confirmations)
    assert 1 < again <= 6
    assert line == f"Stopped: 3 of 3 trials done and {again} trainings with fresh seeds. The reason: {failure}"


def test_a_trial_without_a_report_is_named_with_its_state(tmp_path: Path) -> None:
    runs.write(tmp_path / "run", 3, end="running", fails=False)
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        start = {"event": "start", "time": runs.BEGAN + 99, "number": 3, "seed": 0, "params": made.PARAMS, "label": ""}
        log.write(json.dumps({**start, "confirms": False}) + "\n")
    last = rows_of(shown(tmp_path / "run"))[-1]
    assert "running" in last
    made.edit(tmp_path / "run" / "log.jsonl", f'"pid": {os.getpid()}', '"pid": 4194305')
    text = shown(tmp_path / "run")
    assert "Broken off:" in text
    assert "interrupted" in rows_of(text)[-1]


def test_failed_trials_show_the_reason_and_link_to_their_error(copied: Path) -> None:
    folder = copied / "trials" / "00006"
    folder.mkdir(parents=True)
    (folder / "error.txt").write_text("boom")
    rows = rows_of(shown(copied))
    assert "loss is nan at step 60" in rows[6]
    assert 'href="trials/00006/error.txt"' in rows[6]
    assert "did not fit" in rows[22]
    assert "href" not in rows[7]


def test_a_users_text_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    models = (f"{evil}/a", "timm/b")
    runs.write(tmp_path / "run", 12, plan=runs.plan_of(tmp_path / "run", models, classes=(evil, "b")), label=evil)
    text = shown(tmp_path / "run")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "&lt;img" in text or "\\u003cimg" in text or "&lt;/script" in text
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.S):
        marks = re.findall(r"<[^>]*>", json.dumps(json.loads(data)))
        assert {*marks} <= {"<br>", "<b>", "</b>", "<extra>", "</extra>"}


def test_a_torn_line_does_no_harm_and_no_other_file_changes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    runs.write(run, 8, end="running")
    with (run / "trials.jsonl").open("a") as file:
        file.write('{"number": 7, "state": "RUNN')
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert page.write(run) == run / "report.html"
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.pop("report.html").startswith(b"<!doctype html>")
    assert after == before


def test_the_command_line_accepts_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = runs.write(tmp_path / "run", 1)
    typed = shlex.split(command(plan).replace("\\\n", " "))
    assert typed[0] == "frostline"
    given: list[Options] = []

    def note(arguments: Any, *_: object) -> int:
        given.append(api.options_of(cli._values(arguments)))
        return 0

    monkeypatch.setattr(cli, "_run", note)
    assert cli.main(typed[1:]) == 0
    (options,) = given
    assert (options.space, options.profile, options.seed) == ("bert_imdb", "small", 0)
    given_data = (options.dataset, options.train_rows)
    assert (options.trials, options.epochs, *given_data) == ("1", 3, "reviews.csv", 800)
    assert (options.confirm_recipes, options.confirm_seeds, options.prefix_cache) == (2, 3, "off")


def test_the_command_names_the_files_beside_the_data(tmp_path: Path) -> None:
    plan = runs.write(tmp_path / "run", 1)
    data = dataclasses.replace(
        plan.search.base.data, validation_source="/here/dev set.csv", test_source="/here/test.csv", group="user"
    )
    typed = command(altered(plan, base=dataclasses.replace(plan.search.base, data=data)))
    assert "--validation '/here/dev set.csv'" in typed
    assert "--test /here/test.csv" in typed
    assert "--group user" in typed


def test_of_a_space_that_is_no_file_it_is_the_call_in_python(tmp_path: Path) -> None:
    plan = altered(runs.write(tmp_path / "run", 1), space="mine")
    text = command(plan)
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "frostline.search"
    assert [ast.unparse(one) for one in call.args] == ["space"]
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}
    options = api.options_of({**given, "space": "mine"})
    assert (options.seed, options.trials, options.epochs, options.confirm_recipes) == (0, 1, 3, 2)


def test_report_is_a_command_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write(tmp_path / "run", 3)
    assert cli.main(["--report", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"Report: {tmp_path}/run/report.html\n"
    assert cli.main(["--report", str(tmp_path / "run"), "--trials", "3"]) == 2
    assert "--trials cannot be combined with --report" in capsys.readouterr().err
    assert cli.main(["--report", str(tmp_path / "nothing")]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    (tmp_path / "run" / "plan.json").write_text("{}")
    assert cli.main(["--report", str(tmp_path / "run")]) == 2
    assert "is not a plan of this version" in capsys.readouterr().err


def test_the_old_report_stays_if_the_disk_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write(tmp_path / "run", 3)
    (tmp_path / "run" / "report.html").write_text("old")
    with made.full_disk(100_000), pytest.raises(OSError, match="File too large"):
        page.write(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").read_text() == "old"
    assert not [*(tmp_path / "run").glob("*.part")]


def test_the_typed_command_is_shown(copied: Path) -> None:
    made.edit(copied / "log.jsonl", '"command": "frostline"', '"command": "frostline --space x --name \'a b\'"')
    assert "<code>frostline --space x --name &#39;a b&#39;</code>" in shown(copied)


def test_a_report_of_a_run_directory_without_permission_is_written_to_the_cache(
    copied: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "report.html").unlink(missing_ok=True)
    before = {*copied.rglob("*")}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != copied and access(path, mode))  # root may all
    assert cli.main(["--report", str(copied)]) == cli.OK
    said = capsys.readouterr().out
    written = Path(said.removeprefix("Report: ").partition(";")[0])
    assert said.endswith(f"; there is no permission to write in {copied}\n")
    assert (written.is_relative_to(cache / "runs" / "looked-at"), written.name) == (True, "report.html")
    assert {*copied.rglob("*")} == before
    with pytest.raises(ValueError, match=f"^cannot write {copied}: no permission$"):
        run_folder.check_writable(copied)


def test_the_plan_in_the_report_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    run, model, table = tmp_path / "a run", "/home/somebody/bert", "/home/somebody/reviews.csv"
    plan = runs.plan_of(run, models=(model,))
    base = dataclasses.replace(plan.search.base, data=dataclasses.replace(plan.search.base.data, source=table))
    runs.write(run, 3, plan=altered(plan, base=base))
    lines = page.contents(views.read(run))["plan_lines"]
    told = " ".join(text for _, text in lines)
    assert not [place for place in ("/home", str(tmp_path)) if place in told]
    for name in ("bert: ", "reviews.csv: ", "MB in a run"):
        assert name in told
