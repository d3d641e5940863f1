import torch
from torch import nn

from frostline.trainables import _freezing
from frostline.trainables.training import optim


class Net(nn.Module):
    """Two blocks with dropout and batch norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def blocks(self) -> list[list[nn.Module]]:
        return [[self.stem], [self.body]]


def test_frozen_blocks_are_in_evaluation_mode_and_outside_the_optimizer() -> None:
    net = Net()
    _freezing.freeze(net, net.blocks(), 1)
    _freezing.training_mode(net, net.blocks(), 1)
    assert not any(module.training for module in net.stem.modules())
    assert all(module.training for module in (*net.body.modules(), net.head))
    in_optimizer = {id(p) for group in optim.parameter_groups(net, 0.1) for p in group["params"]}
    assert in_optimizer == {id(p) for p in (*net.body.parameters(), *net.head.parameters())}


def test_the_statistics_of_a_frozen_batch_norm_stand_still() -> None:
    net = Net()
    before = net.stem[1].running_mean.clone()
    _freezing.freeze(net, net.blocks(), 1)
    _freezing.training_mode(net, net.blocks(), 1)
    net.stem(torch.randn(16, 4) + 5)
    assert torch.equal(net.stem[1].running_mean, before)
    _freezing.training_mode(net, net.blocks(), 0)
    net.stem(torch.randn(16, 4) + 5)
    assert not torch.equal(net.stem[1].running_mean, before)


def test_thawing_a_warm_model_lets_everything_train_again() -> None:
    net = Net()
    _freezing.freeze(net, net.blocks(), 2)
    _freezing.freeze(net, net.blocks(), 0)
    assert all(p.requires_grad for p in net.parameters())


def test_biases_and_norms_have_no_weight_decay() -> None:
    net = Net()
    decayed, plain = optim.parameter_groups(net, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    names = {id(p): name for name, p in net.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"stem.0.weight", "body.0.weight", "head.weight"}
    assert len(plain["params"]) + len(decayed["params"]) == len(list(net.parameters()))
