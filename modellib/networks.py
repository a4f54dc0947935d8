"""Fully connected networks. They map tensors and keep nothing; a stochastic encoder returns (mean, std)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(n_in: int, hidden: Sequence[int], n_out: int) -> nn.Sequential:
    """Linear layers with ReLU between them, none after the last: (B, n_in) -> (B, n_out)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), nn.ReLU()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


class VIBEncoder(nn.Module):
    """A Gaussian with a mean and a std of its own for every image and dimension (Alemi et al. 2017)."""

    def __init__(self, input_dim: int, hidden_dims: Sequence[int], emb_dim: int, softplus_scalar: float = -1.0):
        """std = exp(log std), or softplus(log std − softplus_scalar) when softplus_scalar > 0."""
        super().__init__()
        self.layers = mlp(input_dim, hidden_dims, 2 * emb_dim)
        self.softplus_scalar = softplus_scalar

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, input_dim) -> mean (B, emb_dim), std (B, emb_dim)."""
        mean, log_std = self.layers(images).chunk(2, dim=1)
        if self.softplus_scalar > 0:
            return mean, F.softplus(log_std - self.softplus_scalar)
        return mean, log_std.exp()


class NIBEncoder(nn.Module):
    """A Gaussian whose std is one number, the same for all images and dimensions (Kolchinsky et al. 2019)."""

    def __init__(
        self, input_dim: int, hidden_dims: Sequence[int], emb_dim: int, log_std: float = 1.0, trainable: bool = True
    ):
        super().__init__()
        self.layers = mlp(input_dim, hidden_dims, emb_dim)
        self.log_std = nn.Parameter(torch.tensor(log_std), requires_grad=trainable)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, input_dim) -> mean (B, emb_dim), std ()."""
        return self.layers(images), self.log_std.exp()


def initialise_xavier(network: nn.Module, generator: torch.Generator) -> None:
    """Xavier-uniform weights with the gain of a ReLU, biases 0, for every linear layer, as published."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("relu"), generator)
            nn.init.zeros_(layer.bias)
