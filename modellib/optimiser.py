"""The published optimiser."""

import warnings
from collections.abc import Iterable

import torch
from torch import nn


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Adam with the published betas, for parameters that are already on their device."""
    parameters = list(parameters)
    on_gpu = parameters[0].device.type == "cuda"  # there its step can be a part of a CUDA graph
    # Torch would warn of every step before the recording.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    return torch.optim.Adam(parameters, lr=learning_rate, betas=(0.5, 0.999), fused=True, capturable=on_gpu)
