"""Arrows point one way, and what must answer at once imports nothing heavy."""

import ast
import graphlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("search", "trainables", "spaces")
MAY_IMPORT = {
    "search": {"search", "trainables", "spaces"},
    "trainables": {"trainables", "spaces"},
    "spaces": {"spaces"},
}
# Inside search: module -> the modules of search it may import, at the top or late.
INSIDE_SEARCH = {
    "run": {"cli"},
    "cli": {"cluster", "dashboard", "lease", "look", "options", "page", "plan", "remote", "report", "rundir", "tuner"},
    "prefix": {"options", "parameters", "scheduler"},
    "models": {"options", "prefix"},
    "sweep": {"plan", "results"},
    "workspace": {"sweep"},
    "wandb_client": {"results", "sweep", "workspace"},
    "tracking": {"plan", "results", "rundir", "sweep"},
    "autoscaler": {"capacity"},
    "cluster": {"autoscaler", "capacity"},
    "plan": {
        *("account", "capacity", "cluster", "models", "options", "parameters", "prefix", "remote", "rundir"),
        "scheduler",
    },
    "mirror": {"lease"},
    "remote": {"lease", "mirror", "results", "rundir"},
    "look": {"mirror", "options", "remote"},
    "rundir": {"results"},
    "scheduler": {"results"},
    "confirm": {"results"},
    "study": {"results"},
    "ledger": {"confirm", "parameters", "plan", "results", "rundir", "study"},
    "report": {"confirm", "ledger", "plan", "results", "scheduler"},
    "pages": {"results", "rundir"},
    "dashboard": {"pages", "rundir"},
    "pace": {"results"},
    "live": {"pace"},
    "progress": {"confirm", "live", "pace", "plan", "prefix", "report", "results"},
    "view": {"capacity", "confirm", "models", "plan", "results", "rundir"},
    "timeline": {"results"},
    "importance": {"parameters", "results"},
    "figures": {"importance", "results", "timeline", "view", "words"},
    "landscape": {"figures", "view", "words"},
    "findings": {"confirm", "importance", "results", "timeline", "view", "words"},
    "page": {
        *("confirm", "figures", "findings", "importance", "landscape", "plan", "report", "results", "rundir"),
        *("timeline", "view", "words"),
    },
    "export": {"cluster", "plan", "results", "rundir"},
    "wires": {"capacity", "cluster", "health", "ledger", "reaper", "results", "rundir", "scheduler"},
    "trial": {"groups"},
    "tuner": {
        *("cluster", "export", "ledger", "page", "plan", "progress", "reaper", "remote", "report", "results"),
        *("rundir", "scheduler", "tracking", "trial", "wires"),
    },
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of everything the file imports, at any depth, `from a import b` as `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_arrows_point_one_way(path: Path) -> None:
    names = imported(path)
    package = path.parent.name
    ours = {name.split(".")[0] for name in names} & {*PACKAGES, "tests"}
    assert ours <= MAY_IMPORT[package]
    if package == "search" and path.stem != "__init__":
        modules = {other.stem for other in FILES if other.parent.name == "search"}
        inside = {name.split(".")[1] for name in names if name.startswith("search.")} & modules
        assert inside == INSIDE_SEARCH.get(path.stem, set()), "no arrow more, and none that is not there any more"
    if package == "trainables" and path.stem != "_worker":
        assert not {name for name in names if name.split(".")[0] == "ray"}
    if package == "spaces":
        outside = {name.split(".")[0] for name in names} - {"spaces"} - sys.stdlib_module_names
        assert outside <= {"optuna"}
        assert {name for name in names if name.startswith("optuna")} <= {
            "optuna.distributions",
            *(name for name in names if name.startswith("optuna.distributions.")),
        }


def test_no_arrow_inside_search_leads_back() -> None:
    graphlib.TopologicalSorter(INSIDE_SEARCH).prepare()  # raises CycleError


@pytest.mark.parametrize(
    "module",
    [
        "ledger",
        "results",
        "confirm",
        "rundir",
        "options",
        "study",
        "scheduler",
        "capacity",
        "health",
        "plan",
        "models",
        "prefix",
        "parameters",
    ],
)
def test_what_decides_is_imported_without_ray_and_torch(module: str) -> None:
    code = (
        f"import sys, search.{module}\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'ray', 'transformers', 'datasets', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_report_is_made_without_ray_and_torch() -> None:
    code = (
        "import sys, frostline.search.report.page\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'ray', 'transformers', 'datasets'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_file_in_search_shadows_the_standard_library() -> None:
    assert not {path.stem for path in (ROOT / "search").glob("*.py")} & set(sys.stdlib_module_names)


def test_help_answers_at_once_and_imports_the_standard_library_only() -> None:
    code = (
        "import sys; sys.argv = ['frostline', '--help']\n"
        "from frostline.search.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('HEAVY', sorted({n.split('.')[0] for n in sys.modules} "
        "& {'torch', 'ray', 'optuna', 'transformers', 'numpy', 'rich', 'datasets', 'pandas', 'wandb', 'psutil'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--space" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_takes_little_longer_than_python_itself() -> None:
    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd="/", capture_output=True, check=True)
        return time.perf_counter() - started

    bare, help_ = (
        min(seconds(*arguments) for _ in range(5))
        for arguments in (("-c", ""), (str(ROOT / "search/run.py"), "--help"))
    )
    assert help_ - bare < 0.25


def test_files_from_elsewhere_are_data() -> None:
    """No pickle is opened, no remote code is run, and Tune's own records are never read back."""
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imported(path) & {"pickle", "cloudpickle", "dill", "shelve", "marshal"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                assert (owner, node.attr) not in {("torch", "load"), ("Tuner", "restore")}, f"{path}:{node.lineno}"
                assert node.attr not in {"get_pickled_error", "restore_from_dir"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
                assert isinstance(node.value, ast.Constant), f"{path}:{node.value.lineno}"
                assert node.value.value is False, f"{path}:{node.value.lineno}"
