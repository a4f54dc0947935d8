"""Convolutional networks for supervised disentangling. Images (B, C, H, W) in [0, 1] go in and come out.

A stack of convolutions is data: for each layer its channels and its padding. All norm layers normalise with the
image's own statistics, in evaluation too, and have nothing to train.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stack = Sequence[tuple[int, int]]  # (channels, padding) of each layer


class Architecture(NamedTuple):
    """The published networks of one data set."""

    encoder: Stack
    flat_dim: int  # features after the encoder's convolutions
    reconstructor: Stack


ARCHITECTURES = {
    "mnist": Architecture(((16, 1), (32, 1), (64, 1)), 256, ((32, 0), (16, 0), (1, 1))),
    "shapes": Architecture(
        ((16, 1), (32, 1), (64, 1), (64, 0)), 256, ((32, 1), (16, 1), (8, 1), (8, 1), (1, 1)),
    ),
    "sprites": Architecture(((16, 1), (32, 1), (64, 1), (128, 1)), 512, ((32, 0), (16, 0), (8, 0), (3, 1))),
}
DISCRIMINATOR = ((32, 1), (64, 1), (128, 1)), 512  # of MNIST: its convolutions, and the features after them


class InstanceNorm(nn.Module):
    """InstanceNorm2d without scale and shift, as a group norm with one channel a group: the faster kernel on a CPU."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, each channel of each image with mean 0 and variance 1."""
        return F.group_norm(features, features.shape[1])


def convolutions(in_channels: int, stack: Stack, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """5x5 convolutions of stride 2, each with norm and activation."""
    layers: list[nn.Module] = []
    for channels, padding in stack:
        # The norm takes away every constant, and so a bias too.
        layers += [nn.Conv2d(in_channels, channels, 5, 2, padding, bias=False), InstanceNorm(), activation()]
        in_channels = channels
    return nn.Sequential(*layers)


class ConvEncoder(nn.Module):
    """images (B, C, H, W) -> mean of a code (B, code_dim)."""

    def __init__(
        self,
        in_channels: int,
        stack: Stack,
        flat_dim: int,
        code_dim: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.layers = nn.Sequential(
            convolutions(in_channels, stack, activation), nn.Flatten(), nn.Linear(flat_dim, code_dim)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class ConvReconstructor(nn.Module):
    """The image of a style code and a label, which stands for a trainable vector; output in (0, 1)."""

    def __init__(self, style_dim: int, n_classes: int, class_dim: int, stack: Stack, generator: torch.Generator):
        super().__init__()
        self.class_table = nn.Embedding(n_classes, class_dim)
        nn.init.normal_(self.class_table.weight, generator=generator)
        self.style_layer = nn.Linear(style_dim, 256)
        self.class_layer = nn.Linear(class_dim, 256)
        layers: list[nn.Module] = []
        in_channels = 128
        for channels, padding in stack[:-1]:
            layers += [nn.ConvTranspose2d(in_channels, channels, 4, 2, padding, bias=False), InstanceNorm()]
            layers += [nn.LeakyReLU(0.2)]
            in_channels = channels
        channels, padding = stack[-1]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(in_channels, channels, 4, 2, padding), nn.Sigmoid())

    def forward(self, style_code: Tensor, labels: Tensor) -> Tensor:
        """style_code (B, style_dim), labels (B,) -> images (B, C, H, W)."""
        halves = self.style_layer(style_code), self.class_layer(self.class_table(labels))
        features = F.leaky_relu(torch.cat(halves, 1), 0.2)  # (B, 512), style first
        return self.layers(features.unflatten(1, (128, 2, 2)))


def build_discriminator(in_channels: int, generator: torch.Generator) -> nn.Module:
    """MNIST's discriminator, freshly initialised: images (B, C, 28, 28) -> logits (B, 2) of reconstructed and real."""
    discriminator = ConvEncoder(in_channels, *DISCRIMINATOR, 2, partial(nn.LeakyReLU, 0.2))
    initialise_normal(discriminator, generator)
    return discriminator


def initialise_normal(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of N(0, 0.05²) and biases 0 for convolutions and linear layers; PyTorch's own for transposed ones."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.05, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.ConvTranspose2d):
            bound = (layer.weight.shape[1] * layer.weight[0, 0].numel()) ** -0.5
            for parameter in layer.parameters():  # PyTorch's default, from this generator
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
