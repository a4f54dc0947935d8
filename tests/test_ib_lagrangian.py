import math

import pytest
import torch
import torch.nn.functional as F

from modellib import ib_lagrangian
from modellib.gaussians import kl_to_standard_normal, pairwise_kl
from modellib.networks import NIBEncoder, VIBEncoder, initialise_xavier
from modellib.optimiser import adam
from train_lagrangian import Options


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def published_networks(model, **changes):
    return ib_lagrangian.MODELS[model].build(784, 10, Options(desc="x", **changes), seeded())


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
        networks, optimizer, images, labels, rate=ib_lagrangian.MODELS[model].rate,
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


def test_ceb_pays_for_what_a_code_tells_beyond_the_label():
    networks = published_networks("ceb", enc_hidden_dims=(20,))
    with torch.no_grad():
        networks.class_marginal.mean.normal_(generator=seeded(1))
        networks.class_marginal.log_std.uniform_(-1, 1, generator=seeded(2))
    labels = torch.tensor([3, 0, 3, 9]).repeat(20_000)
    mean, std = torch.randn(4, 16, generator=seeded(3)).repeat(20_000, 1), torch.rand(4, 16).repeat(20_000, 1) + 0.5
    code = mean + std * torch.randn(mean.shape, generator=seeded(4))
    rate = ib_lagrangian.MODELS["ceb"].rate(mean, std, code, labels, networks)
    of_class = networks.class_marginal.mean[labels], networks.class_marginal.log_std[labels].exp()
    expected = torch.distributions.kl_divergence(*(torch.distributions.Normal(*g) for g in ((mean, std), of_class)))
    torch.testing.assert_close(rate, expected.sum(1).mean(), rtol=0.01, atol=0)  # over 80,000 draws
    of_class = [part.detach() for part in of_class]
    assert ib_lagrangian.MODELS["ceb"].rate(*of_class, code, labels, networks) == 0  # a code that tells the label only


def test_encoders_keep_nothing_of_a_forward_pass():
    encoder = NIBEncoder(4, (5,), 2)
    before = set(vars(encoder))
    encoder(torch.zeros(1, 4))
    assert set(vars(encoder)) == before


def test_a_plain_network_pays_nothing_for_a_code_without_noise():
    networks = published_networks("plain", enc_hidden_dims=(20,))
    mean, std = networks.encoder(torch.rand(5, 784))
    assert mean.shape == (5, 16) and std == 0
    before = [p.clone() for network in networks for p in network.parameters()]
    optimizer = torch.optim.SGD([p for network in networks for p in network.parameters()], lr=0.1)
    images, labels = torch.rand(5, 784), torch.arange(5)
    losses = ib_lagrangian.update(
        networks, optimizer, images, labels, rate=ib_lagrangian.MODELS["plain"].rate,
        h=ib_lagrangian.h_function("exp", 1.0), lambda_kl=0.5, generator=seeded(),
    )
    assert losses.loss_kl == 0
    assert losses.loss_dec == F.cross_entropy(networks_of(before)(images), labels)


def networks_of(parameters):
    """The classifier that these weights make."""
    w1, b1, w2, b2, w3, b3 = parameters
    return lambda images: F.linear(F.linear(F.relu(F.linear(images, w1, b1)), w2, b2), w3, b3)


def test_images_under_attack_stay_near_and_have_a_higher_cross_entropy():
    networks = published_networks("plain", enc_hidden_dims=(20,))
    images, labels = torch.rand(30, 784, generator=seeded(1)) * 2 - 1, torch.randint(10, (30,), generator=seeded(2))
    attacked = ib_lagrangian.pgd_images(networks, images, labels, seeded(3), epsilon=0.3, steps=10, step_size=0.075)
    assert (attacked - images).abs().max() <= 0.3 + 1e-6 and attacked.abs().max() <= 1
    assert all(p.grad is None for network in networks for p in network.parameters())

    def loss(x):
        return F.cross_entropy(networks.decoder(networks.encoder(x)[0]), labels).item()

    noise = (images + 0.3 * (2 * torch.rand(images.shape, generator=seeded(3)) - 1)).clamp(-1, 1)
    start = ib_lagrangian.pgd_images(networks, images, labels, seeded(3), epsilon=0.3, steps=0, step_size=1.0)
    torch.testing.assert_close(start, noise)
    step = ib_lagrangian.pgd_images(networks, images, labels, seeded(3), epsilon=0.3, steps=1, step_size=0.075)
    assert loss(images) < loss(step) < loss(attacked)


def test_an_update_under_attack_trains_on_the_attacked_images():
    images, labels, seen = torch.rand(5, 784), torch.arange(5), []

    def attack(networks, images, labels, generator):
        seen.append((images, labels))
        return torch.zeros_like(images)

    def loss_dec(images, attack):
        networks = published_networks("plain", enc_hidden_dims=(20,))
        optimizer = torch.optim.SGD([p for network in networks for p in network.parameters()], lr=0.1)
        return ib_lagrangian.update(
            networks, optimizer, images, labels, rate=None, h=None, lambda_kl=0.0, generator=seeded(), attack=attack,
        ).loss_dec

    assert loss_dec(images, attack) == loss_dec(torch.zeros_like(images), None) != loss_dec(images, None)
    assert len(seen) == 1 and seen[0][0] is images


def test_the_optimiser_is_adam_with_the_published_betas():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = adam([weight], 0.1)
    expected, m, v = 2.0, 0.0, 0.0
    for step, gradient in enumerate((1.0, -3.0, 0.5), 1):  # Kingma and Ba 2015, algorithm 1
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
        expected -= 0.1 * (m / (1 - 0.5**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        assert weight.item() == pytest.approx(expected, rel=1e-5)
