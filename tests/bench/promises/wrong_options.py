"""Wrong words on the command line: options, their values, names, places, permissions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.promises.case import Case, Place

_LONG = "n" * 300
_DEEP = "/".join(["n" * 200] * 30)
_HUGE = "9" * 400

_VALUES: dict[str, Sequence[str]] = {
    "--trials": ("0", "-1", "x", "", "1.5", "+1", "1e3", "nan", "9" * 5000, "1 2"),
    "--epochs": ("0", "-1", "x", "", "1.5", "100000000", str(2**70), "nan"),
    "--confirm": ("-1", "x", "", "1.5", str(2**70)),
    "--confirm-seeds": ("-1", "x", "", "1.5", str(2**70)),
    "--seed": ("-1", "x", "", "1.5", str(2**64), str(2**70), "-9223372036854775809"),
    "--concurrent": ("0", "-1", "x", "", "1.5"),
    "--workers-per-trial": ("0", "-1", "x", "", "1.5", "1000000"),
    "--cpus-per-trial": ("0", "-1", "x", "", "nan", "inf", "1e9", _HUGE),
    "--gpus-per-trial": ("-1", "x", "", "nan", "inf", "1e9"),
    "--retries": ("-1", "x", "", "1.5"),
    "--checkpoint-every": ("-1", "x", "", "nan", "-inf"),
    "--time-budget": ("", "90", "0s", "-5m", "1d", "1.2.3h", "inf", "nans", "h", "+5m", f"{_HUGE}h", "1h 30x"),
    "--cache-size": ("", "x", "-1GB", "1XB", "nan", "1.2.3GB", f"{_HUGE}GB", "GB", "1e9", "inf"),
    "--prefix-cache": ("", "x", "FLOAT32", "int8"),
    "--wandb": ("", "x", "ON", "true"),
    "--profile": ("", "x", "Small", "medium"),
    "--set": ("", "=", "x", "x=1", "learning_rate=", "learning_rate=x", "batch_size=1.5", "warmup=0..9", "epochs=3"),
    "--metric": ("", "acuracy", ".py:", "./none.py", "./none.py:f", "/dev/null.py:f", f"{_LONG}.py:f"),
    "--class-weights": ("", "x", "Balanced", "1,2"),
    "--space-path": ("", "none", "/dev/null", _LONG),
    "--columns": ("text", "a,b,c", ",", "", "text,", ",label", "text,none", "none,label", "text,text"),
    "--name": ("a/b", "/a", "a/", ".", "..", "", _LONG, "../a"),
    "--address": ("x", "127.0.0.1:9", "127.0.0.1:99999", "http://127.0.0.1:8265", "ray://127.0.0.1:9", "", ":", "[::1"),
}
"""Option -> values that are refused."""

_SPACES = (
    "",
    "bert_imbd",
    "../spaces/bert_imdb",
    "_recipe",
    "bert_imdb.py",
    "BERT_IMDB",
    "./none.py",
    "./none.yaml",
    "/dev/null",
    "__init__",
    _LONG,
    ".",
    "a b",
)

_MODELS = (
    *("", ".", "..", "/", "no/such", "a/b/c", "./none", "package:none", "package:", "torchvision/none", "timm/none"),
    *("http://127.0.0.1:9/model", "s3://none/model", _LONG, f"/{_DEEP}", "a b", "-", "~none", "hub\\name", "a//b"),
)
_DATASETS = (
    *("", ".", "/", "no/such", "a/b/c", "./none.csv", "package:none", "package:", "http://127.0.0.1:9/t.csv"),
    *("s3://none/t.csv", f"{_LONG}.csv", f"/{_DEEP}.csv", "a b.csv", "~none/t.csv", "t.csv,u.csv", "/dev/null"),
    *("/dev/zero", "/dev/stdin", "/proc/self/mem", "/etc/hostname"),
)
_STORAGES = (
    *(
        "/proc/none",
        "/dev/null",
        "/dev/null/a",
        f"/tmp/{_LONG}",
        f"/tmp/{_DEEP}",
        "s3://",
        "s3:///a",
        "s3://UPPER_case/a",
    ),
    *("none://bucket/a", "memory://a", "http://127.0.0.1:9/a", "gs://bucket/a", "abfs://bucket/a", "://a", "zip://a"),
    *("file:///proc/none", "file:///dev/null", "ftp://127.0.0.1:9/a", "github://a", "simplecache://a"),
    "sftp://127.0.0.1:9/a",
)
_RUNS = (
    *("", "none", "/", "/dev/null", "/proc/self", _LONG, f"/{_DEEP}", "s3://", "none://a/b", "memory://a", "://"),
    *("file:///none", "file:///dev/null", "~none/run", "http://127.0.0.1:9/a", "gs://bucket/a"),
)
_UNKNOWN: Sequence[Sequence[str]] = (
    *(
        ("--no-such",),
        ("--no-such", "1"),
        ("-x",),
        ("positional",),
        ("--", "positional"),
        ("--s", "x"),
    ),
    *(
        ("--con", "3"),
        ("--space=bert_imdb", "extra"),
        ("--dry-run=1",),
        ("--json=yes",),
        ("--quiet", "no"),
        ("--list=x",),
    ),
    *(("--\u00e9t\u00e9",), ("--no\nsuch",), ("---trials", "2"), ("-",), ("",)),
)
_TOGETHER: Sequence[Sequence[str]] = (
    *(("--resume", "R", *more) for more in (("--space", "bert_imdb"), ("--profile", "small"), ("--model", "m"))),
    *(("--resume", "R", *more) for more in (("--dataset", "d"), ("--columns", "a,b"), ("--epochs", "3"))),
    *(
        ("--resume", "R", *more)
        for more in (("--seed", "0"), ("--storage", "runs"), ("--name", "n"), ("--retrain", "r"))
    ),
    *(("--resume", "R", *more) for more in (("--prefix-cache", "off"), ("--trials", "0"), ("--trials", "+x"))),
    *(("--resume", "R", *more) for more in (("--trials", "+"), ("--trials", "-1"), ("--trials", "+-1"))),
    *(("--resume", "R", *more) for more in (("--time-budget", "+"), ("--time-budget", "+x"), ("--time-budget", "+1h"))),
    *(("--resume", "R", *more) for more in (("--concurrent", "0"), ("--retries", "-1"), ("--checkpoint-every", "nan"))),
    *(("--resume", "R", *more) for more in (("--cpus-per-trial", "0"), ("--workers-per-trial", "0"), ("--wandb", "x"))),
    *(("--dashboard", "R", *more) for more in (("--space", "bert_imdb"), ("--resume", "R"), ("--retrain", "R"))),
    *(("--dashboard", "R", *more) for more in (("--name", "n"), ("--trials", "3"))),
    *(("--report", "R", *more) for more in (("--resume", "R"), ("--trials", "3"), ("--json",), ("--quiet",))),
    *(("--retrain", "R", *more) for more in (("--space", "bert_imdb"),)),
    *((), ("--dry-run",), ("--model", "m"), ("--wandb-artifact", "--space", "bert_imdb")),
)
"""Options that do not go together, or that are too few. `R` stands for a run directory."""


def cases() -> list[Case]:
    """All of them."""
    return [*_values(), *_places(), *_permissions()]


def _values() -> Iterator[Case]:
    for option, values in _VALUES.items():
        for value in values:
            yield Case(name=f"option: {option} {_short(value)!r}", make=_search_with(option, value))
        yield Case(name=f"option: {option} without a value", make=_search_with(option))
    for words in _UNKNOWN:
        yield Case(name=f"option: {' '.join(words)!r}", make=_search_with(*words))
    for words in _TOGETHER:
        yield Case(name=f"together: {' '.join(words) or 'nothing'}", make=_with_run(words))
    for value in _SPACES:
        yield Case(name=f"space: {_short(value)!r}", make=_words("--space", value))
    yield Case(name="option: --wandb-artifact --wandb off", make=_search_with("--wandb-artifact", "--wandb", "off"))
    yield Case(name="option: --wandb-artifact without a key", make=_search_with("--wandb-artifact"))


def _places() -> Iterator[Case]:
    for value in _MODELS:
        yield Case(name=f"model name: {_short(value)!r}", make=lambda place, v=value: place.text_search(model=v))
    for value in (
        "torchvision/none",
        "timm/none",
        "package:none",
        "none",
        "",
        "/dev/null",
        "torchvision/",
        "timm/",
        _LONG,
    ):
        yield Case(name=f"vision model name: {_short(value)!r}", make=lambda p, v=value: p.picture_search(model=v))
    for value in _DATASETS:
        yield Case(name=f"dataset name: {_short(value)!r}", make=lambda place, v=value: place.text_search(dataset=v))
    for value in ("none", "", "/dev/null", "/", "/proc", "package:none", _LONG):
        yield Case(name=f"pictures name: {_short(value)!r}", make=lambda p, v=value: p.picture_search(dataset=v))
    for value in _STORAGES:
        yield Case(name=f"storage: {_short(value)!r}", make=_search_with("--storage", value))
    for value in _RUNS:
        for option in ("--resume", "--report", "--dashboard", "--retrain"):
            yield Case(name=f"run: {option} {_short(value)!r}", make=_words(option, value))
    yield Case(name="storage: a file", make=lambda p: p.text_search("--storage", str(p.file("f", ""))))
    yield Case(name="storage: below a file", make=lambda p: p.text_search("--storage", str(p.file("f", "") / "a")))
    yield Case(name="storage: a link to itself", make=lambda p: p.text_search("--storage", str(_loop(p))))
    yield Case(name="storage: below a link to itself", make=lambda p: p.text_search("--storage", str(_loop(p) / "a")))
    yield Case(name="name: of a folder with files", make=_taken_by_files)
    yield Case(name="name: of a file", make=_taken_by_a_file)
    yield Case(name="model: a link to itself", make=lambda p: p.text_search(model=_loop(p)))
    yield Case(name="dataset: a link to itself", make=lambda p: p.text_search(dataset=_loop(p)))
    yield Case(name="pictures: a link to itself", make=lambda p: p.picture_search(dataset=_loop(p)))
    for option in ("--resume", "--report", "--dashboard", "--retrain"):
        yield Case(name=f"run: {option} a link to itself", make=lambda p, o=option: [o, str(_loop(p))])
        yield Case(name=f"run: {option} a FIFO", make=lambda p, o=option: [o, str(_fifo(p))])
    yield Case(name="model: a FIFO", make=lambda p: p.text_search(model=_fifo(p)))
    yield Case(name="dataset: a FIFO", make=lambda p: p.text_search(dataset=_fifo(p)))
    yield Case(name="dataset: a FIFO called .csv", make=lambda p: p.text_search(dataset=_fifo(p, "t.csv")))
    yield Case(name="dataset: a FIFO called .jsonl", make=lambda p: p.text_search(dataset=_fifo(p, "t.jsonl")))
    yield Case(name="pictures: a FIFO", make=lambda p: p.picture_search(dataset=_fifo(p)))


def _permissions() -> Iterator[Case]:
    made: dict[str, Callable[[Place], Sequence[str]]] = {
        "model folder": lambda p: p.text_search(model=_closed(p.model())),
        "config.json": lambda p: p.text_search(model=_closed(p.model() / "config.json").parent),
        "tokenizer.json": lambda p: p.text_search(model=_closed(p.model() / "tokenizer.json").parent),
        "model.safetensors": lambda p: p.text_search(model=_closed(p.model() / "model.safetensors").parent),
        "vision model.safetensors": lambda p: p.picture_search(model=_closed(p.vision() / "model.safetensors").parent),
        "vision config.json": lambda p: p.picture_search(model=_closed(p.vision() / "config.json").parent),
        "table": lambda p: p.text_search(dataset=_closed(p.file("t.csv", "text,label\n"))),
        "folder of a table": lambda p: p.text_search(
            dataset=_closed(p.file("d/t.csv", "text,label\n").parent) / "t.csv"
        ),
        "folder of tables": lambda p: p.text_search(dataset=_closed(p.file("d/train.csv", "text,label\n").parent)),
        "table in a folder": lambda p: p.text_search(dataset=_closed(p.file("d/train.csv", "text,label\n")).parent),
        "pictures": lambda p: p.picture_search(dataset=_closed(p.pictures())),
        "class folder": lambda p: p.picture_search(dataset=_closed(p.pictures() / "blue").parent),
        "storage": lambda p: p.text_search("--storage", str(_read_only(p))),
        "below storage": lambda p: p.text_search("--storage", str(_read_only(p) / "a" / "b")),
        "closed storage": lambda p: p.text_search("--storage", str(_closed(p.file("s/f", "").parent))),
        "run to resume": lambda p: ["--resume", str(_closed(p.run()))],
        "plan to resume": lambda p: ["--resume", str(_closed(p.run() / "plan.json").parent)],
        "log to resume": lambda p: ["--resume", str(_closed(p.run() / "log.jsonl").parent)],
        "trials to resume": lambda p: ["--resume", str(_closed(p.run() / "trials.jsonl").parent)],
        "read-only run to resume": lambda p: ["--resume", str(_read_only_run(p))],
        "run to report": lambda p: ["--report", str(_closed(p.run()))],
        "plan to report": lambda p: ["--report", str(_closed(p.run() / "plan.json").parent)],
        "trials to report": lambda p: ["--report", str(_closed(p.run() / "trials.jsonl").parent)],
        "run to show": lambda p: ["--dashboard", str(_closed(p.run()))],
        "recipe to retrain": lambda p: ["--retrain", str(_closed(p.file("recipe.json", "{}")))],
        "folder of a recipe": lambda p: ["--retrain", str(_closed(p.file("best/recipe.json", "{}").parent))],
    }
    for name, make in made.items():
        yield Case(name=f"permission: {name}", make=make, powerless=True)
    yield Case(  # the report goes to the cache
        name="permission: read-only run to report",
        make=lambda p: ["--report", str(_read_only_run(p))],
        powerless=True,
        may_pass=True,
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:12]}... ({len(text)} characters)"


def _words(*words: str) -> Callable[[Place], Sequence[str]]:
    return lambda _: words


def _search_with(*words: str) -> Callable[[Place], Sequence[str]]:
    return lambda place: place.text_search(*words)


def _with_run(words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        run = str(place.run()) if "R" in words else ""
        return [run if word == "R" else word for word in words]

    return make


def _loop(place: Place) -> Path:
    loop = place.folder / "loop"
    loop.symlink_to(loop)
    return loop


def _fifo(place: Place, name: str = "fifo") -> Path:
    path = place.folder / name
    os.mkfifo(path)
    return path


def _taken_by_files(place: Place) -> Sequence[str]:
    place.file("storage/n/other.txt", "")
    return place.text_search()


def _taken_by_a_file(place: Place) -> Sequence[str]:
    place.file("storage/n", "")
    return place.text_search()


def _closed(path: Path) -> Path:
    path.chmod(0)
    return path


def _read_only(place: Place) -> Path:
    folder = place.folder / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    return folder


def _read_only_run(place: Place) -> Path:
    run = place.run()
    for path in (*run.rglob("*"), run):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return run
