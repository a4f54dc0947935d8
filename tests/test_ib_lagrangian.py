import math

import pytest
import torch
import torch.nn.functional as F

from modellib import ib_lagrangian
from modellib.gaussians import kl_to_standard_normal, pairwise_kl
from modellib.networks import NIBEncoder, VIBEncoder, initialise_xavier

PUBLISHED = {
    "emb_dim": 16, "enc_hidden_dims": (1024, 1024), "dec_hidden_dims": (), "vib_softplus_scalar": -1.0,
    "nib_log_std": 1.0, "nib_log_std_trainable": True,
}


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def published_networks(model, **changes):
    return ib_lagrangian.build_networks(784, 10, model=model, generator=seeded(), **{**PUBLISHED, **changes})


def shapes(network):
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def test_layers_have_the_published_sizes():
    hidden = {(1024, 784), (1024,), (1024, 1024)}
    assert set(shapes(published_networks("vib").encoder).values()) == hidden | {(32, 1024), (32,)}
    assert set(shapes(published_networks("nib").encoder).values()) == hidden | {(16, 1024), (16,), ()}
    assert list(shapes(published_networks("nib").decoder).values()) == [(10, 16), (10,)]


def test_weights_start_xavier_uniform_with_relu_gain_and_biases_at_zero():
    layer = torch.nn.Linear(784, 1024)
    initialise_xavier(layer, seeded())
    bound = math.sqrt(2) * math.sqrt(6 / (784 + 1024))
    assert layer.weight.abs().max() <= bound
    assert math.isclose(layer.weight.std().item(), bound / math.sqrt(3), rel_tol=0.01)  # of a uniform distribution
    assert not layer.bias.any()


def test_nib_std_starts_at_e_is_one_number_and_can_be_frozen():
    mean, std = published_networks("nib").encoder(torch.zeros(3, 784))
    assert mean.shape == (3, 16) and std.shape == ()
    assert math.isclose(std.item(), math.e, rel_tol=1e-6)
    assert not published_networks("nib", nib_log_std_trainable=False).encoder.log_std.requires_grad


def test_vib_std_is_the_exponential_or_the_shifted_softplus_of_the_second_half_of_the_head():
    images = torch.randn(4, 6, generator=seeded())
    plain = VIBEncoder(6, (8,), 3)
    shifted = VIBEncoder(6, (8,), 3, softplus_scalar=5.0)
    shifted.load_state_dict(plain.state_dict())
    head = plain.layers(images)
    torch.testing.assert_close(plain(images), (head[:, :3], head[:, 3:].exp()))
    torch.testing.assert_close(shifted(images), (head[:, :3], (1 + (head[:, 3:] - 5.0).exp()).log()))


@pytest.mark.parametrize(
    "name, parameter, expected",
    [("none", 1.0, 3.0), ("pow", 1.0, 9.0), ("pow", 0.5, 3.0**1.5), ("exp", 2.0, math.e**6)],
)
def test_h_functions(name, parameter, expected):
    h = ib_lagrangian.h_function(name, parameter)
    assert math.isclose(h(torch.tensor(3.0, dtype=torch.float64)).item(), expected, rel_tol=1e-12)


@pytest.mark.parametrize("model, kl", [("vib", kl_to_standard_normal), ("nib", pairwise_kl)])
def test_an_update_takes_one_adam_step_on_the_published_objective(model, kl):
    def fresh():
        networks = published_networks(model, enc_hidden_dims=(20,))
        parameters = [p for network in networks for p in network.parameters()]
        return networks, parameters, torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.999))

    images, labels = torch.rand(30, 784, generator=seeded(1)), torch.randint(10, (30,), generator=seeded(2))
    networks, updated, optimizer = fresh()
    losses = ib_lagrangian.update(
        networks, optimizer, images, labels, kl=ib_lagrangian.KL_TERMS[model],
        h=ib_lagrangian.h_function("pow", 1.0), lambda_kl=0.001, generator=seeded(3),
    )

    (encoder, decoder), expected, optimizer = fresh()
    mean, std = encoder(images)
    code = mean + std * torch.randn(30, 16, generator=seeded(3))
    loss_dec, loss_kl = F.cross_entropy(decoder(code), labels), kl(mean, std)
    loss = loss_dec + 0.001 * loss_kl**2  # h applies to the batch mean, then lambda
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(torch.stack(losses), torch.stack((loss_dec, loss_kl, loss)).detach())
    for one, other in zip(updated, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_encoders_keep_nothing_of_a_forward_pass():
    encoder = NIBEncoder(4, (5,), 2)
    before = set(vars(encoder))
    encoder(torch.zeros(1, 4))
    assert set(vars(encoder)) == before
