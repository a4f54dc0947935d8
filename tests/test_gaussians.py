import math

import torch
from torch.distributions import Independent, Normal, kl_divergence

from modellib.gaussians import kl_to_standard_normal, log_density, pairwise_kl, sample


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def test_log_density_equals_torch_distributions():
    code, mean = torch.randn(2, 50, 16, generator=seeded())
    std = torch.rand(50, 16, generator=seeded(1)) * 3 + 0.1
    torch.testing.assert_close(log_density(code, mean, std), Independent(Normal(mean, std), 1).log_prob(code))


def test_vib_kl_equals_torch_distributions():
    mean, std = torch.randn(50, 16, generator=seeded()), torch.rand(50, 16, generator=seeded(1)) * 3 + 1e-3
    posterior = Independent(Normal(mean, std), 1)
    prior = Independent(Normal(torch.zeros(16), torch.ones(16)), 1)
    torch.testing.assert_close(kl_to_standard_normal(mean, std), kl_divergence(posterior, prior).mean())


def test_vib_kl_of_the_prior_itself_is_zero():
    assert kl_to_standard_normal(torch.zeros(3, 4), torch.ones(3, 4)).item() == 0


def test_nib_kl_equals_the_double_loop_over_all_ordered_pairs():
    mean, std = torch.randn(20, 16, generator=seeded(), dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    total = 0.0
    for one in mean:
        for other in mean:
            total += kl_divergence(Normal(one, std), Normal(other, std)).sum().item()
    assert math.isclose(pairwise_kl(mean, std).item(), total / 20**2, rel_tol=1e-12)


def test_nib_kl_is_the_same_for_codes_far_from_zero():
    mean, std = torch.randn(20, 16, generator=seeded()), torch.tensor(1.0)
    torch.testing.assert_close(pairwise_kl(mean + 1000, std), pairwise_kl(mean, std), rtol=1e-3, atol=0)


def test_gradients_of_both_kl_terms_are_right():
    mean = torch.randn(5, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    std = (torch.rand(5, 3, generator=seeded(1), dtype=torch.float64) + 0.1).requires_grad_()
    shared = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kl_to_standard_normal, (mean, std))
    assert torch.autograd.gradcheck(pairwise_kl, (mean, shared))


def test_samples_have_the_mean_and_std_asked_for_and_follow_the_generator():
    mean, std = torch.full((200_000, 2), 3.0), torch.tensor([0.5, 2.0]).expand(200_000, 2)
    code = sample(mean, std, seeded())
    torch.testing.assert_close(code.mean(0), torch.tensor([3.0, 3.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(code.std(0), torch.tensor([0.5, 2.0]), atol=0.02, rtol=0)
    assert torch.equal(code, sample(mean, std, seeded()))
    assert not torch.equal(code, sample(mean, std, seeded(1)))


def test_sampling_lets_the_gradient_through_to_mean_and_std():
    mean, std = torch.zeros(4, 2, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    code = sample(mean, std, seeded())
    code.sum().backward()
    assert torch.equal(mean.grad, torch.ones(4, 2))
    assert torch.equal(std.grad, code.detach())  # d(mean + std * noise) / d std = noise
