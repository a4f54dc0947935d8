import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from custom_pkg.compute import autocast_for
from modellib import disenib
from modellib.disenib import Settings, clustered, draws, estimator_objective, main_objective

PUBLISHED = {
    "style_dim": 16, "class_dim": 16, "enc_hidden_dims": (1024, 1024), "dec_hidden_dims": (),
    "rec_hidden_dims": (1024, 1024),
}
SETTINGS = Settings(
    n_samples=10, style_std=0.1, class_std=1.0, est_style_std=0.1, est_class_std=0.1, emb_radius=3.0, lambda_dec=1.0,
    lambda_rec=10.0, lambda_wall=10.0, lambda_est=0.5, lambda_est_zc=0.05,
)
NOISELESS = replace(SETTINGS, n_samples=3, style_std=1e-12, class_std=1e-12, est_style_std=1e-12, est_class_std=1e-12)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def networks_of(input_dim=20, **changes):
    small = {"enc_hidden_dims": (12,), "rec_hidden_dims": (12,), "style_dim": 4, "class_dim": 4}
    return disenib.build_networks(input_dim, 10, generator=seeded(), **{**PUBLISHED, **small, **changes})


def batch(n=8, input_dim=20):
    return torch.rand(n, input_dim, generator=seeded(1)) * 2 - 1, torch.randint(10, (n,), generator=seeded(2))


def shapes(network):
    return [tuple(parameter.shape) for parameter in network.parameters()]


def test_layers_have_the_published_sizes():
    networks = disenib.build_networks(784, 10, generator=seeded(), **PUBLISHED)
    encoder = [(1024, 784), (1024,), (1024, 1024), (1024,), (16, 1024), (16,)]
    assert shapes(networks.style_encoder) == shapes(networks.class_encoder) == encoder
    assert shapes(networks.decoder) == [(10, 16), (10,)]
    table = [(10, 16)]
    assert shapes(networks.reconstructor) == table + [
        (1024, 32), (1024,), (1024, 1024), (1024,), (784, 1024), (784,)
    ]
    weights = [shape for shape in shapes(networks.density_estimator) if len(shape) == 2]
    assert weights == [(128, 16), (128, 16), (256, 256), (256, 256), (1, 256)]


def test_the_terms_are_those_of_the_objective_worked_out_without_noise():
    networks, (images, labels) = networks_of(), batch()
    networks.density_estimator.eval()
    with torch.no_grad():
        networks.style_encoder[-1].bias += 4.0  # beyond the wall
        style, code = networks.style_encoder(images), networks.class_encoder(images)
        loss_dec = F.cross_entropy(networks.decoder(code), labels)
        loss_rec = (networks.reconstructor(style, labels) - images).square().mean()
        distances = [max(abs(value) - 3.0, 0.0) ** 2 for value in torch.cat((style, code), 1).flatten().tolist()]
        loss_wall = sum(distances) / len(distances)
        loss_est = -networks.density_estimator(style, code).mean()
    loss, terms = main_objective(networks, images, labels, NOISELESS, moving="class", generator=seeded())
    largest = torch.cat((style, code), 1).abs().max()
    no_disc = torch.tensor(0.0)
    torch.testing.assert_close(
        torch.stack(terms), torch.stack((loss_dec, loss_rec, torch.tensor(loss_wall), loss_est, no_disc, largest))
    )
    torch.testing.assert_close(
        loss.detach(), 1.0 * loss_dec + 10.0 * loss_rec + 10.0 * loss_wall + 0.5 * loss_est
    )


def test_the_wall_is_zero_inside_the_radius_of_three():
    networks, (images, labels) = networks_of(), batch()
    for encoder in (networks.style_encoder, networks.class_encoder):
        encoder[-1].weight.data.zero_()
        encoder[-1].bias.data = torch.tensor([3.0, -3.0, 0.0, 2.9])
    _, terms = main_objective(networks, images, labels, SETTINGS, moving=None, generator=seeded())
    assert terms.loss_wall == 0
    networks.style_encoder[-1].bias.data[0] = -5.0  # 2 beyond, in one of eight values
    _, terms = main_objective(networks, images, labels, SETTINGS, moving=None, generator=seeded())
    assert terms.loss_wall == pytest.approx(4 / 8)


@pytest.mark.parametrize("moving, still", [("style", "class"), ("class", "style")])
def test_the_gradient_of_the_estimator_term_reaches_only_the_encoder_whose_turn_it_is(moving, still):
    networks, (images, labels) = networks_of(), batch()
    only_est = replace(SETTINGS, lambda_dec=0.0, lambda_rec=0.0, lambda_wall=0.0)
    loss, _ = main_objective(networks, images, labels, only_est, moving=moving, generator=seeded())
    loss.backward()

    def moved(network):
        return any(p.grad is not None and p.grad.any() for p in network.parameters())

    encoders = {"style": networks.style_encoder, "class": networks.class_encoder}
    assert moved(encoders[moving]) and not moved(encoders[still])


def snapshot(network):
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network, before):
    return all(torch.equal(one, other) for one, other in zip(network.parameters(), before, strict=True))


def test_a_main_update_moves_all_networks_but_the_estimator_and_leaves_no_gradient_there():
    networks, (images, labels) = networks_of(), batch()
    optimizer = torch.optim.Adam(networks.main_parameters(), lr=1e-3)
    before = [snapshot(network) for network in networks]
    disenib.main_update(
        networks, optimizer, images, labels, SETTINGS, moving="style", autocast=autocast_for("fp32", None),
        generator=seeded(),
    )
    moved = [not unchanged(network, old) for network, old in zip(networks, before, strict=True)]
    assert moved == [True, True, True, True, False]
    assert all(parameter.grad is None for parameter in networks.density_estimator.parameters())


def test_an_estimator_update_moves_the_estimator_alone():
    networks, (images, _) = networks_of(), batch()
    optimizer = torch.optim.Adam(networks.density_estimator.parameters(), lr=1e-3)
    before = [snapshot(network) for network in networks]
    disenib.estimator_update(
        networks, optimizer, images, SETTINGS, cluster=clustered, autocast=autocast_for("fp32", None),
        generator=seeded(),
    )
    moved = [not unchanged(network, old) for network, old in zip(networks, before, strict=True)]
    assert moved == [False, False, False, False, True]


def test_clusters_equal_those_of_a_naive_loop():
    mean = torch.randn(30, 4, generator=seeded(), dtype=torch.float64)
    mean[1], mean[2] = mean[0] + 0.4, mean[0] - 0.5  # below the radius; exactly at it, which is not below
    radius = 0.5
    expected = []
    for one in mean:
        near = [other for other in mean if sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 4 < radius]
        expected.append(sum(near) / len(near))
    torch.testing.assert_close(clustered(mean, radius), torch.stack(expected))


class RememberingEstimator(torch.nn.Module):
    def forward(self, style_code, class_code):
        self.pairs = style_code, class_code
        return 0.3 * style_code[:, 0] - 0.1


def test_pairs_drawn_apart_are_independent_and_pairs_drawn_together_are_not():
    estimator = RememberingEstimator()
    networks = networks_of()._replace(density_estimator=estimator)
    mean = torch.randn(400, 4, generator=seeded())  # S and T of an image have the same mean: dependent as can be
    estimator_objective(networks, mean, mean, SETTINGS, cluster=lambda mean, std: mean, generator=seeded(1))
    (apart_style, joint_style), (apart_class, joint_class) = (codes.chunk(2) for codes in estimator.pairs)
    assert len(apart_style) == len(joint_style) == 4000

    def correlation(a, b):
        return torch.corrcoef(torch.stack((a[:, 0], b[:, 0])))[0, 1].item()

    assert correlation(joint_style, joint_class) > 0.95
    assert abs(correlation(apart_style, apart_class)) < 4 / math.sqrt(4000)
    # Shuffled, but the same marginals: noise of 0.1 around every mean, ten times each.
    nearest = torch.cdist(apart_style, mean).argmin(1).bincount(minlength=400)
    assert nearest.float().mean() == 10 and abs(apart_style.std().item() - mean.std().item()) < 0.02


def spread(codes, mean, n_samples):
    """The std of codes, drawn sample by sample, around their means."""
    return (codes.view(n_samples, *mean.shape) - mean).std().item()


def test_every_code_is_drawn_with_the_std_of_its_use():
    stds = replace(SETTINGS, n_samples=200, style_std=0.1, class_std=0.5, est_style_std=2.0, est_class_std=8.0)
    seen = {}

    class Spy(torch.nn.Module):
        def __init__(self, name, output):
            super().__init__()
            self.name, self.output = name, output

        def forward(self, *inputs):
            seen[self.name] = [each.detach() for each in inputs]
            return self.output(inputs[0])

    images, labels = batch()
    networks = networks_of()
    style_mean, class_mean = networks.style_encoder(images).detach(), networks.class_encoder(images).detach()
    networks = networks._replace(
        decoder=Spy("decoder", lambda code: code.repeat(1, 3)), density_estimator=Spy("estimator", lambda s: s[:, 0]),
        reconstructor=Spy("reconstructor", lambda code: code.repeat(1, 5)),
    )
    main_objective(networks, images, labels, stds, moving="style", generator=seeded())
    assert spread(seen["decoder"][0], class_mean, 200) == pytest.approx(0.5, rel=0.05)
    assert spread(seen["reconstructor"][0], style_mean, 200) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(seen["reconstructor"][1], labels.repeat(200))
    assert spread(seen["estimator"][0], style_mean, 200) == pytest.approx(2.0, rel=0.05)
    assert spread(seen["estimator"][1], class_mean, 200) == pytest.approx(8.0, rel=0.05)

    clustering = []

    def cluster(mean, radius):
        clustering.append((mean, radius))
        return torch.zeros_like(mean)

    estimator_objective(networks, style_mean, class_mean, stds, cluster=cluster, generator=seeded())
    assert [radius for _, radius in clustering] == [0.1, 0.5]  # style_std and class_std
    assert torch.equal(clustering[0][0], style_mean) and torch.equal(clustering[1][0], class_mean)
    for codes, mean, std in zip(seen["estimator"], (style_mean, class_mean), (2.0, 8.0), strict=True):
        apart, joint = codes.chunk(2)
        assert spread(joint, mean, 200) == pytest.approx(std, rel=0.05)  # around the means themselves
        assert apart.std().item() == pytest.approx(std, rel=0.05)  # around the clustered means, here 0


def test_the_estimator_objective_is_the_least_squares_one():
    networks = networks_of()._replace(density_estimator=RememberingEstimator())
    mean = torch.randn(50, 4, generator=seeded())
    loss, terms = estimator_objective(networks, mean, mean, NOISELESS, cluster=lambda m, std: m, generator=seeded(1))
    output = 0.3 * mean[:, 0] - 0.1  # shuffled or not, the same values
    real, fake = (1 - output).square().mean(), (1 + output).square().mean()
    torch.testing.assert_close(loss, real + fake + 0.05 * output.mean().square())
    expected = torch.stack((real, fake, output.mean().square(), output.mean(), output.mean()))
    torch.testing.assert_close(torch.stack(terms), expected)


def test_draws_come_sample_by_sample_with_fresh_noise():
    mean = torch.arange(6.0).view(3, 2) * 100
    codes = draws(mean, 1.0, 4, seeded())
    assert codes.shape == (12, 2)
    assert torch.equal((codes / 100).round().view(4, 3, 2), (mean / 100).expand(4, 3, 2))
    noise = codes - mean.repeat(4, 1)
    assert len(noise.unique()) == noise.numel()


def test_spectral_norm_makes_the_estimator_1_lipschitz_once_its_power_iterations_have_settled():
    estimator = networks_of().density_estimator
    for _ in range(200):  # one power iteration each
        estimator(torch.zeros(1, 4), torch.zeros(1, 4))
    estimator.eval()
    singular_values = [
        torch.linalg.matrix_norm(layer.weight, 2).item()
        for layer in estimator.modules() if isinstance(layer, torch.nn.Linear)
    ]
    assert singular_values == pytest.approx([1.0] * 5, abs=0.02)
    a, b = torch.randn(2, 500, 8, generator=seeded())
    with torch.no_grad():
        change = (estimator(a[:, :4], a[:, 4:]) - estimator(b[:, :4], b[:, 4:])).abs()
    assert (change <= 1.02 * (a - b).norm(dim=1)).all()


def test_spectral_norm_starts_without_a_warm_up():
    weight_norm = networks_of().density_estimator.layers[0].parametrizations.weight
    top = torch.linalg.svd(weight_norm.original)[0][:, 0]
    assert abs(torch.dot(weight_norm[0]._u, top)) < 0.5  # a random direction; 15 warm-up iterations would be near 1


def test_bf16_forward_passes_keep_losses_and_weights_in_float32_and_stay_close():
    networks, (images, labels) = networks_of(), batch()
    networks.density_estimator.eval()  # no power iteration between the two
    terms = {}
    for precision in ("fp32", "bf16"):
        autocast = autocast_for(precision, torch.device("cpu"))
        loss, terms[precision] = main_objective(
            networks, images, labels, SETTINGS, moving="style", autocast=autocast, generator=seeded()
        )
        assert {loss.dtype, *(term.dtype for term in terms[precision])} == {torch.float32}
        loss.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in networks.main_parameters())
    exact, rounded = (torch.stack(terms[precision]) for precision in ("fp32", "bf16"))
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.03, atol=0.01)
