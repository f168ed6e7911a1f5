"""A network that learns with less work: the same numbers, the same gradients, the same names."""

import copy

import pytest
import torch
from torch import nn

from imgret.networks.lightened import lightened
from imgret.networks.pinned import pinned


class Small(nn.Module):
    """Convolutions of all kinds, each with a batch normalisation."""

    def __init__(self, activation=nn.ReLU6):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.two, self.plain = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8, affine=False)
        self.three, self.last = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect"), nn.BatchNorm2d(8)
        self.four, self.beside = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.act = activation(inplace=True)

    def forward(self, x):
        """A map."""
        x = self.act(self.norm(self.one(x)))
        x = self.act(self.plain(self.two(x)))
        x = self.last(self.three(x))
        return self.beside(self.four(x)) + x


@pytest.fixture
def photo():
    return torch.rand(2, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def made(kind=Small, **options):
    """A network with statistics, whose batch normalisations do not learn."""
    torch.manual_seed(0)
    model = kind(**options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            for parameter in module.parameters():
                nn.init.normal_(parameter)
                parameter.requires_grad_(False)
    return model


def gradients(model, photo):
    model.zero_grad()
    output = model(photo)
    output.pow(2).sum().backward()
    return output.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


def replaced(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.ReLU, nn.Mish])
def test_outputs_and_gradients_are_the_same(photo, activation):
    model = made(activation=activation)
    plain = copy.deepcopy(model)
    lightened(model, [], lambda: [model(photo)])
    assert replaced(model) == ["one", "norm", "two", "plain", "four", "beside"]  # padding_mode is not zeros
    assert model.act.inplace == (activation is nn.ReLU)
    output, found = gradients(model, photo)
    expected, wanted = gradients(plain, photo)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-10, atol=1e-10)


def test_names_and_tensors_stay_and_new_weights_count(photo):
    model = made()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lightened(model, [], lambda: [model(photo)])
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    plain = made()
    for each in (model, plain):
        with torch.no_grad():
            each.one.weight.mul_(1.5)
            each.two.bias.add_(1)
    torch.testing.assert_close(model(photo), plain(photo))


def test_what_is_wanted_learns_nothing_or_learns_itself_stays(photo):
    model = made()
    model.two.weight.requires_grad_(False)
    model.beside.weight.requires_grad_(True)
    lightened(model, [model.one], lambda: [model(photo)])
    assert replaced(model) == []


class Twice(Small):
    """The convolution's own output is looked at too."""

    def forward(self, x):
        """A map."""
        x = self.one(x)
        return self.norm(x) + x


def test_a_convolution_that_something_else_reads_too(photo):
    model = made(Twice)
    expected = model(photo)
    lightened(model, [], lambda: [model(photo)])
    assert replaced(model) == []
    assert torch.equal(model(photo), expected)


def test_pinned_arithmetic_writes_nothing_twice_and_goes_back():
    deterministic = torch.utils.deterministic
    before = deterministic.fill_uninitialized_memory, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pinned(1):
        assert not deterministic.fill_uninitialized_memory
        assert torch.are_deterministic_algorithms_enabled()
    assert before == (deterministic.fill_uninitialized_memory, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
