"""The workload `own-data`: every system gets a user's file and some minutes. A run that is there is not done again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.own_data import report, results, rows, systems
from tests.bench.own_data.results import Result
from tests.bench.own_data.rows import OwnData
from tests.bench.own_data.systems import Planned
from tests.bench.settings import ON_RAY, SYSTEMS, WORKLOADS, Settings, order
from tests.bench.workloads import RunFailedError


def run(settings: Settings, where: Sequence[str], say: Callable[[str], None]) -> int:
    """All runs of the command line that are not there; tables and plots of all that are.

    Args:
        settings: the command line.
        where: machine and commit, a line each.
        say: tells what goes on.

    Returns:
        The exit code: 1 where a system failed.
    """
    failed: list[str] = []
    for name in settings.datasets:
        folder = settings.out / settings.workload / name
        data = rows.prepare(settings, name, folder / "data")
        say(f"{name}: {sum(data.sizes):,} rows, {data.length} tokens at most")
        plans = systems.planned(order(settings.peers, settings.repeat), settings.budgets)
        # The quick times are not looked at, so there the others run beside those on Ray.
        lanes = [[plan for plan in plans if (plan.system in ON_RAY) == on_ray] for on_ray in (True, False)]
        with ThreadPoolExecutor(2) as pool:
            for errors in pool.map(
                lambda lane, own=data, at=folder: _lane(lane, own, settings, at, tuple(where), say),
                lanes if settings.quick else [plans],
            ):
                failed += errors
        found = _results(folder, data, settings)
        if found:
            names = {letter: SYSTEMS[letter] for letter in WORKLOADS[settings.workload]}
            print("\n" + "\n".join(report.write(data, found, names, settings.budgets, folder)), flush=True)
    for error in failed:
        print(f"FAILED: {error.splitlines()[0]}")
    return 1 if failed else 0


def _lane(
    plans: Sequence[Planned],
    data: OwnData,
    settings: Settings,
    folder: Path,
    where: tuple[str, ...],
    say: Callable[[str], None],
) -> list[str]:
    """Do these runs one after the other; a system that fails does not end the others. Returns the failures."""
    failed = []
    for plan in plans:
        earlier = results.load(folder / plan.name)
        if earlier and earlier.fingerprint == data.fingerprint and earlier.covers(settings.budgets):
            continue
        say(f"{data.name} {plan.name} ...")
        try:
            result = systems.run(plan, data, settings, folder / plan.name, where, len(os.sched_getaffinity(0)))
        except RunFailedError as error:
            say(str(error))
            failed.append(f"{data.name} {error}")
            continue
        result.save(folder / plan.name)
        say(f"{data.name} {plan.name}: {_told(result)}")
    return failed


def _told(result: Result) -> str:
    last = result.points[-1] if result.points else None
    model = f"test accuracy {last.accuracy:.4f} after {last.seconds:.0f} s" if last else "no model"
    return f"{result.wall:.1f} s, {result.cpu:.1f} CPU s, {model}"


def _results(folder: Path, data: OwnData, settings: Settings) -> list[Result]:
    """All runs of these budgets that are there, those of earlier commands too."""
    found = [result for place in sorted(folder.iterdir()) if (result := results.load(place))]
    return [
        result
        for result in found
        if result.fingerprint == data.fingerprint and result.budget in (None, *settings.budgets)
    ]
