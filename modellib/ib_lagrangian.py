"""The IB Lagrangian models: their networks, their rate terms and the training step. A new one is a record in MODELS.

Objective, minimised (Pan et al. 2021; Rodriguez Galvez et al. 2020 for h): CE(decoder(t), y) + lambda_kl · h(rate),
t one sample of q(t|x) per image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modellib.evaluations.common import input_gradient
from modellib.gaussians import kl_to_standard_normal, log_density, pairwise_kl, sample
from modellib.model import Networks
from modellib.networks import FixedStdEncoder, NIBEncoder, VIBEncoder, initialise_xavier, mlp


class LagrangianNetworks(Networks, Protocol):
    """These two, and whatever else the rate term needs."""

    @property
    def encoder(self) -> nn.Module: ...  # images (B, input_dim) -> mean (B, emb_dim), std (B, emb_dim) or ()
    @property
    def decoder(self) -> nn.Module: ...  # code (B, emb_dim) -> logits (B, n_classes)


class EncoderDecoder(NamedTuple):
    encoder: nn.Module
    decoder: nn.Module


class Losses(NamedTuple):  # the sum last: of two that are not finite, the first is named
    loss_dec: Tensor
    loss_kl: Tensor
    loss: Tensor


@dataclass(frozen=True)
class LagrangianModel:
    """build: (input_dim, n_classes, settings, generator) -> the freshly initialised networks, a NamedTuple; settings
    are the options of train_lagrangian.py.
    rate: (mean, std, code, labels, networks) -> what a code may cost, a scalar in nats; None for nothing.
    code: what attacks and detection see, a fresh "sample" every time or the "mean".
    negative: whether the rate can be below 0, where a power of it has no meaning.
    """

    build: Callable[[int, int, Any, torch.Generator], LagrangianNetworks]
    rate: Callable[..., Tensor] | None
    code: str = "sample"
    negative: bool = False


def initialised(encoder: nn.Module, n_classes: int, settings: Any, generator: torch.Generator) -> EncoderDecoder:
    """The encoder, and the decoder that all models have, with fresh weights."""
    networks = EncoderDecoder(encoder, mlp(settings.emb_dim, settings.dec_hidden_dims, n_classes))
    for network in networks:
        initialise_xavier(network, generator)
    return networks


def vib_networks(input_dim: int, n_classes: int, settings: Any, generator: torch.Generator) -> EncoderDecoder:
    encoder = VIBEncoder(input_dim, settings.enc_hidden_dims, settings.emb_dim, settings.vib_softplus_scalar)
    return initialised(encoder, n_classes, settings, generator)


def nib_networks(input_dim: int, n_classes: int, settings: Any, generator: torch.Generator) -> EncoderDecoder:
    encoder = NIBEncoder(
        input_dim, settings.enc_hidden_dims, settings.emb_dim, settings.nib_log_std, settings.nib_log_std_trainable
    )
    return initialised(encoder, n_classes, settings, generator)


def plain_networks(input_dim: int, n_classes: int, settings: Any, generator: torch.Generator) -> EncoderDecoder:
    encoder = FixedStdEncoder(mlp(input_dim, settings.enc_hidden_dims, settings.emb_dim), 0.0)
    return initialised(encoder, n_classes, settings, generator)


class ClassMarginal(nn.Module):
    """b(t|y): a Gaussian per label, all of them N(0, I) at first."""

    def __init__(self, n_classes: int, emb_dim: int):
        super().__init__()
        self.mean, self.log_std = (nn.Parameter(torch.zeros(n_classes, emb_dim)) for _ in range(2))

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """labels (B,) -> mean (B, emb_dim), std (B, emb_dim)."""
        return F.embedding(labels, self.mean), F.embedding(labels, self.log_std).exp()


class CEBNetworks(NamedTuple):
    encoder: nn.Module
    decoder: nn.Module
    class_marginal: nn.Module


def ceb_networks(input_dim: int, n_classes: int, settings: Any, generator: torch.Generator) -> CEBNetworks:
    """VIB's, and a third one."""
    vib = vib_networks(input_dim, n_classes, settings, generator)
    return CEBNetworks(*vib, ClassMarginal(n_classes, settings.emb_dim))


def ceb_rate(mean: Tensor, std: Tensor, code: Tensor, labels: Tensor, networks: CEBNetworks) -> Tensor:
    """Mean over the batch of log e(t|x) − log b(t|y), t the code: above I(X;T|Y) on average (Fischer 2020)."""
    return (log_density(code, mean, std) - log_density(code, *networks.class_marginal(labels))).mean()


MODELS = {
    "vib": LagrangianModel(vib_networks, lambda mean, std, *_: kl_to_standard_normal(mean, std)),
    "nib": LagrangianModel(nib_networks, lambda mean, std, *_: pairwise_kl(mean, std)),
    "ceb": LagrangianModel(ceb_networks, ceb_rate, negative=True),  # of one draw: it is not so on average
    "plain": LagrangianModel(plain_networks, None, code="mean"),  # a code without noise, and nothing to pay for it
}


def with_a_rate() -> list[str]:
    """The names of the models that lambda_kl and h are for."""
    return [name for name, model in MODELS.items() if model.rate]


H_FUNCTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "none": lambda u, _: u,
    "pow": lambda u, parameter: u ** (1 + parameter),
    "exp": lambda u, parameter: torch.exp(parameter * u),
}


def power_complaint(model: str, h: str) -> str | None:
    """What is wrong with that h of that model's rate, if anything is."""
    if h == "pow" and MODELS[model].negative:
        return f"--hfunc=pow has no meaning with --model={model}, whose rate can be below 0"
    return None


def h_function(name: str, parameter: float) -> Callable[[Tensor], Tensor]:
    """h of the objective: none u · pow u^(1 + parameter) · exp e^(parameter · u)."""
    return lambda u: H_FUNCTIONS[name](u, parameter)


def update(
    networks: LagrangianNetworks,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    rate: Callable[..., Tensor] | None,
    h: Callable[[Tensor], Tensor],
    lambda_kl: float,
    generator: torch.Generator,
    attack: Callable[..., Tensor] | None = None,
) -> Losses:
    """One training step on images (B, input_dim) and labels (B,). Returns the losses, detached.

    networks, rate: see LagrangianModel. attack: (networks, images, labels, generator) -> images to train on instead.
    """
    if attack:
        images = attack(networks, images, labels, generator)
    mean, std = networks.encoder(images)
    code = sample(mean, std, generator)
    loss_dec = F.cross_entropy(networks.decoder(code), labels)
    loss_kl = rate(mean, std, code, labels, networks) if rate else torch.zeros_like(loss_dec)
    loss = loss_dec + lambda_kl * h(loss_kl) if rate else loss_dec

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return Losses(loss_dec.detach(), loss_kl.detach(), loss.detach())


def pgd_images(
    networks: LagrangianNetworks, images: Tensor, labels: Tensor, generator: torch.Generator, *,
    epsilon: float, steps: int, step_size: float,
) -> Tensor:
    """Images within epsilon a pixel of `images`, in [-1, 1], on which the cross entropy has been ascended.

    From a random start along the sign of the gradient, as adversarial training does it (Madry et al. 2018). Nothing
    here waits for a GPU, as a recorded update demands; the attacks that measure robustness do.
    """
    low, high = (images - epsilon).clamp(min=-1), (images + epsilon).clamp(max=1)
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    attacked = (images + epsilon * (2 * noise - 1)).clamp(low, high)

    def loss(x: Tensor) -> Tensor:
        mean, std = networks.encoder(x)
        return F.cross_entropy(networks.decoder(sample(mean, std, generator)), labels)

    for _ in range(steps):
        gradient = input_gradient(loss, attacked)
        attacked = (attacked + step_size * gradient.sign()).clamp(low, high)
    return attacked
