"""A trained model as evaluations see it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images, as the encoder takes them, to the logits (B, n_classes) of their mean codes."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor) -> Tensor:
        mean, _ = self.encoder(images)
        return self.decoder(mean)


class Model(NamedTuple):
    """What an evaluation needs of a trained model."""

    encoder: nn.Module  # of the class code T; images (B, ...) -> mean, std
    decoder: nn.Module  # class code -> logits
    code: str = "sample"  # what the published figures look at, a sample or the mean
    style_encoder: nn.Module | None = None  # of the style code S; images (B, ...) -> mean, std
    reconstructor: nn.Module | None = None  # style code, labels -> images

    def modules(self) -> list[nn.Module]:
        return [part for part in self if isinstance(part, nn.Module)]

    def to(self, device: torch.device) -> "Model":
        return Model(*(part.to(device) if isinstance(part, nn.Module) else part for part in self))

    def classifier(self) -> Classifier:
        """Encoder and decoder as one module, on mean codes."""
        return Classifier(self.encoder, self.decoder).eval()
