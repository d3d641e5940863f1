"""One wrong input, and what it is made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from tests import tiny
from tests.search import runs

PICKLE = b"\x80\x02cposix\nsystem\nq\x00X\x0c\x00\x00\x00touch pwned!q\x01\x85q\x02Rq\x03."
"""Makes the file `pwned!` in the working directory if it is opened, which is then found as left behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Materials:
    """Right inputs, made once. Cases take copies and spoil them."""

    model: Path
    """Folder of a tiny BERT."""
    table: Path
    """CSV of 120 rows."""
    pictures: Path
    """Two class folders."""
    vision: Path
    """Folder of a tiny torchvision model."""
    run: Path
    """Run directory of an interrupted search of that model and table."""
    recipe: dict[str, Any]
    """A recipe of it."""

    @classmethod
    def made(cls, folder: Path) -> Materials:
        """Make them in a folder."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        model, table = tiny.make_model(folder / "model"), tiny.write_csv(folder / "table.csv", tiny.rows(120))
        vision = tiny.make_vision_model(folder / "vision", "shufflenet_v2_x0_5")
        pictures = tiny.make_pictures(folder / "pictures", {"blue": 40, "red": 40})
        run = write_run(folder / "run", model, table)
        recipe = json.loads((run / "plan.json").read_text())["base"]
        return cls(model=model, table=table, pictures=pictures, vision=vision, run=run, recipe=recipe)


def write_run(run: Path, model: Path, table: Path, end: str = "interrupted", trials: int = 8) -> Path:
    """A run directory that the ledger has written, of a plan that can go on."""
    options = Options(
        space="bert_imdb",
        profile="full",
        model=str(model),
        dataset=str(table),
        storage=run.parent,
        name=run.name,
        prefix_cache="off",
        wandb="off",
        trials=trials,
        confirm_recipes=2,
        confirm_seeds=2,
    )
    plan, _ = planning.resolve(options)
    runs.write(run, trials, plan=plan, end=end)
    return run


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a case makes its input."""

    materials: Materials
    folder: Path
    """The case's own folder."""

    def model(self, **changes: Any) -> Path:
        """A copy of the text model; these fields of its `config.json` are replaced."""
        return self._copied(self.materials.model, changes)

    def vision(self, **changes: Any) -> Path:
        """A copy of the vision model; these fields of its `config.json` are replaced."""
        return self._copied(self.materials.vision, changes)

    def _copied(self, source: Path, changes: dict[str, Any]) -> Path:
        folder = self.folder / "model"
        shutil.copytree(source, folder)
        if changes:
            fields = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**fields, **changes}))
        return folder

    def run(self) -> Path:
        """A copy of the run directory."""
        return Path(shutil.copytree(self.materials.run, self.folder / "run"))

    def pictures(self) -> Path:
        """A copy of the pictures."""
        return Path(shutil.copytree(self.materials.pictures, self.folder / "pictures"))

    def file(self, name: str, content: str | bytes) -> Path:
        """A file with this content."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
        return path

    def text_search(self, *more: str, model: Path | str | None = None, dataset: Path | str | None = None) -> list[str]:
        """Options of a search that is right, with `more` behind them."""
        return [
            *("--space", "bert_imdb", "--profile", "full", "--storage", str(self.folder / "storage"), "--name", "n"),
            *("--model", str(self.materials.model if model is None else model)),
            *("--dataset", str(self.materials.table if dataset is None else dataset)),
            *("--trials", "2", *more),
        ]

    def picture_search(
        self, *more: str, model: Path | str | None = None, dataset: Path | str | None = None
    ) -> list[str]:
        """The same with pictures."""
        return [
            *("--space", "resnet_cats_dogs", "--profile", "full", "--storage", str(self.folder / "storage")),
            *("--name", "n", "--model", str(self.materials.vision if model is None else model)),
            *("--dataset", str(self.materials.pictures if dataset is None else dataset), "--trials", "2", *more),
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A command line that is wrong."""

    name: str
    make: Callable[[Place], Sequence[str]]
    """Makes the input; returns the command line."""
    may_pass: bool = False
    """Whether the input may also be taken, since it does no harm. It never is a traceback."""
    powerless: bool = False
    """Whether it is about permissions."""

    @property
    def area(self) -> str:
        """The first word of the name."""
        return self.name.split(":")[0]
