"""Does it help to try the cheapest of the random points of the start first? The same searches with and without.

    uv run python -m tests.bench.cheap_first --space efficientnet_digits --seeds 3

Each search runs in a process of its own, in turn (A B B A), without confirmation. What is read from its records: the
best complete validation score so far, after each tenth of the time that the slower of a pair took.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

_PARTS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the slower search's time."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cheap_first", description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="efficientnet_digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24, help="a third of them, ten at most, are the start")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-", dir="/tmp") as folder:
        os.environ["FROSTLINE_CACHE"] = f"{folder}/cache"
        _search(given.space, 0, True, Path(folder), "warm-up", 2)  # data and prefix cache are there for both
        rows = []
        for seed in range(given.seeds):
            order = (True, False) if seed % 2 == 0 else (False, True)
            found = {
                sort: _search(given.space, seed, sort, Path(folder), f"{seed}-{sort}", given.trials) for sort in order
            }
            rows.append(found)
            print(f"seed {seed}: " + "; ".join(_said(sort, found[sort]) for sort in (True, False)), flush=True)
    print("\n| of the time | cheapest first | as drawn | wins of cheapest first |\n|---|---|---|---|")
    for part in _PARTS:
        pairs = []
        for row in rows:
            until = part * max(found["seconds"] for found in row.values())
            pairs.append([_best(row[sort], until) for sort in (True, False)])
        means = [statistics.fmean(column) for column in zip(*pairs, strict=True)]
        wins = sum(one > other for one, other in pairs)
        ties = sum(one == other for one, other in pairs)
        print(f"| {part:.0%} | {means[0]:.4f} | {means[1]:.4f} | {wins} of {len(pairs)} ({ties} ties) |")
    seconds = [statistics.fmean(row[sort]["seconds"] for row in rows) for sort in (True, False)]
    print(f"\nSeconds from the first start to the last end, mean: {seconds[0]:.1f} and {seconds[1]:.1f}.")


def _said(sort: bool, found: dict[str, Any]) -> str:
    name = "cheapest first" if sort else "as drawn"
    return f"{name} {found['seconds']:.1f} s, best {_best(found, found['seconds']):.4f}"


def _best(found: dict[str, Any], until: float) -> float:
    return max((score for at, score in found["scores"] if at <= until), default=0.0)


def _search(space: str, seed: int, sort: bool, folder: Path, name: str, trials: int) -> dict[str, Any]:
    """Run a search; when each score was reported, in seconds since the first trial began."""
    process = multiprocessing.get_context("spawn").Process(
        target=_child, args=(space, seed, sort, folder, name, trials)
    )
    process.start()
    process.join()
    lines = [json.loads(text) for text in (folder / name / "trials.jsonl").read_text().splitlines()]
    began = min(line["time"] - line["seconds"] for line in lines)
    scores = [
        (line["time"] - began, line["metrics"]["accuracy"])
        for line in lines
        if line["outcome"] == "running" and not line["partial"]
    ]
    return {"seconds": max(line["time"] for line in lines) - began, "scores": scores}


def _child(space: str, seed: int, sort: bool, folder: Path, name: str, trials: int) -> None:
    from frostline.search import cli
    from frostline.search.ledger.study import Study

    start = Study._start

    def as_drawn(self: Study, count: int) -> list[dict[str, Any]]:
        """The very points, in the order in which they were drawn: the sort is stable."""
        self._cost = lambda params: 0
        return start(self, count)

    if not sort:
        Study._start = as_drawn  # type: ignore[method-assign]
    arguments = ["--space", space, "--seed", str(seed), "--confirm", "0", "--storage", str(folder), "--name", name]
    raise SystemExit(cli.main([*arguments, "--trials", str(trials)]))


if __name__ == "__main__":
    main()
