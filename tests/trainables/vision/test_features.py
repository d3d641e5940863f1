"""The baseline of pictures: as many as time allows, and one vector a picture."""

import numpy as np
import pytest
import torch
from torch import nn

from frostline.trainables.vision import features


@pytest.mark.parametrize("sizes", [(500, 300, 600), (5, 3, 6), (64, 1, 1), (1, 400, 16)])
def test_all_pictures_have_their_turn_once_and_in_order(sizes: tuple[int, int, int]) -> None:
    named = dict(zip(("train", "validation", "test"), sizes, strict=True))
    read: dict[str, list[int]] = {split: [] for split in named}
    for split, pictures in features.turns(named):
        assert 0 < len(pictures) <= 16
        read[split] += pictures.tolist()
    assert read == {split: list(range(size)) for split, size in named.items()}


def test_half_of_the_pictures_that_were_read_are_of_train() -> None:
    counts = {"train": 0, "validation": 0, "test": 0}
    for place, (split, pictures) in enumerate(features.turns(dict.fromkeys(counts, 10_000)), start=1):
        counts[split] += len(pictures)
        if place % 4 == 0:
            assert counts["train"] == counts["validation"] + counts["test"] == 2 * counts["test"]
        if place == 40:
            break


@pytest.mark.parametrize("head", [nn.Linear(2, 3), nn.Conv2d(2, 3, 1)])
@pytest.mark.parametrize("seconds", [60.0, -1.0])
def test_as_many_pictures_as_time_allows_are_answered(
    head: nn.Module, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_SECONDS", seconds)
    model, labels = nn.Sequential(nn.Identity(), head), np.arange(100) % 2

    def run(split: str, pictures: np.ndarray) -> None:
        values = torch.from_numpy(np.stack([labels[pictures], 1 - labels[pictures]], axis=1)).float()
        model(values[..., None, None].expand(-1, -1, 4, 4) if isinstance(head, nn.Conv2d) else values)

    sizes = {"train": 100, "validation": 40, "test": 60}
    found = features.answers(model, run, labels, sizes, classes=3)
    read = {"train": 100, "validation": 40, "test": 60} if seconds > 0 else dict.fromkeys(sizes, 16) | {"train": 32}
    assert int(found["train"][0]) == read["train"]
    for split in ("validation", "test"):
        assert found[split].shape == (read[split], 3)
        assert found[split].argmax(1).tolist() == labels[: read[split]].tolist()
    assert not head._forward_pre_hooks, "the model is as it was"


@pytest.mark.parametrize("shape", [(4, 5), (4, 7, 5), (4, 5, 3, 3)])
def test_what_a_head_reads_becomes_a_vector_a_picture(shape: tuple[int, ...]) -> None:
    assert features._pooled(torch.ones(shape)).tolist() == torch.ones(4, 5).tolist()
