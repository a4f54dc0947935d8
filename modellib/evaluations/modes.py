"""What all evaluators share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Progress = Callable[[Iterable], Iterable]  # wraps an iterable to show how far it is
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, ...) -> mean (B, D), std (B, D) or ()
Decoder = Callable[[Tensor], Tensor]  # code (B, D) -> logits (B, K)


@contextmanager
def evaluation_mode(*networks: Callable) -> Iterator[None]:
    """Put networks into evaluation mode, and give each module back the mode it had."""
    modules = [module for network in networks if isinstance(network, nn.Module) for module in network.modules()]
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training
