"""The order of the runs, the recipes, the command line."""

from collections import Counter

import pytest

from tests.bench import settings
from tests.bench.job import PARAMETERS


def test_every_second_repeat_goes_backwards() -> None:
    assert settings.order(("A", "B"), 2) == [(0, "A"), (0, "B"), (1, "B"), (1, "A")]
    assert [peer for _, peer in settings.order(("A", "B", "C"), 3)] == list("ABCCBAABC")


def test_in_an_even_number_of_repeats_no_system_comes_later_than_another() -> None:
    places: dict[str, list[int]] = {}
    for place, (_, peer) in enumerate(settings.order(("A", "B", "C", "D"), 4)):
        places.setdefault(peer, []).append(place)
    assert len({sum(found) for found in places.values()}) == 1


def test_recipes_take_every_depth_equally_often_and_come_from_the_seed() -> None:
    recipes = settings.fixed_recipes(32, (0, 6))
    assert recipes == settings.fixed_recipes(32, (0, 6)) != settings.fixed_recipes(32, (0, 6), seed=1)
    counts = Counter(recipe["frozen_layers"] for recipe in recipes)
    assert set(counts) == set(range(7))
    assert max(counts.values()) - min(counts.values()) <= 1
    for recipe in recipes:
        assert tuple(recipe) == PARAMETERS
        assert 1e-5 <= recipe["learning_rate"] <= 1e-3
        assert recipe["batch_size"] in {8, 16, 32}
    assert {recipe["frozen_layers"] for recipe in settings.fixed_recipes(5, (7, 7))} == {7}


def test_some_of_the_recipes_come_from_all_depths() -> None:
    recipes = settings.fixed_recipes(32, (0, 6))
    for count, depths in ((1, [3]), (2, [1, 5]), (4, [0, 2, 4, 6])):
        numbers = settings.spread(recipes, count)
        assert sorted(recipes[number]["frozen_layers"] for number in numbers) == depths
        assert numbers == sorted(numbers)
    assert settings.spread(recipes, 32) == list(range(32))


def test_the_command_line() -> None:
    full = settings.parse(["--full"])
    assert (full.recipes, full.train, full.validation, full.length, full.epochs) == (32, 1000, 1000, 256, 2)
    assert full.peers == ("S", "R", "O", "OL", "Y", "F")
    quick = settings.parse(["--quick", "--peers", "S,F", "--recipes", "4"])
    assert (quick.recipes, quick.repeat, quick.peers) == (4, 1, ("S", "F"))
    assert settings.parse(["--workload", "target"]).recipes == 16
    gpu = settings.parse(["--workload", "gpu"])
    assert (gpu.recipes, gpu.train, gpu.validation, gpu.length, gpu.epochs) == (1, 25000, 1000, 512, 3)
    assert (settings.parse(["--workload", "gpu", "--quick"]).epochs, gpu.peers) == (2, ("S", "ST", "F"))


def test_more_recipes_than_there_are_cannot_be_some_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--recipes", "4", "--peer-recipes", "5"])
    assert "--peer-recipes 5 is not between 1 and the 4 recipes" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--peers", "X"], ["--workload", "target", "--peers", "S"]])
def test_a_system_that_is_not_there_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(arguments)
    assert f"not {arguments[-1]}" in capsys.readouterr().err
