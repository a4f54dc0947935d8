"""A trained model as evaluations see it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

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


class Networks(Protocol):
    """A NamedTuple of all networks of a method, by the names that checkpoints have for them."""

    def __iter__(self) -> Iterator[nn.Module]: ...
    def _asdict(self) -> dict[str, nn.Module]: ...


@dataclass(frozen=True)
class Model:
    """What an evaluation needs of a trained model."""

    encoder: nn.Module  # of the class code T; images (B, ...) -> mean, std
    decoder: nn.Module  # class code -> logits
    style_encoder: nn.Module | None  # of the style code S, where there is one; images (B, ...) -> mean, std
    code: str  # what the published figures look at, a "sample" or the "mean"

    def modules(self) -> list[nn.Module]:
        return [part for part in vars(self).values() if isinstance(part, nn.Module)]

    def to(self, device: torch.device) -> Self:
        parts = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, nn.Module)}
        return replace(self, **parts)

    def classifier(self) -> Classifier:
        """Encoder and decoder as one module, on mean codes."""
        return Classifier(self.encoder, self.decoder).eval()


@dataclass(frozen=True)
class SwappingModel(Model):
    """One that makes images as well."""

    style_encoder: nn.Module
    reconstructor: nn.Module  # style code, labels -> images
