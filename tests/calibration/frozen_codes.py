"""What a density estimator sees of S and T when the encoders stand still. From the repository root:

    python tests/calibration/frozen_codes.py [--weights=FILE …] [--steps=5000] [--data_root=STORAGE/datasets]

In training the estimator runs after encoders that move. Here new ones, with the published layers and loss, learn from
the codes that a trained DisenIB gives to MNIST's training images, one draw an image. Printed are the mean outputs on
independent and on joint pairs of the test images. Where the two are equal, S and T look independent; at most they lie 2
apart. Kinds of pairs tell dependence from clustering:

    as trained           joint pairs against shuffled ones around clustered means
    without clustering   joint pairs against shuffled ones around the same means
    clustering alone     as trained, with the class codes given to other images first: S and T are independent
    … at half the radius the same; means are clustered that lie half as far from each other at most

Of the 45 pairs of classes some have their mean class codes nearer to each other than the radius of the clustering,
class_std. It then moves codes of both to a place between them, where no joint pair lies. The last column counts these.
About 40 s a line on one core. results/frozen-codes.csv holds what was found.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from custom_pkg.compute import generator  # noqa: E402
from experiments.runs import load_run  # noqa: E402
from modellib.disenib import EstimatorTerms, clustered, estimator_objective, shuffled, unclustered  # noqa: E402
from modellib.networks import DensityEstimator, initialise_xavier, normalise_spectrally  # noqa: E402
from modellib.optimiser import adam  # noqa: E402

LEARNING_RATE = 1e-3  # ten times that of a run, for nothing moves
KINDS = {
    "as trained": (clustered, False),
    "without clustering": (unclustered, False),
    "clustering alone": (clustered, True),
    "clustering alone at half the radius": (lambda mean, radius: clustered(mean, radius / 2), True),
}
Codes = tuple[Tensor, Tensor]  # means of S and of T, a row an image
Settings = Any  # the options of train_disenib.py


def objective(
    estimator: DensityEstimator, codes: Codes, settings: Settings, kind: str, random: torch.Generator
) -> tuple[Tensor, EstimatorTerms]:
    """Of one batch, as in training."""
    cluster, apart = KINDS[kind]
    style, class_ = codes
    if apart:
        class_ = shuffled(class_, random)
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
        loss, _ = objective(estimator, (codes[0][rows], codes[1][rows]), settings, kind, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return estimator.eval()


def near_classes(class_means: Tensor, labels: Tensor, radius: float) -> int:
    """Pairs of classes whose centres have a mean absolute difference below the radius, as `clustered` measures it."""
    centres = torch.stack([class_means[labels == label].mean(0) for label in labels.unique()])
    return int((torch.pdist(centres, p=1) / centres.shape[1] < radius).sum())


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
    print("run,pairs,spectral_norm,output_on_independent_pairs,output_on_joint_pairs,apart,near_classes")
    for weights in asked.weights:
        run = load_run(Path(weights), data_root=asked.data_root, device="cpu")
        settings, images = replace(run.options, n_samples=1), {name: part[0] for name, part in run.data.sets.items()}
        with torch.no_grad():
            train, test = (
                (run.networks["style_encoder"](images[split]), run.networks["class_encoder"](images[split]))
                for split in ("train", "test")
            )
        near = near_classes(test[1], run.data.sets["test"][1], settings.class_std)
        for kind in KINDS:
            for spectral_norm in (True, False):
                estimator = trained(train, settings, kind, steps=asked.steps, spectral_norm=spectral_norm)
                real, fake = outputs(estimator, test, settings, kind)
                print(
                    f"disenib seed {settings.rand_seed},{kind},{'yes' if spectral_norm else 'no'},"
                    f"{real:.3f},{fake:.3f},{real - fake:.3f},{near}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
