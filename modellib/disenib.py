"""DisenIB: supervised disentangling of an image into a class code T and a style code S (Pan et al. 2021).

The objective maximises I(T;Y) and I(X;S,Y), and minimises I(S;T): what of the image is not its label goes into S, so
T keeps the label alone and compresses to the most without losing accuracy. Here it stands as three functions:
`main_objective` (encoders, decoder, reconstructor), `estimator_objective` (the density estimator that makes I(S;T)
something to descend), and `clustered`, which the estimator's independent pairs are drawn around. The convolutional
models take one noise draw per image and do not cluster; that of MNIST adds a discriminator.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modellib.conv_networks import Architecture, ConvEncoder, ConvReconstructor, initialise_normal
from modellib.gaussians import sample
from modellib.networks import DensityEstimator, Reconstructor, initialise_xavier, mlp, normalise_spectrally

Autocast = Callable[[], AbstractContextManager]
RECONSTRUCTED, REAL = 0, 1  # a discriminator's classes


class Networks(NamedTuple):
    style_encoder: nn.Module  # images (B, ...) -> mean of S (B, style_dim)
    class_encoder: nn.Module  # images (B, ...) -> mean of T (B, class_dim)
    decoder: nn.Module  # class code (B, class_dim) -> logits (B, n_classes)
    reconstructor: nn.Module  # style code (B, style_dim), labels (B,) -> images (B, ...)
    density_estimator: nn.Module  # style code, class code -> (B,)

    def main_parameters(self) -> list[nn.Parameter]:
        """All but the density estimator's."""
        return [parameter for network in self[:4] for parameter in network.parameters()]


class MainTerms(NamedTuple):
    loss_dec: Tensor
    loss_rec: Tensor
    loss_wall: Tensor
    loss_est: Tensor
    loss_disc: Tensor
    largest_code: Tensor


class EstimatorTerms(NamedTuple):
    loss_real: Tensor
    loss_fake: Tensor
    loss_zc: Tensor
    output_real: Tensor
    output_fake: Tensor


class DiscriminatorTerms(NamedTuple):
    disc_loss: Tensor
    disc_accuracy: Tensor
    disc_moved: Tensor  # 1 if it was trained, 0 if it waited


@dataclass(frozen=True)
class Settings:
    """Standard deviations of the codes, and weights: what is read of a script's options, which stand in for this."""

    n_samples: int  # noise draws per image
    style_std: float
    class_std: float
    est_style_std: float  # both as the estimator sees them
    est_class_std: float
    emb_radius: float
    lambda_dec: float
    lambda_rec: float
    lambda_wall: float
    lambda_est: float
    lambda_est_zc: float
    lambda_disc: float = 0.0  # of a discriminator, where there is one


def build_networks(
    input_dim: int,
    n_classes: int,
    *,
    style_dim: int,
    class_dim: int,
    enc_hidden_dims: Sequence[int],
    dec_hidden_dims: Sequence[int],
    rec_hidden_dims: Sequence[int],
    spectral_norm: bool = True,
    generator: torch.Generator,
) -> Networks:
    """The fully connected networks, freshly initialised. spectral_norm: of the density estimator, as published."""
    networks = Networks(
        style_encoder=mlp(input_dim, enc_hidden_dims, style_dim),
        class_encoder=mlp(input_dim, enc_hidden_dims, class_dim),
        decoder=mlp(class_dim, dec_hidden_dims, n_classes),
        reconstructor=Reconstructor(style_dim, n_classes, class_dim, rec_hidden_dims, input_dim, generator),
        density_estimator=DensityEstimator(style_dim, class_dim),
    )
    for network in networks:
        initialise_xavier(network, generator)
    if spectral_norm:
        normalise_spectrally(networks.density_estimator, generator)
    return networks


def build_conv_networks(
    in_channels: int,
    n_classes: int,
    architecture: Architecture,
    *,
    style_dim: int,
    class_dim: int,
    generator: torch.Generator,
) -> Networks:
    """The convolutional networks, freshly initialised."""

    def encoder(code_dim: int) -> ConvEncoder:
        return ConvEncoder(in_channels, architecture.encoder, architecture.flat_dim, code_dim)

    networks = Networks(
        style_encoder=encoder(style_dim),
        class_encoder=encoder(class_dim),
        decoder=nn.Linear(class_dim, n_classes, bias=False),
        reconstructor=ConvReconstructor(style_dim, n_classes, class_dim, architecture.reconstructor, generator),
        density_estimator=DensityEstimator(style_dim, class_dim),
    )
    for network in networks:
        initialise_normal(network, generator)
    return networks


def main_objective(
    networks: Networks,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    moving: str | None,
    discriminator: nn.Module | None = None,
    autocast: Autocast = nullcontext,
    generator: torch.Generator,
) -> tuple[Tensor, MainTerms]:
    """The loss that encoders, decoder and reconstructor descend, and its terms, detached.

    images (B, ...), labels (B,). moving: which encoder the estimator's term moves in this update, "style" or "class";
    None leaves the term out (before est_thr). discriminator: judges reconstructions, None leaves its term out.
    autocast: the context for the large networks' forward passes.
    """
    with autocast():
        style_mean = networks.style_encoder(images).float()
        class_mean = networks.class_encoder(images).float()

    # -I(T;Y): the label from the class code.
    class_code = draws(class_mean, settings.class_std, settings.n_samples, generator)  # (K B, class_dim)
    many_labels = labels.repeat(settings.n_samples)
    loss_dec = F.cross_entropy(networks.decoder(class_code), many_labels)

    # -I(X;S,Y): the image from the style code and the label.
    style_code = draws(style_mean, settings.style_std, settings.n_samples, generator)  # (K B, style_dim)
    with autocast():
        reconstruction = networks.reconstructor(style_code, many_labels).float()  # (K B, ...)
    by_sample = reconstruction.unflatten(0, (settings.n_samples, -1))  # (K, B, ...)
    loss_rec = F.mse_loss(by_sample, images.expand_as(by_sample))

    # A wall around the codes, for their stds are fixed: without it, distance would buy information.
    beyond = torch.cat((style_mean, class_mean), 1).abs() - settings.emb_radius
    loss_wall = beyond.relu().square().mean()

    loss = settings.lambda_dec * loss_dec + settings.lambda_rec * loss_rec + settings.lambda_wall * loss_wall
    # I(S;T): pairs drawn together shall look to the estimator like pairs drawn independently.
    loss_est = torch.zeros_like(loss)
    if moving is not None:
        style_pair = style_mean if moving == "style" else style_mean.detach()
        class_pair = class_mean if moving == "class" else class_mean.detach()
        loss_est = -networks.density_estimator(
            draws(style_pair, settings.est_style_std, settings.n_samples, generator),
            draws(class_pair, settings.est_class_std, settings.n_samples, generator),
        ).mean()
        loss = loss + settings.lambda_est * loss_est

    # Against blurry pictures: reconstructions shall look real.
    loss_disc = torch.zeros_like(loss)
    if discriminator is not None:
        with autocast():
            verdict = discriminator(reconstruction).float()
        loss_disc = F.cross_entropy(verdict, torch.full_like(many_labels, REAL))
        loss = loss + settings.lambda_disc * loss_disc

    largest_code = beyond.max() + settings.emb_radius
    terms = MainTerms(loss_dec, loss_rec, loss_wall, loss_est, loss_disc, largest_code)
    return loss, MainTerms(*(term.detach() for term in terms))


def estimator_objective(
    networks: Networks,
    style_mean: Tensor,
    class_mean: Tensor,
    settings: Settings,
    *,
    cluster: Callable[[Tensor, float], Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, EstimatorTerms]:
    """The least-squares loss that the density estimator descends, and its terms, detached.

    style_mean (B, style_dim), class_mean (B, class_dim): of one batch, without gradient. cluster: `clustered`, or
    `unclustered` for the convolutional models.
    """
    k = settings.n_samples
    # Drawn together: fake, for what the encoders make is to become independent. (K B, dim)
    joint_style = draws(style_mean, settings.est_style_std, k, generator)
    joint_class = draws(class_mean, settings.est_class_std, k, generator)
    # Shuffled apart: real, the product of the marginals.
    style_centre, class_centre = cluster(style_mean, settings.style_std), cluster(class_mean, settings.class_std)
    apart_style = shuffled(draws(style_centre, settings.est_style_std, k, generator), generator)
    apart_class = shuffled(draws(class_centre, settings.est_class_std, k, generator), generator)

    # One forward pass, so that both are judged by the same spectrally normalised weights.
    output = networks.density_estimator(
        torch.cat((apart_style, joint_style)), torch.cat((apart_class, joint_class))
    )
    real, fake = output.chunk(2)
    loss_real, loss_fake = (1 - real).square().mean(), (1 + fake).square().mean()
    loss_zc = output.mean().square()
    loss = loss_real + loss_fake + settings.lambda_est_zc * loss_zc
    terms = EstimatorTerms(loss_real, loss_fake, loss_zc, real.mean(), fake.mean())
    return loss, EstimatorTerms(*(term.detach() for term in terms))


def main_update(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    **keywords,
) -> MainTerms:
    """One forward and one backward pass, one step of `optimizer`; all else as of `main_objective`."""
    loss, terms = main_objective(networks, images, labels, settings, **keywords)
    optimizer.zero_grad()
    # Estimator and discriminator pass the gradient on and keep none.
    loss.backward(inputs=networks.main_parameters())
    optimizer.step()
    return terms


def estimator_update(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    settings: Settings,
    *,
    cluster: Callable[[Tensor, float], Tensor],
    autocast: Autocast,
    generator: torch.Generator,
) -> EstimatorTerms:
    """One step of the density estimator's `optimizer`, encoders fixed."""
    with torch.no_grad(), autocast():
        style_mean = networks.style_encoder(images).float()
        class_mean = networks.class_encoder(images).float()
    loss, terms = estimator_objective(
        networks, style_mean, class_mean, settings, cluster=cluster, generator=generator
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return terms


def discriminator_update(
    networks: Networks,
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    *,
    limit_acc: float,
    autocast: Autocast,
    generator: torch.Generator,
) -> DiscriminatorTerms:
    """One step of the discriminator's `optimizer`, unless it is right in a share `limit_acc` of its verdicts.

    images (B, ...) are real, their reconstructions from noisy style codes and labels (B,) are not.
    """
    with torch.no_grad(), autocast():
        style_code = sample(networks.style_encoder(images).float(), settings.style_std, generator)
        reconstruction = networks.reconstructor(style_code, labels).float()
    with autocast():
        verdict = discriminator(torch.cat((images, reconstruction))).float()  # (2 B, 2)
    truth = torch.cat((torch.full_like(labels, REAL), torch.full_like(labels, RECONSTRUCTED)))
    of_real, of_reconstructed = map(F.cross_entropy, verdict.chunk(2), truth.chunk(2))
    loss = of_real + of_reconstructed
    accuracy = (verdict.argmax(1) == truth).float().mean()
    moves = bool(accuracy < limit_acc)
    if moves:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return DiscriminatorTerms(loss.detach(), accuracy, accuracy.new_tensor(moves))


def clustered(mean: Tensor, radius: float) -> Tensor:
    """Each mean (B, D) replaced by the average of those whose mean absolute difference to it is below `radius`."""
    near = (torch.cdist(mean, mean, p=1) / mean.shape[1] < radius).to(mean.dtype)  # (B, B), the diagonal included
    return near @ mean / near.sum(1, keepdim=True)


def unclustered(mean: Tensor, radius: float) -> Tensor:
    """The means as they are: the convolutional models do not cluster."""
    return mean


def draws(mean: Tensor, std: float, n_samples: int, generator: torch.Generator) -> Tensor:
    """n_samples draws of every N(mean_i, std²), sample by sample: (B, D) -> (n_samples B, D)."""
    return sample(mean.expand(n_samples, *mean.shape), std, generator).flatten(0, 1)


def shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator, device=rows.device)]


def moving_encoder(update: int, est_style_optimize: int) -> str:
    """Which encoder the estimator's term moves in a main update, counted from est_thr on: style n times, class once."""
    return "style" if update % (est_style_optimize + 1) < est_style_optimize else "class"
