"""What swaps show, in numbers: whether a reconstruction has the class it was told and the style it was given.

A swap is the reconstruction from the mean style code of one image and a class of our choice. Pairs (image, class) are
those of `swap_pairs`. Images are (N, C, H, W) in [0, 1]; squared errors are means over elements, so in units of the
full brightness squared, and PSNR is against that full brightness.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modellib.evaluations.common import evaluation_mode

Reconstruct = Callable[[Tensor, Tensor], Tensor]  # style code (B, D), labels (B,) -> images (B, C, H, W)


def swap_pairs(labels: Tensor, n_classes: int, n_pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n_pairs random pairs of an image's row and a class that is not its own; all of them where there are no more.

    labels (N,). Returns rows (P,) and classes (P,). Raises ValueError when there is only one class.
    """
    if n_classes < 2:
        raise ValueError("swaps need two classes or more")
    n_others = n_classes - 1
    chosen = torch.randperm(len(labels) * n_others, generator=generator, device=generator.device)[:n_pairs]
    rows, offsets = chosen.to(labels.device) // n_others, chosen.to(labels.device) % n_others + 1
    return rows, (labels[rows] + offsets) % n_classes


@torch.no_grad()
def reconstructions(
    reconstructor: Reconstruct, style: Tensor, labels: Tensor, *, batch_size: int
) -> Iterator[Tensor]:
    """Images of style codes (N, D) and labels (N,), batch by batch."""
    with evaluation_mode(reconstructor):
        for i in range(0, len(labels), batch_size):
            yield reconstructor(style[i : i + batch_size], labels[i : i + batch_size])


def swap_error(
    reconstructor: Reconstruct,
    style: Tensor,
    images: Tensor,
    labels: Tensor,
    rows: Tensor,
    classes: Tensor,
    class_means: Tensor,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Swaps against the true image, with the style factors of one and the class of another.

    style (N, D), images (N, C, H, W) and labels (N,) are ordered class by class, with the same styles in the same
    order in every class, so that the truth is there. rows, classes (P,): the swaps. class_means (K, C, H, W): the
    mean training image of every class.
    swap_*: of the swaps. reconstruction_*: of the same images from their own style and class, without a swap.
    class_mean_*: of the mean image of the swap's class, which knows no style.
    """
    n_styles = len(images) // len(class_means)
    truth = classes * n_styles + rows % n_styles
    compared = {
        "swap": (truth, reconstructions(reconstructor, style[rows], classes, batch_size=batch_size)),
        "reconstruction": (rows, reconstructions(reconstructor, style[rows], labels[rows], batch_size=batch_size)),
        "class_mean": (truth, (class_means[batch] for batch in classes.split(batch_size))),
    }
    results = {}
    for name, (wanted, found) in compared.items():
        errors = torch.cat([
            (image - images[batch]).square().flatten(1).mean(1)
            for image, batch in zip(found, wanted.split(batch_size), strict=True)
        ]).double()
        results[f"{name}_mse"] = float(errors.mean())
        results[f"{name}_psnr"] = float(-10 * errors.clamp(min=1e-10).log10().mean())
    return results


@torch.no_grad()
def nearest_truth(
    reconstructor: Reconstruct,
    style: Tensor,
    factors: Tensor,
    rows: Tensor,
    classes: Tensor,
    truth: Tensor,
    truth_factors: Tensor,
    *,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """What swaps show: the factors of the true image, among all there are, that each is nearest to.

    style (N, D) and factors (N, F), the class in column 0; rows, classes (P,): the swaps. truth (M, C, H, W),
    truth_factors (M, F): all true images, the wanted ones among them. Returns factors (P, F) found, and (P, F) wanted:
    the style image's, but for the class. Of true images that are the same, the wanted one counts, else the first.
    """
    flat = truth.flatten(1)
    squares = flat.square().sum(1)
    nearest = torch.cat([
        (squares - 2 * swaps.flatten(1) @ flat.T).argmin(1)  # |truth|² − 2 swap·truth: the error but for |swap|²
        for swaps in reconstructions(reconstructor, style[rows], classes, batch_size=batch_size)
    ])
    wanted = factors[rows].clone()
    wanted[:, 0] = classes
    _, numbers = torch.unique(torch.cat((truth_factors, wanted)), dim=0, return_inverse=True)
    places = torch.empty_like(numbers)
    places[numbers[: len(truth)]] = torch.arange(len(truth), device=numbers.device)
    pairs = zip(nearest.split(batch_size), places[numbers[len(truth) :]].split(batch_size), strict=True)
    same = torch.cat([(flat[found] == flat[true]).all(1) for found, true in pairs])
    return torch.where(same[:, None], wanted, truth_factors[nearest]), wanted


def mean_images(images: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """(N, C, H, W), (N,) -> (n_classes, C, H, W)."""
    return torch.stack([images[labels == label].mean(0) for label in range(n_classes)])


def digit_swaps(
    reconstructor: Reconstruct,
    classifier: nn.Module,
    style: Tensor,
    images: Tensor,
    labels: Tensor,
    rows: Tensor,
    classes: Tensor,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Swapped digits, judged by a classifier of real ones, and their slant and stroke thickness by their pixels.

    rows, classes (P,): the swaps.
    swap_recognised, reconstruction_recognised: share that the classifier sees as intended, with and without a swap.
    classifier_accuracy: its own, on the real images.
    swap_slant_correlation, swap_thickness_correlation: over the swaps, between the image that gave the style and the
    swap; reconstruction_*: without a swap.
    """

    def verdicts(pictures: Tensor) -> Tensor:
        with torch.no_grad(), evaluation_mode(classifier):
            return torch.cat([classifier(batch).argmax(1) for batch in pictures.split(batch_size)])

    results = {"classifier_accuracy": float((verdicts(images) == labels).double().mean())}
    sources = {name: measure(images[rows]) for name, measure in SHAPES.items()}
    for name, told in (("swap", classes), ("reconstruction", labels[rows])):
        pictures = torch.cat(list(reconstructions(reconstructor, style[rows], told, batch_size=batch_size)))
        results[f"{name}_recognised"] = float((verdicts(pictures) == told).double().mean())
        for shape, measure in SHAPES.items():
            pair = torch.stack((sources[shape], measure(pictures)))
            results[f"{name}_{shape}_correlation"] = float(torch.corrcoef(pair)[0, 1].nan_to_num(0.0))
    return results


def slant(images: Tensor) -> Tensor:
    """The horizontal shear of a stroke, in pixels to the right per pixel up: (N, 1, H, W) -> (N,).

    From the second moments of the brightness; 0 for a black image.
    """
    weight = images.flatten(1, 2).double()  # (N, H, W)
    total = weight.sum((1, 2)).clamp(min=1e-9)
    up = -torch.arange(weight.shape[1], device=images.device).double()[:, None]
    right = torch.arange(weight.shape[2], device=images.device).double()[None, :]
    mean_up, mean_right = ((weight * axis).sum((1, 2)) / total for axis in (up, right))
    up, right = up - mean_up[:, None, None], right - mean_right[:, None, None]
    return (weight * up * right).sum((1, 2)) / (weight * up.square()).sum((1, 2)).clamp(min=1e-9)


def thickness(images: Tensor) -> Tensor:
    """The width of a stroke in pixels: (N, 1, H, W) -> (N,).

    Four times the mean distance of the stroke's pixels (brighter than a half) to its edge, which is the width for a
    long band; measured at four times the resolution, for strokes are a few pixels wide. 0 for a black image.
    """
    from scipy import ndimage  # a tenth of a second, for this alone

    scale = 4
    fine = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
    widths = []
    for stroke in (fine[:, 0] > 0.5).cpu().numpy():
        # Half a pixel less: distances go to the centre of the nearest pixel outside.
        depth = np.asarray(ndimage.distance_transform_edt(stroke))[stroke] - 0.5
        widths.append(4 * depth.mean() / scale if depth.size else 0.0)
    return torch.tensor(widths, dtype=torch.float64, device=images.device)


SHAPES = {"slant": slant, "thickness": thickness}
