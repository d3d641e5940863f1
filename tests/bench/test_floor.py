"""The floor counts what it says it counts."""

import json
from pathlib import Path

from tests.bench import floor
from tests.bench.floor import Encoder

SMALL = Encoder(layers=2, hidden=4, inner=8)


def test_a_layer_is_its_matrix_products() -> None:
    tokens, hidden, inner = 3, 4, 8
    products = [
        *4 * [(tokens, hidden, hidden)],  # queries, keys, values, output
        (tokens, hidden, tokens),  # scores, over all heads
        (tokens, tokens, hidden),  # mixing
        (tokens, hidden, inner),
        (tokens, inner, hidden),
    ]
    assert SMALL.layer(tokens) == sum(2 * a * b * c for a, b, c in products)
    assert SMALL.head() == 2 * (hidden * hidden + hidden * 2)


def test_of_the_last_layer_one_token_is_enough() -> None:
    tokens, hidden, inner = 3, 4, 8
    products = [
        *2 * [(tokens, hidden, hidden)],  # keys, values
        *2 * [(1, hidden, hidden)],  # queries, output
        (1, hidden, tokens),
        (1, tokens, hidden),
        (1, hidden, inner),
        (1, inner, hidden),
    ]
    assert SMALL.last_layer(tokens) == sum(2 * a * b * c for a, b, c in products)
    assert SMALL.last_layer(1) == SMALL.layer(1)
    assert SMALL.frozen(tokens, 3) == SMALL.layer(tokens) + SMALL.last_layer(tokens)


def test_the_first_block_multiplies_nothing_and_frozen_and_trainable_make_the_whole() -> None:
    whole = SMALL.trainable(5, 0)
    assert SMALL.trainable(5, 1) == whole
    assert SMALL.frozen(5, 1) == SMALL.frozen(5, 0) == 0
    for depth in range(4):
        assert SMALL.frozen(5, depth) + SMALL.trainable(5, depth) == whole
    assert SMALL.trainable(5, 3) == SMALL.head()


def test_training_costs_three_passes_and_every_report_one() -> None:
    one = SMALL.trainable(7, 0)
    assert floor.flops(SMALL, [0], [7], [], 1) == 3 * one
    assert floor.flops(SMALL, [0], [7, 7], [7], 2) == 2 * (3 * 2 + 1) * one
    assert floor.flops(SMALL, [], [7], [7], 2) == 0


def test_frozen_blocks_are_computed_once_for_all_trials_and_epochs() -> None:
    trainable = sum(4 * 3 * SMALL.trainable(7, depth) for depth in (2, 3, 3))
    assert floor.flops(SMALL, [2, 3, 3], [7], [], 4) == trainable + SMALL.frozen(7, 3)


def test_longer_texts_cost_more_than_their_tokens() -> None:
    assert SMALL.layer(20) > 2 * SMALL.layer(10)


def test_sizes_come_from_the_model(tmp_path: Path) -> None:
    config = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert floor.encoder_of(tmp_path) == Encoder(layers=6, hidden=384, inner=1536)


def test_the_rate_is_one_that_a_processor_can_have() -> None:
    assert 1e8 < floor.measure_rate(64, 256, 128, 0.05) < 1e13
