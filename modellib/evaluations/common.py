"""What all evaluators share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Progress = Callable[[Iterable], Iterable]  # wraps an iterable to show how far it is
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, ...) -> mean (B, D), std (B, D) or ()
Decoder = Callable[[Tensor], Tensor]  # code (B, D) -> logits (B, K)
Draw = Callable[[Tensor, Tensor], Tensor]  # mean, std -> code (B, D): a fresh sample, or the mean itself


def mean_code(mean: Tensor, std: Tensor) -> Tensor:
    """The draw that is no draw."""
    return mean


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


@contextmanager
def finite_outputs(*networks: object) -> Iterator[None]:
    """Raise FloatingPointError once a network among these puts out what is no finite number.

    Without it the accuracy would be that of chance, and under attack that of no attack.
    """
    def check(network: nn.Module, _, outputs: Tensor | tuple[Tensor, ...]) -> None:
        if not all(output.isfinite().all() for output in (outputs if isinstance(outputs, tuple) else (outputs,))):
            raise FloatingPointError(f"{type(network).__name__} puts out values that are not finite")

    hooks = [network.register_forward_hook(check) for network in networks if isinstance(network, nn.Module)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def encode(
    encoder: Encoder, images: Tensor, *, batch_size: int, progress: Progress = iter
) -> tuple[Tensor, Tensor]:
    """Encode a whole set, batch by batch: images (N, ...) -> mean (N, D), std (N, D), or () where it is shared."""
    with evaluation_mode(encoder):
        parts = [encoder(images[i : i + batch_size]) for i in progress(range(0, len(images), batch_size))]
    means, stds = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(stds) if stds[0].ndim else stds[0]


def input_gradient(loss: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The gradient of `loss(images)`, a scalar, by the images; the gradients of the networks stay as they are."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        return torch.autograd.grad(loss(images), images)[0]
