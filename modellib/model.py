"""A trained model as evaluations see it."""

from typing import NamedTuple

import torch
from torch import nn


class Model(NamedTuple):
    """What an evaluation needs of a trained model."""

    encoder: nn.Module  # of the class code T; images (B, ...) -> mean, std
    decoder: nn.Module  # class code -> logits
    code: str = "sample"  # what the published figures look at, a sample or the mean
    style_encoder: nn.Module | None = None  # of the style code S; images (B, ...) -> mean, std
    reconstructor: nn.Module | None = None  # style code, labels -> images

    def to(self, device: torch.device) -> "Model":
        return Model(*(part.to(device) if isinstance(part, nn.Module) else part for part in self))
