"""Fully connected networks. They map tensors and keep nothing; a stochastic encoder returns (mean, std)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def mlp(
    n_in: int, hidden: Sequence[int], n_out: int, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with an activation between them, none after the last: (B, n_in) -> (B, n_out)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), activation()]
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


class FixedStdEncoder(nn.Module):
    """A Gaussian around the output of an encoder of means, with one std that is not trained (DisenIB)."""

    std: Tensor

    def __init__(self, mean_encoder: nn.Module, std: float):
        super().__init__()
        self.mean_encoder = mean_encoder
        self.register_buffer("std", torch.tensor(std))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, ...) -> mean (B, D), std ()."""
        return self.mean_encoder(images), self.std


class Reconstructor(nn.Module):
    """The image of a style code and a label; the label stands for a trainable vector, not for the class code."""

    def __init__(
        self,
        style_dim: int,
        n_classes: int,
        class_dim: int,
        hidden_dims: Sequence[int],
        output_dim: int,
        generator: torch.Generator,
    ):
        super().__init__()
        self.class_table = nn.Embedding(n_classes, class_dim)
        nn.init.normal_(self.class_table.weight, generator=generator)
        self.layers = mlp(style_dim + class_dim, hidden_dims, output_dim, partial(nn.LeakyReLU, 0.2))

    def forward(self, style_code: Tensor, labels: Tensor) -> Tensor:
        """style_code (B, style_dim), labels (B,) -> images (B, output_dim)."""
        return self.layers(torch.cat((style_code, self.class_table(labels)), 1))


class DensityEstimator(nn.Module):
    """Tells pairs (S, T) drawn independently, output near 1, from pairs drawn together, output near -1."""

    def __init__(self, style_dim: int, class_dim: int, width: int = 128):
        super().__init__()
        self.style_layer = nn.Linear(style_dim, width)
        self.class_layer = nn.Linear(class_dim, width)
        self.layers = mlp(2 * width, (2 * width, 2 * width), 1, partial(nn.LeakyReLU, 0.2))

    def forward(self, style_code: Tensor, class_code: Tensor) -> Tensor:
        """style_code (B, style_dim), class_code (B, class_dim) -> (B,)."""
        pair = torch.cat((self.style_layer(style_code), self.class_layer(class_code)), 1)
        return self.layers(pair).squeeze(1)


def initialise_xavier(network: nn.Module, generator: torch.Generator) -> None:
    """Xavier-uniform weights with the gain of a ReLU, biases 0, for every linear layer, as published."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("relu"), generator)
            nn.init.zeros_(layer.bias)


def normalise_spectrally(network: nn.Module, generator: torch.Generator) -> None:
    """Divide the weights of every linear layer by an estimate of their largest singular value.

    Torch's own parametrisation: one power iteration at every forward pass in training mode. It also warms up with 15
    when it is made; starting anew from random vectors gives the published behaviour, without a warm-up.
    """
    for layer in [layer for layer in network.modules() if isinstance(layer, nn.Linear)]:
        spectral_norm(layer)
        for vector in layer.buffers():
            vector.copy_(F.normalize(vector.normal_(generator=generator), dim=0))
