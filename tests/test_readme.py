"""The READMEs: what they link and name is there, and the space on the first page works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_NOT_HERE = {"runs", "best", "wandb", "confirm", "trials", "train", "val", "space.py", "space.yaml", "metric.py"}
"""First parts of names in a run directory, or in a user's data."""

READMES = [ROOT / folder / "README.md" for folder in ("", "search", "trainables", "spaces", "tests", "tests/bench")]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=ids)
def test_its_links_lead_somewhere(readme: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (readme.parent / name).resolve() if name else readme
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target if target.is_file() else target / "README.md"), link


@pytest.mark.parametrize("readme", READMES, ids=ids)
def test_the_files_that_it_names_are_there(readme: Path) -> None:
    text = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name in re.findall(r"`([\w./]+/|[\w./]+\.(?:py|yaml))`", text):
        if name.startswith("spaces/minilm") or name.split("/")[0] in _NOT_HERE:
            continue
        places = (readme.parent, ROOT, ROOT / "search", ROOT / "tests")
        assert any((place / name).exists() for place in places), name


def test_the_first_page_is_short() -> None:
    assert len(READMES[0].read_text(encoding="utf-8").splitlines()) <= 150


def test_the_space_on_the_first_page_is_loaded_and_planned(tmp_path: Path) -> None:
    """In a copy of the checkout, saved under the name that the page gives."""
    text = READMES[0].read_text(encoding="utf-8")
    (name,) = re.findall(r"^Save this as `spaces/(\w+)\.py`", text, flags=re.MULTILINE)
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    for folder in ("search", "spaces", "trainables"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "frostline.py", tmp_path)
    (tmp_path / "spaces" / f"{name}.py").write_text(code, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "search" / "run.py")]
    listed = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True).stdout
    assert f"\n{name} " in f"\n{listed}"
    plan = [*command, "--space", name, "--profile", "small", "--dry-run"]
    done = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert lines["space"].strip().startswith(f"{name} (text_classification)")
    assert lines["trials"].strip().startswith("12, of up to 2 epochs")
