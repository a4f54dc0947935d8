"""Diagonal Gaussians, given as (mean, std). All divergences are in nats."""

import math

import torch
from torch import Tensor


def sample(mean: Tensor, std: Tensor | float, generator: torch.Generator) -> Tensor:
    """One reparametrised draw per row: mean (B, D), std (B, D) or one number for all -> (B, D)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + std * noise


def log_density(code: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(code; mean, std²) of every row, in nats: all (B, D) -> (B,)."""
    return -0.5 * (((code - mean) / std).square() + 2 * std.log() + math.log(2 * math.pi)).sum(1)


def kl_to_standard_normal(mean: Tensor, std: Tensor) -> Tensor:
    """Mean over the batch of KL(N(mean_i, std_i²) || N(0, I)), summed over dimensions: the VIB bound on I(X;T).

    mean, std: (B, D). Alemi et al. 2017, "Deep Variational Information Bottleneck", eq. (14).
    """
    return kl_of_each(mean, std).mean()


def kl_of_each(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean_i, std_i²) || N(0, I)) of every row: mean (B, D), std (B, D) or () -> (B,)."""
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(1)


def pairwise_kl(mean: Tensor, std: Tensor) -> Tensor:
    """Mean over all ordered pairs (i, j), i = j included, of KL(N(mean_i, std²) || N(mean_j, std²)).

    mean: (B, D); std: one number, shared. The upper bound on I(X;T) of Kolchinsky et al. 2019, "Nonlinear
    Information Bottleneck", in its pairwise form.
    """
    # KL of a pair = |m_i - m_j|² / 2 std², and the mean of |m_i - m_j|² over all pairs is twice the total variance:
    # no (B, B, D) tensor. Centring first keeps the variance exact for codes far from 0.
    total_variance = (mean - mean.mean(0)).square().sum(1).mean()
    return total_variance / std.square()
