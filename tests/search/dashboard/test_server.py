"""The dashboard over HTTP: it shows a study, follows it, changes nothing, and serves no file from outside."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import JournalStorage

from frostline import spaces
from frostline.search import cli
from frostline.search.dashboard import files
from frostline.search.dashboard import server as dashboard_server
from frostline.search.dashboard.study_journal import StudyJournal
from frostline.search.records.trials import Outcome
from frostline.spaces import Metric
from tests.search.made import METRIC
from tests.search.studies import Search, searched

ROOT = Path(__file__).resolve().parents[3]


class Client:
    """A client of a served dashboard."""

    def __init__(self, search: Search, port: int) -> None:
        self.search, self.port = search, port

    def ask(self, path: str, method: str = "GET", host: str = "", body: str | None = None) -> tuple[int, str, Any]:
        """Status, text and headers of the answer. The path is sent unchanged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text, answer.headers

    def study(self) -> dict[str, Any]:
        """The study as the page shows it."""
        status, text, _ = self.ask("/api/studies/0")
        assert status == 200, text
        return dict(json.loads(text))


@contextmanager
def serving(search: Search) -> Iterator[Client]:
    """Serve the dashboard of a search."""
    with dashboard_server.server(search.run, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Client(search, server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with serving(searched(tmp_path / "run")) as client:
        yield client


def states(study: dict[str, Any]) -> Counter[str]:
    return Counter(trial["state"] for trial in study["trials"])


def test_every_outcome_has_its_state(client: Client) -> None:
    assert states(client.study()) == {"Complete": 6, "Pruned": 2, "Fail": 1, "Running": 1}


def test_a_waiting_trial_has_names_with_units(tmp_path: Path) -> None:
    Search(tmp_path / "run")
    storage = JournalStorage(StudyJournal(tmp_path / "run" / "study.journal", METRIC))
    trials = storage.get_all_trials(0)
    assert [trial.state.name for trial in trials] == ["WAITING"] * 4
    assert trials[1].system_attrs["fixed_params"] == {
        "learning_rate": 1e-3,
        "batch_size (examples)": 8,
        "frozen_layers (blocks)": 7,
    }


def test_names_carry_their_units_and_values_stay(client: Client) -> None:
    study = client.study()
    assert study["objective_names"] == ["accuracy (0 to 1)"]
    names = {"learning_rate", "batch_size (examples)", "frozen_layers (blocks)"}
    assert {parameter["name"] for parameter in study["union_search_space"]} == names
    for trial in study["trials"]:
        assert {parameter["name"] for parameter in trial["params"]} == names
    probe = {parameter["name"]: parameter["param_external_value"] for parameter in study["trials"][1]["params"]}
    assert probe == {"learning_rate": "0.001", "batch_size (examples)": "8", "frozen_layers (blocks)": "7"}
    assert "training examples seen" in study["note"]["body"]
    assert [value["step"] for value in study["trials"][0]["intermediate_values"]] == [320, 640]


@pytest.mark.parametrize(
    ("metric", "direction", "best"),
    [(METRIC, "maximize", max), (Metric(name="loss", better="lower", unit="nats an example"), "minimize", min)],
    ids=["higher", "lower"],
)
def test_the_study_has_the_direction_of_the_metric(
    tmp_path: Path, metric: Metric, direction: str, best: Callable[[list[float]], float]
) -> None:
    search = searched(tmp_path / "run", metric)
    with serving(search) as client:
        study = client.study()
    assert study["directions"] == [direction]
    assert study["objective_names"] == [metric.name_with_unit]
    assert f"validation {metric.name_with_unit}, {metric.better} is better." in study["note"]["body"]
    values = [trial["values"][0] for trial in study["trials"] if trial["state"] == "Complete"]
    assert len(values) == 6
    assert min(values) > 0, "the metric's value, not the objective"
    assert {trial["values"][0] for trial in study["best_trials"]} == {best(values)}


def test_the_study_is_followed_as_it_grows_and_when_it_is_replaced(tmp_path: Path) -> None:
    """The journal is read directly, without the two seconds after which optuna-dashboard reads it again."""
    search = searched(tmp_path / "run")
    path = tmp_path / "run" / "study.journal"

    def states_in(journal: StudyJournal) -> list[str]:
        study = JournalStorage(journal)
        return [trial.state.name for trial in study.get_all_trials(0)]

    journal = StudyJournal(path, METRIC)
    storage = JournalStorage(journal)
    assert len(storage.get_all_trials(0)) == 10
    search.trial(Outcome.PRUNED)
    assert [trial.state.name for trial in storage.get_all_trials(0)][-1] == "PRUNED"
    assert not journal.replaced
    with path.open("ab") as file:  # an unfinished line
        file.write(b'{"op_code": 4, "worker')
    assert len(storage.get_all_trials(0)) == 11
    search.resume()
    assert journal.replaced
    again = StudyJournal(path, METRIC)
    assert not again.replaced
    assert states_in(again) == [trial.state.name for trial in storage.get_all_trials(0)]
    path.unlink()
    assert not again.replaced, "for a moment the file may be missing"


def test_an_open_page_reloads_when_the_search_goes_on(client: Client) -> None:
    status, page, headers = client.ask("/dashboard/studies/0")
    assert status == 200
    assert '<script defer src="/follow.js"></script></head>' in page
    assert int(headers["Content-Length"]) == len(page.encode())
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "location.reload()" in client.ask("/follow.js")[1]
    before = client.ask("/journal")[1]
    client.search.trial(Outcome.COMPLETE)
    assert client.ask("/journal")[1] == before
    client.search.resume()
    client.search.trial(Outcome.RUNNING)
    assert client.ask("/journal")[1] != before
    assert states(client.study()) == {"Complete": 7, "Pruned": 2, "Fail": 1, "Running": 2}


WRITES = [
    ("DELETE", "/api/studies/0"),
    ("POST", "/api/studies"),
    ("POST", "/api/studies/0/rename"),
    ("PUT", "/api/studies/0/note"),
    ("PUT", "/api/studies/0/3/note"),
    ("POST", "/api/trials/9/tell"),
    ("POST", "/api/trials/9/user-attrs"),
    ("PATCH", "/api/studies/0"),
]


def test_nothing_can_be_written(client: Client) -> None:
    run = client.search.run
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for method, path in WRITES:
        status, text, _ = client.ask(
            path, method, body='{"version": 2, "body": "x", "state": "Fail", "study_name": "y"}'
        )
        assert status == 403, (method, path)
        assert "read-only" in json.loads(text)["reason"]
    client.study()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_storage_itself_refuses_changes(tmp_path: Path) -> None:
    searched(tmp_path / "run")
    storage = JournalStorage(StudyJournal(tmp_path / "run" / "study.journal", METRIC))
    before = (tmp_path / "run" / "study.journal").read_bytes()
    with pytest.raises(PermissionError, match="read-only"):
        storage.delete_study(0)
    with pytest.raises(PermissionError, match="read-only"):
        storage.set_trial_user_attr(9, "a", 1)
    assert (tmp_path / "run" / "study.journal").read_bytes() == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil:1"])
def test_a_foreign_host_name_gets_no_answer(client: Client, host: str) -> None:
    assert client.ask("/api/studies", host=host)[0] == 403
    assert client.ask("/api/studies", host="localhost:9000")[0] == 200, "through a tunnel"


def test_the_note_of_a_trial_links_to_its_page(client: Client) -> None:
    for trial in client.study()["trials"]:
        (link,) = re.findall(r"\]\((.+)\)", trial["note"]["body"])
        assert link == f"/trials/{trial['number']}"
        status, page, _ = client.ask(link)
        assert status == 200
        assert f"Trial {trial['number']}" in page
        for name in re.findall(r'href="(/files/[^"]+)"', page):
            assert client.ask(name)[0] == 200, name
    page = client.ask("/trials/8")[1]
    assert "failed (loss is nan at step 3)" in page
    assert "/files/trials/00008/error.txt" in page
    assert client.ask("/files/trials/00008/error.txt")[1] == "Traceback: here\n"
    assert "batch_size (examples) 16" in client.ask("/trials/0")[1]
    assert "has not reported yet" in client.ask("/trials/99")[1]
    assert client.ask("/trials/-1")[0] == client.ask("/trials/x")[0] == 404


def test_a_folder_that_vanishes_meanwhile_is_no_error(client: Client, vanishing: Callable[[Path], None]) -> None:
    folder = client.search.run / "trials" / "00008"
    for address in ("/trials/8", "/files/trials/00008"):
        folder.mkdir(exist_ok=True)
        vanishing(folder)
        assert client.ask(address)[0] == 200
        assert not folder.exists()


def test_files_are_served_unchanged_and_folders_listed(client: Client) -> None:
    run = client.search.run
    (run / "a <b>").mkdir()
    (run / "a <b>" / "report.html").write_text("<script>1</script>")
    status, text, headers = client.ask("/files/trials.jsonl")
    assert (status, text) == (200, (run / "trials.jsonl").read_text())
    assert headers["Content-Type"].startswith("text/plain")
    listing = client.ask("/files")[1]
    assert '<a href="/files/a%20%3Cb%3E">a &lt;b&gt;</a>' in listing
    status, text, headers = client.ask("/files/a%20%3Cb%3E/report.html")
    assert (status, text) == (200, "<script>1</script>")
    assert headers["Content-Security-Policy"] == "sandbox allow-scripts"


OUTSIDE = [
    "/files/../secret",
    "/files/%2e%2e/secret",
    "/files/..%2fsecret",
    "/files/trials/../../secret",
    "/files//etc/passwd",
    "/files/%2fetc/passwd",
    "/files/link",
    "/files/folder/secret",
    "/files/a%00b",
    "/files/" + "x" * 300,
]


def test_nothing_outside_the_run_directory_is_served(client: Client) -> None:
    run = client.search.run
    (run.parent / "secret").write_text("secret")
    (run / "link").symlink_to(run.parent / "secret")
    (run / "folder").symlink_to(run.parent)
    for path in OUTSIDE:
        status, text, _ = client.ask(path)
        assert status in {400, 403, 404}, path
        assert text != "secret"
    assert "secret" not in client.ask("/files")[1]
    assert ">link<" not in client.ask("/files")[1], "a link to the outside is not even listed"
    (run / "own").symlink_to(run / "plan.json")
    assert files.inside(run, "own") == run / "plan.json"


def test_another_port_is_used_if_the_port_is_taken(tmp_path: Path) -> None:
    searched(tmp_path / "run")
    with (
        dashboard_server.server(tmp_path / "run", 0) as first,
        dashboard_server.server(tmp_path / "run", first.server_port) as second,
    ):
        assert second.server_port != first.server_port
        assert first.server_address[0] == second.server_address[0] == "127.0.0.1"


def _append(run: Path, line: str) -> None:
    with (run / "study.journal").open("a") as file:
        file.write(f"{line}\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: None, "it does not exist"),
        (lambda run: run.write_text("x"), "a file"),
        (lambda run: run.mkdir(), "it has no plan.json"),
        (lambda run: (run.mkdir(), (run / "plan.json").write_text('{"metric": "accuracy"}')), "no study.journal yet"),
        (lambda run: (run.mkdir(), (run / "plan.json").write_text("{}")), "names no metric"),
        (lambda run: (Search(run), (run / "study.journal").write_text('x\n[]\n{"a": 1}\n')), "holds no study"),
        (lambda run: (Search(run), _append(run, '{"op_code": 8, "worker_id": "x", "trial_id": []}')), "is damaged ("),
        (lambda run: (run.mkdir(), (run / "plan.json").write_text('{"metric": []}')), "name is text, got []"),
        (lambda run: (run.mkdir(), (run / "plan.json").write_text('{"metric": "a", "better": 5}')), "better is one of"),
    ],
)
def test_a_bad_run_is_one_line(tmp_path: Path, make: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "run")
    assert cli.main(["--dashboard", str(tmp_path / "run")]) == cli.USER_ERROR
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_the_command_prints_the_address_and_ends_cleanly(tmp_path: Path) -> None:
    search = searched(tmp_path / "run")
    before = sorted(search.run.iterdir())
    command = [sys.executable, str(ROOT / "search/run.py"), "--dashboard", str(search.run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", address)
        assert len(Client(search, int(port)).study()["trials"]) == 10
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert (out.strip(), err) == ("", "")
    assert sorted(search.run.iterdir()) == before


def test_names_have_their_units() -> None:
    assert spaces.with_unit("batch_size") == "batch_size (examples)"
    assert spaces.with_unit("frozen_fraction") == "frozen_fraction (0 to 1 of the blocks)"
    assert spaces.with_unit("learning_rate") == "learning_rate", "a bare number"
    assert Metric(name="macro_f1", unit="0 to 1").name_with_unit == "macro_f1 (0 to 1)"
    assert Metric(name="points").name_with_unit == "points"
