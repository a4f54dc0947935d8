"""A trained model as evaluations see it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import nn


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

    def to(self, device: torch.device) -> Self:
        parts = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, nn.Module)}
        return replace(self, **parts)


@dataclass(frozen=True)
class SwappingModel(Model):
    """One that makes images as well."""

    style_encoder: nn.Module
    reconstructor: nn.Module  # style code, labels -> images
