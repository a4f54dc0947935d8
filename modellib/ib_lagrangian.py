"""The IB Lagrangian models VIB and NIB, and their squared and exponential variants: networks and training step.

Objective, minimised (Pan et al. 2021; Rodriguez Galvez et al. 2020 for h): CE(decoder(t), y) + lambda_kl · h(KL),
t one sample of q(t|x) per image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modellib.gaussians import kl_to_standard_normal, pairwise_kl, sample
from modellib.networks import NIBEncoder, VIBEncoder, initialise_xavier, mlp

KL_TERMS = {"vib": kl_to_standard_normal, "nib": pairwise_kl}


class Networks(NamedTuple):
    encoder: nn.Module  # images (B, input_dim) -> mean (B, emb_dim), std (B, emb_dim) or ()
    decoder: nn.Module  # code (B, emb_dim) -> logits (B, n_classes)


class Losses(NamedTuple):  # the sum last: of two that are not finite, the first is named
    loss_dec: Tensor
    loss_kl: Tensor
    loss: Tensor


def build_networks(
    input_dim: int,
    n_classes: int,
    *,
    model: str,
    emb_dim: int,
    enc_hidden_dims: Sequence[int],
    dec_hidden_dims: Sequence[int],
    vib_softplus_scalar: float,
    nib_log_std: float,
    nib_log_std_trainable: bool,
    generator: torch.Generator,
) -> Networks:
    """The networks of `model` ("vib" or "nib"), freshly initialised."""
    if model == "vib":
        encoder = VIBEncoder(input_dim, enc_hidden_dims, emb_dim, vib_softplus_scalar)
    else:
        encoder = NIBEncoder(input_dim, enc_hidden_dims, emb_dim, nib_log_std, nib_log_std_trainable)
    networks = Networks(encoder, mlp(emb_dim, dec_hidden_dims, n_classes))
    for network in networks:
        initialise_xavier(network, generator)
    return networks


def h_function(name: str, parameter: float) -> Callable[[Tensor], Tensor]:
    """h of the objective: none u · pow u^(1 + parameter) · exp e^(parameter · u)."""
    return {
        "none": lambda u: u,
        "pow": lambda u: u ** (1 + parameter),
        "exp": lambda u: torch.exp(parameter * u),
    }[name]


def update(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    kl: Callable[[Tensor, Tensor], Tensor],
    h: Callable[[Tensor], Tensor],
    lambda_kl: float,
    generator: torch.Generator,
) -> Losses:
    """One training step on images (B, input_dim) and labels (B,). Returns the losses, detached."""
    mean, std = networks.encoder(images)
    code = sample(mean, std, generator)
    loss_dec = F.cross_entropy(networks.decoder(code), labels)
    loss_kl = kl(mean, std)
    loss = loss_dec + lambda_kl * h(loss_kl)

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return Losses(loss_dec.detach(), loss_kl.detach(), loss.detach())
