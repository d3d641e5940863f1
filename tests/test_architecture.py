"""Arrows between packages point one way, no two files import each other, and light modules import nothing heavy."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TREES = ("search", "trainables", "spaces")
HEAVY = ("torch", "ray", "transformers", "datasets", "rich", "wandb", "pandas", "plotly")

# Package -> the packages that it imports, at the top of a file, late or for types. A file beside the packages has a row
# of its own. `search` and `trainables` are the `__init__.py` of these folders, `families` are the files in trainables/
# without an underscore, and `spaces` is the whole tree.
ARROWS = {
    "spaces": "",
    # trainables
    "_atomic": "",
    "_code": "_errors",
    "_metrics": "_code spaces",
    "_sizes": "",
    "_errors": "",
    "_imports": "",
    "_baseline": "_errors",
    "_locks": "_atomic",
    "_freezing": "",
    "_modules": "",
    "_task": "spaces",
    "_transformers": "",
    "_storage": "_atomic _errors _locks _task",
    "text": "_baseline _freezing _modules _transformers data spaces",
    "data": "_atomic _errors _sizes _storage spaces",
    "_family": "_baseline _freezing _imports _metrics _modules data spaces",
    "training": "_atomic _errors _family _freezing _modules _task data spaces",
    "vision": "_atomic _baseline _errors _freezing _modules _storage _transformers data spaces",
    "prefix": "_atomic _family _freezing _locks _modules _storage _task data spaces training",
    "slot": "_atomic _errors _family _freezing _storage _task data prefix spaces training",
    "families": "_baseline _family _freezing _modules _sizes data spaces text vision",
    "trainables": "_family _sizes spaces",
    # search
    "words": "",
    "mistakes": "_atomic",
    "output": "",
    "records": "_atomic _storage spaces",
    "cluster": "_errors _locks _storage stop",
    "plan": "_atomic _baseline _code _errors _family _metrics _task cluster data prefix records spaces training words",
    "ledger": "_atomic _task plan records spaces",
    "tune": "_atomic _imports _task cluster ledger records slot",
    "publish": "_atomic _sizes _storage _task cluster data plan records slot spaces",
    "baseline": "_baseline _errors _family _imports data plan records",
    "report": "_atomic _family ledger plan records spaces words",
    "console": "ledger plan records words",
    "tracking": "_errors _imports plan records spaces",
    "dashboard": "records spaces words",
    "tuner": "_atomic _errors _family _task baseline cluster console data ledger plan publish records report stop "
    "tracking tune",
    "search": "api spaces",
    "api": "_atomic _imports cluster data mistakes plan records report spaces tuner",
    "cli": "_atomic api cluster dashboard mistakes output plan records report stop",
    "run": "cli",
    "stop": "_locks",
}

# Files of trainables that import Ray.
WITH_RAY = {f"trainables.slot.{name}" for name in ("process", "ray_private", "worker")}

# Circles between files that are known. There should be none.
CIRCLES: list[list[str]] = []


def module_name(path: Path) -> str:
    """`search/plan/plan.py` -> `search.plan.plan`; a package is its `__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py"))}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_names(path: Path) -> set[str]:
    """Dotted names that the file imports, at any depth: `from a import b` gives `a` and `a.b`."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_files(path: Path) -> set[str]:
    """Modules of the three trees that the file imports. `from package import module` imports the module."""
    modules = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            module = name.removeprefix("frostline.") if name.startswith("frostline.") else ""
            while module and module not in FILES:  # a class or a function: the module that holds it
                module = module.rpartition(".")[0]
            if module:
                modules.add(module)
    return modules - {module_name(path)}


def package_of(module: str) -> str:
    """The row of `ARROWS` that a module belongs to."""
    tree, *inner = module.split(".")
    if tree == "spaces" or not inner:
        return tree
    is_family = tree == "trainables" and len(inner) == 1 and FILES[module].stem == inner[0] and inner[0][0] != "_"
    return "families" if is_family else inner[0]


def drawn_arrows() -> dict[str, set[str]]:
    """Package -> the packages that its files import."""
    arrows: dict[str, set[str]] = {package_of(module): set() for module in FILES}
    for module, path in FILES.items():
        arrows[package_of(module)] |= {package_of(other) for other in imported_files(path)} - {package_of(module)}
    return arrows


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two or more nodes that all reach each other."""

    def reachable(start: str) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting.extend(new)
        return seen

    reach = {node: reachable(node) for node in graph}
    groups = {tuple(sorted({other for other in reach[node] if node in reach[other]})) for node in graph}
    return sorted(list(group) for group in groups if group)


@pytest.mark.parametrize("package", sorted({*drawn_arrows(), *ARROWS}))
def test_arrows_between_packages_are_the_listed_ones(package: str) -> None:
    """Fails on an arrow more, and on a listed arrow that is gone."""
    assert " ".join(sorted(drawn_arrows().get(package, ()))) == ARROWS.get(package)


def test_no_two_files_import_each_other() -> None:
    assert circles({module: imported_files(path) for module, path in FILES.items()}) == CIRCLES


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]


@pytest.mark.parametrize("module", FILES)
def test_files_import_only_what_their_tree_may(module: str) -> None:
    names = imported_names(FILES[module])
    tops = {name.split(".")[0] for name in names}
    assert not tops & {*TREES, "tests"}, "everything is imported through frostline"
    tree = module.split(".")[0]
    if tree == "trainables" and module not in WITH_RAY:
        assert "ray" not in tops
    if tree == "spaces":
        assert tops - sys.stdlib_module_names <= {"frostline", "optuna"}
        optuna = {name for name in names if name.split(".")[0] == "optuna"}
        assert all((name + ".").startswith("optuna.distributions.") for name in optuna)


def heavy_imports(modules: list[str], heavy: tuple[str, ...]) -> str:
    """Import the modules in a fresh process; one line for each after which something heavy is there."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[2].split():\n"
        "    importlib.import_module('frostline.' + name)\n"
        "    tops = {other.split('.')[0] for other in sys.modules} & {*sys.argv[1].split()}\n"
        "    if tops: print(name, *sorted(tops))\n"
    )
    command = [sys.executable, "-c", code, " ".join(heavy), " ".join(modules)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "package",
    [
        *("spaces", "search.plan", "search.records", "search.ledger"),
        *("search.cluster.capacity", "search.tune.health"),
    ],
)
def test_what_decides_is_imported_without_ray_and_torch(package: str) -> None:
    modules = [module for module in FILES if f"{module}.".startswith(f"{package}.")]
    assert heavy_imports(modules, HEAVY) == ""


def test_a_report_is_made_without_ray_and_torch() -> None:
    assert heavy_imports(["search.report.page"], ("torch", "ray", "transformers", "datasets")) == ""


def test_no_file_shadows_the_standard_library() -> None:
    """Python puts the folder of `search/run.py` first on its path."""
    names = {path.stem if path.is_file() else path.name for path in (ROOT / "search").iterdir()}
    assert not (names - {"__init__", "__pycache__"}) & set(sys.stdlib_module_names)


@pytest.mark.parametrize("option", ["--help", "--no-such-option"])
def test_help_imports_the_standard_library_only(option: str) -> None:
    code = (
        "import sys\n"
        "before = {*sys.modules}\n"
        "from frostline.search.cli import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as end: print('CODE', end.code)\n"
        "tops = {name.split('.')[0] for name in {*sys.modules} - before}\n"
        "print(sorted(tops - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code, option], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("--space" if option == "--help" else "frostline: unrecognized") in done.stdout + done.stderr
    *_, code_line, imports = done.stdout.splitlines()
    assert (code_line, imports) == (f"CODE {0 if option == '--help' else 2}", "['frostline']")


def test_files_from_elsewhere_are_data() -> None:
    """No pickle is opened, no remote code is run, and Tune's own records are never read back."""
    for path in FILES.values():
        assert not imported_names(path) & {"pickle", "cloudpickle", "dill", "shelve", "marshal"}, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                assert (owner, node.attr) not in {("torch", "load"), ("Tuner", "restore")}, f"{path}:{node.lineno}"
                assert node.attr not in {"get_pickled_error", "restore_from_dir"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
                assert isinstance(node.value, ast.Constant), f"{path}:{node.value.lineno}"
                assert node.value.value is False, f"{path}:{node.value.lineno}"


MUST_SAY = {
    "from_pretrained": ("trust_remote_code", False),
    "from_config": ("trust_remote_code", False),
    "pipeline": ("trust_remote_code", False),
    "get_state_dict": ("weights_only", True),
    "timm.models.load_state_dict": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
}
"""Call -> the argument without which a library may run code of a file, or asks the user whether to."""

NEVER_CALLED = {"torch.load", "torch.hub.load", "pd.read_pickle", "datasets.load_dataset", "joblib.load", "input"}
"""`datasets.load_dataset` opens pickles inside a tar before anybody can look at its format."""


def calls_in(path: Path) -> list[tuple[str, ast.Call]]:
    """The calls in a file, each with its dotted name."""
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in nodes]


def test_no_call_may_run_the_code_of_a_file() -> None:
    for path in (*FILES.values(), *sorted((ROOT / "tests" / "bench").rglob("*.py"))):
        for name, node in calls_in(path):
            assert name not in NEVER_CALLED, f"{path}:{node.lineno}"
            for call, (argument, value) in MUST_SAY.items():
                if name == call or ("." not in call and name.rpartition(".")[2] == call):
                    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    assert given.get(argument) == str(value), f"{path}:{node.lineno}: {name} without {argument}={value}"


def test_the_calls_that_are_looked_for_exist() -> None:
    """Else the test above would look for nothing."""
    names = {name for path in FILES.values() for name, _ in calls_in(path)}
    assert {call for call in MUST_SAY if not any(name == call or name.endswith(f".{call}") for name in names)} == set()


def test_files_get_their_names_in_one_module() -> None:
    """It syncs before and after. `text.replace(a, b)` and `dataclasses.replace(it, a=b)` are no renames."""
    for module, path in FILES.items():
        if module in {"trainables._atomic", "trainables._locks"}:  # the second renames folders that it removes
            continue
        for name, node in calls_in(path):
            assert name not in {"os.rename", "os.replace", "os.link", "shutil.move"}, f"{path}:{node.lineno}"
            call = name.rpartition(".")[2]
            is_rename = call in {"rename", "hardlink_to"} or (call == "replace" and len(node.args) == 1)
            assert not is_rename or node.keywords, f"{path}:{node.lineno}"
