"""What a density estimator sees of S and T when the encoders stand still. From the repository root:

    python tests/calibration/frozen_codes.py [--weights=FILE …] [--steps=5000] [--data_root=STORAGE/datasets]

In training the estimator runs after encoders that move. Here new ones, with the published layers and loss, learn from
the codes that a trained DisenIB gives to MNIST's training images, one draw an image. Printed are the mean outputs on
independent and on joint pairs of the test images. Where the two are equal, S and T look independent; an estimator that
told all pairs would put them 2 apart. Kinds of pairs tell dependence from clustering:

    as trained                    joint pairs against shuffled ones around clustered means
    without clustering            joint pairs against shuffled ones around the same means
    clustering alone              as trained, with T given to other images first: nothing links it to S
    clustering alone without S    the same, and every style code is 0
    clustering within classes     clustering alone, but means of different classes are never averaged

Of the 45 pairs of classes some have their mean class codes nearer to each other than the radius of the clustering,
class_std. It then moves codes of both to a place between them: near_classes counts these pairs. In the main objective
the class encoder ascends the output on joint pairs: pull is how steep that is on the way to the nearest other class.
About 40 s a line on one core. results/frozen-codes.csv holds what was found.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from custom_pkg.compute import generator  # noqa: E402
from experiments.runs import load_run  # noqa: E402
from modellib.disenib import EstimatorTerms, clustered, draws, estimator_objective, unclustered  # noqa: E402
from modellib.networks import DensityEstimator, initialise_xavier, normalise_spectrally  # noqa: E402
from modellib.optimiser import adam  # noqa: E402

KINDS = (
    "as trained",
    "without clustering",
    "clustering alone",
    "clustering alone without S",
    "clustering within classes",
)
LEARNING_RATE = 1e-3  # ten times that of a run, for nothing moves
Codes = tuple[Tensor, Tensor, Tensor]  # means of S (N, style_dim) and of T (N, class_dim), labels (N,)
Settings = Any  # the options of train_disenib.py
Cluster = Callable[[Tensor, float], Tensor]


def within_classes(mean: Tensor, radius: float, labels: Tensor) -> Tensor:
    """As `clustered`, of the means of each class apart."""
    found = torch.empty_like(mean)
    for label in labels.unique():
        found[labels == label] = clustered(mean[labels == label], radius)
    return found


def pairs_of(kind: str, codes: Codes, random: torch.Generator) -> tuple[Tensor, Tensor, Cluster]:
    """What the estimator's objective gets of one batch: means of S and of T, and how they are clustered."""
    style, class_, labels = codes
    if kind == "without clustering":
        return style, class_, unclustered
    if kind != "as trained":
        others = torch.randperm(len(labels), generator=random)
        class_, labels = class_[others], labels[others]
    if kind == "clustering alone without S":
        style = torch.zeros_like(style)
    if kind == "clustering within classes":
        return style, class_, partial(within_classes, labels=labels)
    return style, class_, clustered


def objective(
    estimator: DensityEstimator, codes: Codes, settings: Settings, kind: str, random: torch.Generator
) -> tuple[Tensor, EstimatorTerms]:
    """Of one batch, as in training."""
    style, class_, cluster = pairs_of(kind, codes, random)
    judge = SimpleNamespace(density_estimator=estimator)
    return estimator_objective(judge, style, class_, settings, cluster=cluster, generator=random)


def trained(codes: Codes, settings: Settings, kind: str, *, steps: int, spectral_norm: bool) -> DensityEstimator:
    """A new estimator, which has learned from pairs of these codes."""
    random = generator(0, "new estimator")
    estimator = DensityEstimator(settings.style_dim, settings.class_dim)
    initialise_xavier(estimator, random)
    if spectral_norm:
        normalise_spectrally(estimator, random)
    optimizer = adam(estimator.parameters(), LEARNING_RATE)
    for _ in range(steps):
        rows = torch.randint(len(codes[0]), (settings.batch_size,), generator=random)
        loss, _ = objective(estimator, tuple(part[rows] for part in codes), settings, kind, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return estimator.eval()


def class_centres(class_means: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([class_means[labels == label].mean(0) for label in labels.unique()])


def near_classes(class_means: Tensor, labels: Tensor, radius: float) -> int:
    """Pairs of classes whose centres have a mean absolute difference below the radius, as `clustered` measures it."""
    centres = class_centres(class_means, labels)
    return int((torch.pdist(centres, p=1) / centres.shape[1] < radius).sum())


def pull(estimator: DensityEstimator, codes: Codes, settings: Settings) -> float:
    """How steeply outputs on joint pairs rise, per unit of T, on the way to the nearest other class; mean of images.

    Where they rise is where the I(S;T) term moves the class encoder.
    """
    style, class_, labels = codes
    centres, random = class_centres(class_, labels), generator(0, "pull")
    nearest = torch.cdist(centres, centres, p=1).fill_diagonal_(torch.inf).argmin(1)  # (n_classes,)
    drawn = draws(class_, settings.est_class_std, 1, random).requires_grad_()
    output = estimator(draws(style, settings.est_style_std, 1, random), drawn)
    [gradient] = torch.autograd.grad(output.sum(), drawn)
    return float((gradient * F.normalize(centres[nearest[labels]] - drawn.detach())).sum(1).mean())


@torch.no_grad()
def outputs(estimator: DensityEstimator, codes: Codes, settings: Settings, kind: str) -> list[float]:
    """Means over the images' batches: on independent pairs, on joint pairs."""
    random, found = generator(0, "pairs of test images"), []
    for batch in zip(*(part.split(settings.batch_size) for part in codes), strict=True):
        _, terms = objective(estimator, batch, settings, kind, random)
        found.append(torch.stack((terms.output_real, terms.output_fake)))
    return torch.stack(found).double().mean(0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", nargs="+", default=["results/models/disenib.safetensors"])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--data_root", default="STORAGE/datasets")
    asked = parser.parse_args()
    print("run,pairs,spectral_norm,output_on_independent_pairs,output_on_joint_pairs,apart,near_classes,pull")
    for weights in asked.weights:
        run = load_run(Path(weights), data_root=asked.data_root, device="cpu")
        settings = replace(run.options, n_samples=1)
        with torch.no_grad():
            train, test = (
                (run.networks["style_encoder"](images), run.networks["class_encoder"](images), labels)
                for images, labels in (run.data.sets["train"], run.data.sets["test"])
            )
        near = near_classes(*test[1:], settings.class_std)
        for kind in KINDS:
            for spectral_norm in (True, False):
                estimator = trained(train, settings, kind, steps=asked.steps, spectral_norm=spectral_norm)
                real, fake = outputs(estimator, test, settings, kind)
                pulls = f"{pull(estimator, test, settings):.3f}" if kind == "as trained" else ""
                print(
                    f"disenib seed {settings.rand_seed},{kind},{'yes' if spectral_norm else 'no'},"
                    f"{real:.3f},{fake:.3f},{real - fake:.3f},{near},{pulls}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
