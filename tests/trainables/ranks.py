"""One of several processes that train together: what `test_peers.py` starts, or does alone to compare.

    python -m tests.trainables.ranks FOLDER RANK SIZE

In FOLDER stand `setup.json` and `recipe.json`; what came of it is written there as `RANK-of-SIZE.json`.
"""

import contextlib
import dataclasses
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from frostline.spaces import Recipe
from frostline.trainables import _family
from frostline.trainables._task import PeerLostError, Setup
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import loop, training
from frostline.trainables.training.checkpoint import Snapshot
from frostline.trainables.training.peers import Peers
from tests.trainables.points import grouped

CPU = torch.device("cpu")
BROKEN_OFF = 5
"""Steps after which a snapshot is taken."""


class Cramped:
    """A family on a device that has no room for more than two examples."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def logits(self, model: Any, batch: Any) -> Any:
        if len(batch["labels"]) > 2 and model.training:
            raise torch.OutOfMemoryError
        return self._family.logits(model, batch)


def train(
    setup: Setup, recipe: Recipe, peers: Peers, *, dropout: float | None = None, cramped: bool = False, **more: Any
) -> list[dict[str, Any]]:
    """The reports of one training."""
    family = _family.load(recipe.family)
    entry = Path(setup.models[recipe.model].entry)
    model = family.build(family.model_folder(recipe.model), len(setup.classes))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and dropout is not None:
            module.p = dropout
    torch.manual_seed(recipe.seed + (1000 * peers.rank if peers.size > 1 else 0))  # the first one's head is each one's
    family.reset_head(model)
    told: list[dict[str, Any]] = []

    def report(made: training.Report) -> None:
        values = dataclasses.asdict(made)
        told.append({key: values[key] for key in ("epoch", "samples", "step", "metrics", "micro_batch", "final")})

    loop.fit(
        model,
        Cramped(family) if cramped else family,
        recipe,
        {split: family.open(entry, split) for split in ("train", "validation")},
        **grouped(at=setup.report_at, to=report, peers=peers, **more),
    )
    return told


def broken_off(setup: Setup, recipe: Recipe, peers: Peers, folder: Path) -> list[dict[str, Any]]:
    """The reports of a training that goes on from the first process's snapshot."""
    path = folder / f"snapshot-of-{peers.size}.safetensors"

    class Taken(Exception):  # noqa: N818
        pass

    steps = 0

    def after_step(take: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == BROKEN_OFF:
            if peers.leads:
                checkpoints.write(take(), path)
            raise Taken

    with contextlib.suppress(Taken):
        train(setup, recipe, peers, after_step=after_step)
    if peers.size > 1:
        dist.barrier()
    snapshot = checkpoints.read(path)
    assert isinstance(snapshot, Snapshot)
    return train(setup, recipe, peers, resume=snapshot)


def all_of_it(folder: Path, rank: int, size: int) -> dict[str, Any]:
    """All results that are compared."""
    torch.set_num_threads(1)
    setup = Setup.of(json.loads((folder / "setup.json").read_text()))
    recipe = Recipe.from_json((folder / "recipe.json").read_text())
    peers, results = Peers(rank, size), {}
    if size > 1:
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    results["plain"] = train(setup, recipe, peers, dropout=0.0)
    one = dataclasses.replace(recipe, batch_size=1)
    results["single"] = train(dataclasses.replace(setup, report_at=(0.4,)), one, peers, dropout=0.0)
    results["cramped"] = train(setup, recipe, peers, dropout=0.0, cramped=rank == size - 1)
    results["whole"] = train(setup, recipe, peers)
    results["resumed"] = broken_off(setup, recipe, peers, folder)
    try:
        train(setup, dataclasses.replace(recipe, learning_rate=1e30), peers, dropout=0.0)
    except training.NonFiniteLossError as error:
        results["failed"] = str(error)
    if size > 1:
        results["lost"] = one_dies(setup, recipe, peers)
    return results


def one_dies(setup: Setup, recipe: Recipe, peers: Peers) -> str:
    """The error of the other processes after the last one has died during training."""

    def after_step(_: Any) -> None:
        if peers.rank == peers.size - 1:
            raise EOFError

    try:
        train(setup, recipe, peers, after_step=after_step)
    except EOFError:
        return "died"
    except PeerLostError as error:
        return type(error).__name__
    return "not noticed"


def main() -> None:
    folder, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    results = all_of_it(folder, rank, size)
    (folder / f"{rank}-of-{size}.json").write_text(json.dumps(results))
    sys.stdout.flush()
    os._exit(0)  # at once, as if killed: nobody is told


if __name__ == "__main__":
    main()
