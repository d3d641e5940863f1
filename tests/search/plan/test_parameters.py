from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.plan import parameters
from frostline.spaces import ALL, Depth


def test_a_depth_the_model_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"frozen_layers up to 9, but m has 3 blocks"):
        parameters.resolve_parameters({"frozen_layers": Depth(high=9)}, 3, "m")
    with pytest.raises(ValueError, match=r"freezes 4 blocks; the model has 3"):
        parameters.resolve_recipe("deep", {"frozen_layers": 4}, 3)
    assert parameters.resolve_recipe("probe", {"frozen_layers": ALL}, 3) == {"frozen_layers": 3}


def test_a_recipe_outside_the_space() -> None:
    distributions = {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "batch_size": CategoricalDistribution((8,)),
    }
    parameters.check_recipe("good", {"learning_rate": 1e-4, "batch_size": 8}, distributions)
    with pytest.raises(ValueError, match=r"recipe 'fast': learning_rate = 1.0 is outside"):
        parameters.check_recipe(repr("fast"), {"learning_rate": 1.0, "batch_size": 8}, distributions)
    with pytest.raises(ValueError, match=r"batch_size = 9 is outside"):
        parameters.check_recipe("odd", {"learning_rate": 1e-4, "batch_size": 9}, distributions)


def test_smallest() -> None:
    assert parameters.smallest(CategoricalDistribution((16, 8, 32))) == 8
    assert parameters.smallest(IntDistribution(4, 64)) == 4


@pytest.mark.parametrize(
    ("sizes", "examples", "fit", "batch", "sentence"),
    [
        (CategoricalDistribution((8, 16, 32)), 32, CategoricalDistribution((8, 16, 32)), 16, ""),
        (
            CategoricalDistribution((8, 16, 32)),
            31,
            CategoricalDistribution((8, 16)),
            16,
            "31 training examples are not tried",
        ),
        (CategoricalDistribution((8, 16, 32)), 14, CategoricalDistribution((8,)), 8, "not tried; 'default' takes 8"),
        (IntDistribution(4, 64), 64, IntDistribution(4, 64), 16, ""),
        (IntDistribution(4, 64), 14, IntDistribution(4, 14), 14, "not tried; 'default' takes 14"),
        (IntDistribution(4, 64, step=4), 15, IntDistribution(4, 12, step=4), 12, "not tried; 'default' takes 12"),
        (IntDistribution(4, 64, log=True), 15, IntDistribution(4, 15, log=True), 15, "not tried; 'default' takes 15"),
    ],
)
def test_batches_larger_than_the_training_slice_leave_the_space(
    sizes: Any, examples: int, fit: Any, batch: int, sentence: str
) -> None:
    given = parameters.Searched(distributions={"batch_size": sizes}, recipes={"default": {"batch_size": 16}})
    made, sentences = parameters.fitting(given, examples)
    assert made.distributions == {"batch_size": fit}
    assert made.recipes == {"default": {"batch_size": batch}}
    assert sentence in "".join(sentences)
    assert bool(sentences) == bool(sentence)


@pytest.mark.parametrize(
    ("fraction", "blocks", "whole"),
    [(0.0, 7, 0), (1.0, 7, 7), (0.5, 7, 4), (0.5, 4, 2), (0.07, 7, 0), (1 / 14, 7, 1), (0.92, 7, 6), (0.93, 7, 7)],
)
def test_a_fraction_is_whole_blocks_half_a_block_counted_as_one(fraction: float, blocks: int, whole: int) -> None:
    assert parameters.whole_blocks(fraction, blocks) == whole


def test_what_follows_from_the_parameters_is_added_and_taken_away_again() -> None:
    blocks = {"small": 3, "large": 13}
    for model, whole in (("small", 2), ("large", 8)):
        params = {"model": model, "frozen_fraction": 0.6}
        assert parameters.complete(params, blocks) == {**params, "frozen_layers": whole}
        assert parameters.sampled(parameters.complete(params, blocks)) == params
        assert parameters.complete(parameters.complete(params, blocks), blocks)["frozen_layers"] == whole
    by_layers = {"frozen_layers": 2}
    assert parameters.complete(by_layers, {"m": 3}) == parameters.sampled(by_layers) == by_layers
