"""Out-of-distribution detection with ODIN (Liang et al. 2018) and with plainer scores, and the metrics on them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, encode, evaluation_mode, input_gradient
from modellib.gaussians import kl_of_each


def noise_images(kind: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """Noise in the shape of `like`: "gauss" is N(0, 1) clamped to [-1, 1], as published; "uniform" is on [-1, 1]."""
    noise = torch.empty_like(like)
    if kind == "gauss":
        return noise.normal_(generator=generator).clamp_(-1, 1)
    return noise.uniform_(-1, 1, generator=generator)


def odin_scores(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    *,
    temperature: float,
    epsilon: float,
    draw: Draw,
    batch_size: int,
    progress: Progress = iter,
) -> Tensor:
    """Max softmax at `temperature` after a step of `epsilon` towards the predicted class: images (N, ...) in [-1, 1].

    draw: (mean, std) -> code, called afresh for the gradient and for the score. Returns scores (N,) in float64: at a
    temperature of 1000 they differ by less than float32 resolves.
    """

    def scaled_logits(image: Tensor) -> Tensor:
        return decoder(draw(*encoder(image))) / temperature

    def loss_of_prediction(image: Tensor) -> Tensor:
        logits = scaled_logits(image)
        return F.cross_entropy(logits, logits.argmax(1), reduction="sum")

    scores = []
    with evaluation_mode(encoder, decoder):
        for start in progress(range(0, len(images), batch_size)):
            image = images[start : start + batch_size]
            gradient = input_gradient(loss_of_prediction, image)
            with torch.no_grad():
                direction = torch.where(gradient >= 0, 1.0, -1.0)  # a zero gradient counts as positive
                logits = scaled_logits((image - epsilon * direction).clamp(-1, 1))
                scores.append(logits.double().softmax(1).amax(1))
    return torch.cat(scores)


class Seen(NamedTuple):
    """What a score may look at, in float64, of N images, and what is known of the training set's mean codes."""

    logits: Tensor  # (N, K)
    code: Tensor  # (N, D), that the logits are of
    mean: Tensor  # (N, D)
    std: Tensor  # (N, D) or ()
    class_means: Tensor  # (K, D)
    precision: Tensor  # (D, D), of the codes around the mean of their class


def distance_to_class_means(seen: Seen) -> Tensor:
    """The squared Mahalanobis distance to the nearest of the class means: (N,)."""
    apart = seen.code[:, None] - seen.class_means  # (N, K, D)
    return ((apart @ seen.precision) * apart).sum(2).amin(1)


SCORES: dict[str, Callable[[Seen], Tensor]] = {  # beside ODIN's; higher means inside
    "max_softmax": lambda seen: seen.logits.softmax(1).amax(1),  # Hendrycks and Gimpel 2017
    "energy": lambda seen: seen.logits.logsumexp(1),  # Liu et al. 2020
    "entropy": lambda seen: -torch.special.entr(seen.logits.softmax(1)).sum(1),
    "kl_to_standard_normal": lambda seen: -kl_of_each(seen.mean, seen.std),  # Alemi et al. 2018
    "class_means": lambda seen: -distance_to_class_means(seen),  # Lee et al. 2018
}


def class_statistics(codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of every class and the precision around them, shared: codes (N, D), labels (N,) -> (K, D), (D, D)."""
    codes = codes.double()
    one_hot = F.one_hot(labels).double()
    means = one_hot.T @ codes / one_hot.sum(0).clamp(min=1)[:, None]
    apart = codes - means[labels]
    return means, torch.linalg.pinv(apart.T @ apart / len(codes), hermitian=True)


@torch.no_grad()
def plain_scores(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    *,
    statistics: tuple[Tensor, Tensor],
    draw: Draw,
    batch_size: int,
) -> tuple[dict[str, Tensor], float]:
    """The SCORES of images (N, ...), (N,) each, and the mean std that the encoder gives to them.

    statistics: `class_statistics` of the training set. A code without noise has no KL, and so not that score.
    """
    mean, std = encode(encoder, images, batch_size=batch_size)
    code = draw(mean, std)
    with evaluation_mode(decoder):
        logits, code, mean, std = (part.double() for part in (decoder(code), code, mean, std))
    seen = Seen(logits, code, mean, std, *statistics)
    names = SCORES if std.all() else SCORES.keys() - {"kl_to_standard_normal"}
    return {name: score(seen) for name, score in SCORES.items() if name in names}, float(std.mean())


def detection_metrics(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """How well scores (N,) and (M,) tell inside from outside, higher meaning inside; fractions of 1.

    In fpr_at_95_tpr and detection_error a score equal to the threshold counts as inside, for both sets: ties are never
    resolved in the detector's favour. auroc counts them half; the areas under precision and recall, for the positives.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve  # half a second, for this alone

    scores = torch.cat((inside, outside)).cpu().numpy()
    is_inside = np.concatenate((np.ones(len(inside)), np.zeros(len(outside))))
    fpr, tpr, _ = roc_curve(is_inside, scores, drop_intermediate=False)
    return {
        "fpr_at_95_tpr": float(fpr[np.argmax(tpr >= 0.95)]),
        "auroc": float(roc_auc_score(is_inside, scores)),
        "aupr_in": float(average_precision_score(is_inside, scores)),
        "aupr_out": float(average_precision_score(1 - is_inside, -scores)),
        "detection_error": float(((1 - tpr + fpr) / 2).min()),
    }


def detection_curves(inside: Tensor, outside: Tensor, *, points: int = 101, bins: int = 50) -> dict[str, list]:
    """The ROC behind `detection_metrics`, thinned, and histograms of both scores, small enough to keep and draw.

    "roc": [[fpr, tpr], ...], `points` at most and its corners among them; "range": the lowest and the highest score;
    "inside", "outside": how many scores lie in each of `bins` equal parts of that range.
    """
    from sklearn.metrics import roc_curve

    scores = torch.cat((inside, outside)).cpu().numpy()
    is_inside = np.concatenate((np.ones(len(inside)), np.zeros(len(outside))))
    fpr, tpr, _ = roc_curve(is_inside, scores, drop_intermediate=False)
    along = np.linspace(0, 2, points)  # equal steps along the curve, so that steep parts keep their shape
    kept = np.unique(np.searchsorted(fpr + tpr, along - 1e-9))
    low, high = float(scores.min()), float(scores.max())
    return {
        "roc": [[round(float(fpr[i]), 6), round(float(tpr[i]), 6)] for i in kept],
        "range": [low, high],
        **{
            name: np.histogram(part.cpu().numpy(), bins=bins, range=(low, high))[0].tolist()
            for name, part in (("inside", inside), ("outside", outside))
        },
    }
