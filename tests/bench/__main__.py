"""Frostline beside other systems, each as its own project documents it: same data, token ids, recipes and seeds.

    uv run --group bench python -m tests.bench --full
    uv run --group bench python -m tests.bench --full --workload target
    uv run --group bench python -m tests.bench --workload gpu
    uv run --group bench python -m tests.bench --peers S,F --recipes 4 --train 200 --validation 200 --repeat 2
    uv run --group bench python -m tests.bench --workload own-data --datasets sentences --budgets 5,10 --repeat 1
    uv run --group bench python -m tests.bench --quick

Prints a table and writes it, a plot and all figures into the out folder. Exit code 1 where a system failed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.bench import floor, plot, table, workloads
from tests.bench.data import Prepared, prepare
from tests.bench.own_data import workload as own_data
from tests.bench.settings import SYSTEMS, Settings, fixed_recipes, parse
from tests.bench.table import Run

_WORKLOADS = {"fixed": workloads.fixed, "probe": workloads.probe, "target": workloads.target, "gpu": workloads.gpu}
_SHOWN = {"fixed": "", "probe": "per_trial", "target": "reached", "gpu": "per_epoch"}
"""The field of `Run` that a workload measures beyond wall and CPU time."""


def main() -> int:
    """The command line."""
    settings, began = parse(), time.monotonic()
    if settings.workload == "gpu" and not settings.quick and not torch.cuda.is_available():
        print("--workload gpu is left out: there is no GPU here. With --quick it runs on the CPU, to see that it does.")
        return 0
    (settings.out / settings.workload).mkdir(parents=True, exist_ok=True)
    where = _where()
    print("\n".join(where), flush=True)

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f}] {text}", flush=True)

    if settings.workload == "own-data":
        return own_data.run(settings, where[:2], say)
    prepared = prepare(settings)
    rates = [_rates(settings, prepared)]
    runs, failed = _WORKLOADS[settings.workload](workloads.Bench(settings, prepared, say))
    if not settings.quick:
        rates.append(_rates(settings, prepared))
    lines = [*where, ""]
    bound = None
    if runs:
        lines += [table.report(runs, SYSTEMS, "F", _SHOWN[settings.workload]), ""]
    if settings.workload == "target" and runs:
        lines += [table.targets(runs, SYSTEMS, "F"), ""]
    if settings.workload == "gpu" and runs:
        seconds = table.typical(runs, "per_epoch")
        rates = ", ".join(f"{system} {settings.train / took:,.0f}" for system, took in seconds.items())
        lines += [f"Training examples a second: {rates}.", ""]
    if settings.workload == "fixed":
        bound, text = _floor(settings, prepared, rates, runs)
        lines.append(text)
    lines += [f"FAILED: {str(error).splitlines()[0]}" for error in failed]
    _write(settings, lines, runs, bound)
    print("\n" + "\n".join(lines))
    return 1 if failed or not runs else 0


def _where() -> list[str]:
    """Machine, commit and command."""
    root = Path(__file__).resolve().parent.parent.parent
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    load, gpus = os.getloadavg()[0], torch.cuda.device_count()
    return [
        f"Machine: {cpu}, {len(os.sched_getaffinity(0))} cores, "
        f"{torch.cuda.get_device_name() if gpus else 'no GPU'}, load {load:.1f} at the start; "
        f"Python {platform.python_version()}; {time.strftime('%Y-%m-%d', time.gmtime())}",
        f"Commit: {done.stdout.strip() or 'unknown'}",
        f"Command: python -m tests.bench {shlex.join(sys.argv[1:])}",
    ]


def _rates(settings: Settings, prepared: Prepared) -> floor.Rate:
    cores = len(os.sched_getaffinity(0))
    return floor.rates(floor.encoder_of(prepared.model), prepared.train, cores, 0.3 if settings.quick else 3.0)


def _floor(settings: Settings, prepared: Prepared, rates: list[floor.Rate], runs: list[Run]) -> tuple[float, str]:
    """CPU seconds that the recipes need at least, and what Frostline makes of them."""
    depths = [recipe["frozen_layers"] for recipe in fixed_recipes(settings.recipes, (0, prepared.blocks - 1))]
    needed = floor.flops(floor.encoder_of(prepared.model), depths, prepared.train, prepared.validation, settings.epochs)
    alone, together = (sum(getattr(rate, kind) for rate in rates) / len(rates) for kind in ("alone", "together"))
    lines = [
        f"Floor: {needed / 1e12:.3g} TFLOP; {needed / alone:.3g} CPU s at the rate of one thread alone "
        f"({alone / 1e9:.1f} GFLOP/s), {needed / together:.3g} CPU s with a thread on every core "
        f"({together / 1e9:.1f} GFLOP/s each)."
    ]
    ours = table.typical(runs, "cpu").get("F")
    if ours:
        share, busy = needed / alone / ours, needed / together / ours
        lines.append(f"F reaches {share:.0%} of the floor's rate ({busy:.0%} of the one with every core busy).")
    return needed / alone, "\n".join(lines)


def _write(settings: Settings, lines: list[str], runs: list[Run], bound: float | None) -> None:
    folder, shown = settings.out / settings.workload, _SHOWN[settings.workload]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    figures = {"settings": dataclasses.asdict(settings), "runs": [dataclasses.asdict(run) for run in runs]}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, default=str) + "\n")
    if runs and settings.workload == "target":
        plot.curves(runs, SYSTEMS, folder / "best.png")
    elif runs:
        field = shown or "cpu"
        label = {"cpu": "CPU seconds, all processes", "per_trial": "seconds", "per_epoch": "seconds"}
        plot.draw(runs, field, f"{label[field]}, median", SYSTEMS, folder / f"{field}.png", bound)


if __name__ == "__main__":
    sys.exit(main())
