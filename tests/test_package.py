"""An installation adds one name, `frostline`, and nothing in its surroundings can replace a part of it."""

import base64
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
FOLDERS = ("search", "spaces", "trainables")
COMMANDS = {
    "console script": lambda target: [str(target / "bin" / "frostline")],
    "module": lambda target: [sys.executable, "-m", "frostline"],
}
FOREIGN = {"spaces/__init__.py": "GPU = 'theirs'\n", "spaces/config.py": ""}
"""Files of the other package called `spaces`. PyPI's is Hugging Face's."""


def run(command: list[str], cwd: Path, first: Path | None = None) -> str:
    """What the command prints, with the folder `first` in front on Python's path and nothing else added to it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if first is not None:
        environment["PYTHONPATH"] = str(first)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a `wheel`, an `editable` or an `sdist` as pip does, without its isolated environment."""
    code = "import sys\nfrom hatchling import build\nprint(getattr(build, sys.argv[1])(sys.argv[2]))"
    folder.mkdir(exist_ok=True)
    return folder / run([sys.executable, "-c", code, f"build_{kind}", str(folder)], source).strip()


def install(target: Path, wheel: Path) -> None:
    """Install a wheel without its dependencies. `uv run` makes environments without pip, so uv is asked first."""
    uv = os.environ.get("UV") or shutil.which("uv")
    pip = (
        [uv, "pip", "install", "--quiet", "--offline", "--python", sys.executable]
        if uv
        else [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    )
    run([*pip, "--no-deps", "--target", str(target), str(wheel)], wheel.parent)


def installed(target: Path, name: str) -> importlib.metadata.Distribution:
    (found,) = (d for d in importlib.metadata.distributions(path=[str(target)]) if d.name == name)
    return found


def uninstall(target: Path, name: str) -> None:
    """Remove the files that the package's RECORD names."""
    for file in installed(target, name).files or ():
        target.joinpath(file).unlink()


def listed(target: Path, cwd: Path, command: str = "module") -> list[str]:
    """Names of the spaces that `--list` shows."""
    return [line.split()[0] for line in run([*COMMANDS[command](target), "--list"], cwd, target).splitlines()]


def checkout_spaces() -> list[str]:
    return sorted(path.stem for path in (ROOT / "spaces").glob("[!_]*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def foreign_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of another package, whose top-level name is `spaces`."""
    files = FOREIGN | {
        "spaces-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: spaces\nVersion: 1.0\n",
        "spaces-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ["spaces-1.0.dist-info/RECORD,,"]
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(text)}")
    path = tmp_path_factory.mktemp("foreign") / "spaces-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {"spaces-1.0.dist-info/RECORD": "\n".join(record) + "\n"}).items():
            archive.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel alone is installed in."""
    folder = tmp_path_factory.mktemp("target")
    install(folder, wheel)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout that a test may edit."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*FOLDERS, ".ci"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("frostline.py", "pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def editable(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the copied checkout is installed in as an editable installation."""
    folder = tmp_path_factory.mktemp("editable")
    install(folder, build("editable", checkout, tmp_path_factory.mktemp("editable_wheel")))
    return folder


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working directory with packages of our folders' names. Importing one of them fails."""
    for name in (*FOLDERS, "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from the working directory')\n")
    return tmp_path


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_another_package_called_spaces_changes_nothing(
    ours_first: bool, wheel: Path, foreign_wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    for path in (wheel, foreign_wheel) if ours_first else (foreign_wheel, wheel):
        install(target, path)
    assert run([sys.executable, "-c", "import spaces; print(spaces.GPU)"], tmp_path, target) == "theirs\n"
    for command in COMMANDS:
        assert listed(target, tmp_path, command) == checkout_spaces()
    uninstall(target, "spaces")
    for command in COMMANDS:
        assert listed(target, tmp_path, command) == checkout_spaces()


def test_the_other_package_called_spaces_stays_whole_when_frostline_goes(
    wheel: Path, foreign_wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    for path in (wheel, foreign_wheel):
        install(target, path)
    uninstall(target, "frostline")
    assert {name: (target / name).read_text() for name in FOREIGN} == FOREIGN
    assert [path for path in target.rglob("*.py") if "spaces" not in path.parts] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_folders_of_the_working_directory_are_not_imported_by_an_installation(
    command: str, target: Path, hostile: Path
) -> None:
    assert listed(target, hostile, command) == checkout_spaces()


def test_folders_of_the_working_directory_are_not_imported_by_a_checkout(hostile: Path) -> None:
    lines = run([sys.executable, str(ROOT / "search" / "run.py"), "--list"], hostile).splitlines()
    assert [line.split()[0] for line in lines] == checkout_spaces()


def test_the_module_of_an_installation_changes_no_path_but_drops_the_working_directory(
    target: Path, tmp_path: Path
) -> None:
    code = (
        "import os, runpy, sys\n"
        "before = [*sys.path]\n"
        "runpy.run_module('frostline', run_name='not main')\n"
        "print(sys.path == before[1:], os.environ['PYTHONPATH'])"
    )
    assert run([sys.executable, "-c", code], tmp_path, target) == f"True {target}\n"


@pytest.mark.parametrize("installation", ["target", "editable"])
def test_an_installation_adds_one_name(installation: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target: Path = request.getfixturevalue(installation)
    files = installed(target, "frostline").files or []
    names = {file.parts[0] for file in files} - {"bin"}
    assert {name.removesuffix(".py") for name in names} == {"frostline", f"frostline-{VERSION}.dist-info"}
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from importlib.util import find_spec\n"
        "print([bool(find_spec(n)) for n in ('search', 'spaces', 'trainables', 'tests', 'frostline.search')])"
    )
    # -S leaves out the running environment, -P the working directory.
    printed = run([sys.executable, "-S", "-P", "-c", code, str(target)], tmp_path)
    assert printed == "[False, False, False, False, True]\n"


@pytest.mark.parametrize("installation", ["target", "editable"])
def test_importing_frostline_imports_the_standard_library_only(
    installation: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target: Path = request.getfixturevalue(installation)
    code = (
        "import sys\n"
        "before = {*sys.modules}\n"
        "import frostline\n"
        "tops = {name.split('.')[0] for name in {*sys.modules} - before}\n"
        "print(sorted(tops - sys.stdlib_module_names), [n for n in sys.modules if n.startswith('frostline.')])"
    )
    assert run([sys.executable, "-c", code], tmp_path, target) == "['frostline'] []\n"


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {*archive.namelist()}


def test_the_wheel_holds_the_three_folders_and_nothing_else(wheel: Path) -> None:
    ours = {
        f"frostline/{path.relative_to(ROOT).as_posix()}"
        for name in FOLDERS
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.name not in {"README.md", "report.png"} and path.suffix != ".pyc"
    }
    ours -= {"frostline/search/run.py"}  # its name is `__main__.py` there
    report = ("page.html", "page.css", "page.js", "card.md")
    assert {f"frostline/search/report/{name}" for name in report} <= contents(wheel)
    modules = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert modules == ours | {"frostline/__init__.py", "frostline/__main__.py"}  # so no __pycache__ and no README


def test_a_wheel_from_the_source_distribution_holds_the_same_files(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("frostline-*")
    assert contents(build("wheel", source, tmp_path / "wheel")) == contents(wheel)


def test_an_editable_installation_sees_edits(checkout: Path, editable: Path, tmp_path: Path) -> None:
    text = (checkout / "spaces" / "bert_imdb.py").read_text(encoding="utf-8")
    (checkout / "spaces" / "brand_new.py").write_text(text.replace('name="bert_imdb"', 'name="brand_new"'))
    assert "brand_new" in listed(editable, tmp_path)
    with (checkout / "frostline.py").open("a", encoding="utf-8") as file:
        file.write("\nEDITED = 42\n")
    code = "import frostline.search; print(frostline.EDITED, frostline.search.__path__)"
    printed = run([sys.executable, "-c", code], tmp_path, editable)
    assert printed == f"42 {[str(checkout / 'search')]}\n"
