"""The picture of a workload: one bar a system at its median and one dot a run, or of searches their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.table import Run, typical


def draw(
    runs: Sequence[Run], field: str, label: str, names: Mapping[str, str], path: Path, floor: float | None = None
) -> None:
    """Write a PNG.

    Args:
        runs: all of them.
        field: of `Run`, what the bars show.
        label: of the axis.
        names: of the systems, by letter.
        path: of the file.
        floor: a line at this value.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    values = {system: value for system, value in typical(runs, field).items() if math.isfinite(value)}
    figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(values) + 1.5), layout="constrained")
    systems = sorted(values, key=values.__getitem__, reverse=True)
    colours = ["tab:blue" if system.startswith("F") else "tab:gray" for system in systems]
    bars = axes.barh([f"{names[s]} ({s})" for s in systems], [values[s] for s in systems], color=colours, alpha=0.7)
    axes.bar_label(bars, [f"{values[s]:.3g}" for s in systems], padding=4)
    for place, system in enumerate(systems):
        dots = [getattr(run, field) for run in runs if run.system == system]
        axes.plot(dots, [place] * len(dots), "k.", markersize=4)
    if floor is not None:
        axes.axvline(floor, color="tab:red", linestyle="--", label=f"floor {floor:.3g}")
        axes.legend(loc="upper right")
    axes.set_xlabel(label)
    axes.set_xlim(0, 1.15 * max([*values.values(), floor or 0.0, 1e-9]))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def curves(runs: Sequence[Run], names: Mapping[str, str], path: Path) -> None:
    """Write a PNG of searches: the best score so far over the time, one line a run, and the score to reach."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    systems = list(dict.fromkeys(run.system for run in runs))
    for run in runs:
        seconds, scores = zip(*run.best, strict=True) if run.best else ((), ())
        first = run is next(other for other in runs if other.system == run.system)
        axes.step(
            [*seconds, run.wall],
            [*scores, scores[-1] if scores else math.nan],
            where="post",
            color=f"C{systems.index(run.system)}",
            label=f"{names[run.system]} ({run.system})" if first else None,
        )
    axes.axhline(runs[0].target or 0.0, color="tab:red", linestyle="--", label=f"target {runs[0].target:.4f}")
    axes.set_xlabel("seconds from the command")
    axes.set_ylabel("best validation accuracy so far")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
