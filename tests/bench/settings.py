"""Settings of one run of the benchmark: sizes, recipes, and the order of the runs. Standard library only."""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.job import BATCH_SIZES, LEARNING_RATE, WEIGHT_DECAY

SYSTEMS = {
    "S": "standard script",
    "ST": "standard script, tuned",
    "R": "Ray TorchTrainer in Tune",
    "O": "Optuna + Trainer",
    "OL": "Optuna + Trainer, by length",
    "Y": "Syne Tune",
    "F": "Frostline",
    "FN": "Frostline, no prefix cache",
    "D": "one default training",
    "T": "scikit-learn: TF-IDF",
    "E": "scikit-learn: embeddings",
}
MODULES = {
    "S": "standard",
    "ST": "standard",
    "R": "ray_tune",
    "O": "optuna_loop",
    "OL": "optuna_loop",
    "Y": "syne",
    "F": "frostline",
    "D": "standard",
    "T": "scikit",
    "E": "scikit",
}
MODULES["FN"] = MODULES["F"]
"""System -> file in `peers/`."""

AT_ONCE = {"R", "Y", "F", "FN"}
"""Systems that run a trial per core, each with one thread; the others run one trial with all cores."""

BY_LENGTH = {"ST", "OL"}
"""Systems whose batches are of texts of about the same length; in `own-data` all peers have such batches."""

ON_RAY = {"R", "F", "FN"}
"""Systems that start a Ray instance."""

WORKLOADS = {
    "fixed": ("S", "R", "O", "OL", "Y", "F"),
    "target": ("R", "Y", "F"),
    "probe": ("F", "FN"),
    "gpu": ("S", "ST", "F"),
    "own-data": ("F", "T", "E", "D", "R", "OL", "Y"),
}
"""Workload -> the systems it is made for."""

DATASETS = {"sentences": "rotten_tomatoes", "reviews": "imdb"}
"""Data set of `own-data` -> its source in the packaged movie reviews."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The command line, resolved."""

    workload: str
    peers: tuple[str, ...]
    quick: bool
    recipes: int
    """Fixed recipes; of `target` the random trials that set the bar."""
    peer_recipes: int | None
    """Recipes of `fixed` that the other systems train; None for all."""
    trials: int
    """Recipes that a search of `target` may try, and a peer in `own-data`."""
    train: int
    validation: int
    test: int
    """Held-out rows of `own-data`, which takes all other rows for training and cuts to a length of its own."""
    length: int
    epochs: int
    reduction_factor: float
    first_rung: float
    repeat: int
    """Runs of each system; in `own-data` seeds."""
    budgets: tuple[float, ...]
    """Minutes that a system of `own-data` has."""
    datasets: tuple[str, ...]
    """Of `own-data`."""
    limit: float
    """Seconds after which a run is killed and counts as failed; of `target` as one that did not get there."""
    out: Path


# Workload sizes: recipes, trials, train, validation, test, length, epochs.
_FULL = {"recipes": 32, "trials": 64, "train": 1000, "validation": 1000, "test": 1000, "length": 256, "epochs": 2}
_QUICK = {"recipes": 2, "trials": 3, "train": 64, "validation": 32, "test": 100, "length": 32, "epochs": 1}
_OWN: dict[tuple[str, bool], dict[str, int]] = {
    ("target", False): {"recipes": 16},
    ("gpu", False): {"recipes": 1, "train": 25000, "length": 512, "epochs": 3},
    ("gpu", True): {"recipes": 1, "epochs": 2},
    ("own-data", False): {"trials": 1000, "epochs": 3},
    ("own-data", True): {"trials": 1},
}
"""Sizes that differ in one workload, full or quick."""


def parse(arguments: list[str] | None = None) -> Settings:
    """The command line as settings.

    Raises:
        SystemExit: it is wrong, or `--help`.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Frostline beside other systems.")
    parser.add_argument("--workload", choices=WORKLOADS, default="fixed", help="default: fixed")
    parser.add_argument("--peers", help="letters with commas between; default: all of the workload")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a tiny model: does everything run? Its times say nothing")
    size.add_argument("--full", action="store_true", help="MiniLM on movie reviews (the default)")
    for name in _FULL:
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default: {_FULL[name]}; quick: {_QUICK[name]}")
    parser.add_argument("--peer-recipes", type=int, metavar="N", help="fixed: recipes the peers train (times scaled)")
    parser.add_argument("--reduction-factor", type=float, default=3.0, help="of every system's ASHA; default: 3")
    parser.add_argument("--first-rung", type=float, default=1.0, help="epochs, of Frostline's; default: 1")
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="runs of each system; default: 2; own-data: 3; quick: 1"
    )
    parser.add_argument("--budgets", help="own-data: minutes, with commas between; default: 5,10,20; quick: 0.25")
    parser.add_argument("--datasets", help="own-data: with commas between; default: sentences,reviews")
    parser.add_argument("--limit", type=float, default=86400.0, help="seconds for one run; default: a day")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder; default: runs/bench")
    given = parser.parse_args(arguments)
    usual = {**(_QUICK if given.quick else _FULL), **_OWN.get((given.workload, given.quick), {})}
    sizes = {name: getattr(given, name) or usual[name] for name in usual}
    allowed = WORKLOADS[given.workload]
    peers = tuple(given.peers.split(",")) if given.peers else allowed
    if unknown := [peer for peer in peers if peer not in allowed]:
        parser.error(f"--workload {given.workload} runs {','.join(allowed)}, not {','.join(unknown)}")
    if not 1 <= (given.peer_recipes or 1) <= sizes["recipes"]:
        parser.error(f"--peer-recipes {given.peer_recipes} is not between 1 and the {sizes['recipes']} recipes")
    datasets = tuple((given.datasets or ("sentences" if given.quick else ",".join(DATASETS))).split(","))
    if unknown := [name for name in datasets if name not in DATASETS]:
        parser.error(f"--datasets {','.join(unknown)}: there are {','.join(DATASETS)}")
    try:
        budgets = tuple(
            sorted({float(text) for text in (given.budgets or ("0.25" if given.quick else "5,10,20")).split(",")})
        )
    except ValueError:
        parser.error(f"--budgets {given.budgets}: minutes with commas between, such as 5,10")
    if not 0 < budgets[0] <= budgets[-1] < math.inf:
        parser.error(f"--budgets {given.budgets}: minutes are above 0")
    return Settings(
        workload=given.workload,
        peers=tuple(dict.fromkeys(peers)),
        quick=given.quick,
        **sizes,
        peer_recipes=given.peer_recipes if given.workload == "fixed" else None,
        reduction_factor=given.reduction_factor,
        first_rung=given.first_rung,
        repeat=given.repeat or (1 if given.quick else 3 if given.workload == "own-data" else 2),
        budgets=budgets,
        datasets=datasets,
        limit=given.limit,
        out=given.out.resolve(),
    )


def order(peers: tuple[str, ...], repeat: int) -> list[tuple[int, str]]:
    """The runs as (repeat, system): every second repeat goes backwards (A B B A), so that a drift hits all alike."""
    return [(number, peer) for number in range(repeat) for peer in (peers if number % 2 == 0 else reversed(peers))]


def fixed_recipes(count: int, depths: tuple[int, int], seed: int = 0) -> tuple[dict[str, Any], ...]:
    """`count` recipes drawn from the space, each depth from `depths[0]` to `depths[1]` equally often."""
    rng = random.Random(seed)
    low, high = depths
    rows = [low + number % (high - low + 1) for number in range(count)]
    rng.shuffle(rows)
    return tuple(
        {
            "learning_rate": _log_uniform(rng, LEARNING_RATE),
            "batch_size": rng.choice(BATCH_SIZES),
            "frozen_layers": depth,
            "weight_decay": _log_uniform(rng, WEIGHT_DECAY),
        }
        for depth in rows
    )


def spread(recipes: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Numbers of `count` recipes from all depths: ordered by depth, the middle one of each of `count` equal parts."""
    by_depth = sorted(range(len(recipes)), key=lambda number: recipes[number]["frozen_layers"])
    return sorted(by_depth[(2 * part + 1) * len(recipes) // (2 * count)] for part in range(count))


def _log_uniform(rng: random.Random, bounds: tuple[float, float]) -> float:
    low, high = map(math.log, bounds)
    return float(f"{math.exp(rng.uniform(low, high)):.3g}")  # three digits read well in a table
