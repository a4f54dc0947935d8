"""Calibration: whether a model that is 90 % sure is right nine times out of ten (Guo et al. 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, encode, evaluation_mode

BINS = 15


@torch.no_grad()
def calibration(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    labels: Tensor,
    *,
    draw: Draw,
    batch_size: int,
    progress: Progress = iter,
) -> tuple[float, dict[str, dict[str, float]]]:
    """The `expected_calibration_error` with one code an image: images (N, ...), labels (N,).

    draw: (mean, std) -> code.
    """
    code = draw(*encode(encoder, images, batch_size=batch_size, progress=progress))
    with evaluation_mode(decoder):
        return expected_calibration_error(decoder(code).double().softmax(1), labels)


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> tuple[float, dict[str, dict[str, float]]]:
    """The mean over images of |accuracy − confidence| of their bin, of BINS equally wide ones of the confidence.

    probabilities (N, K), labels (N,). Beside it stand the bins that are not empty, by their upper edge: how many
    "images" each has, their mean "confidence" and their "accuracy". Fractions of 1.
    """
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).to(confidence.dtype)
    bins = (confidence * BINS).ceil().clamp(1, BINS).long() - 1  # ((b - 1) / BINS, b / BINS]
    # As a product, whose sums a GPU makes in the same order every time; index_add_ does not.
    members = F.one_hot(bins, BINS).to(confidence.dtype)
    count, confidences, rights = torch.stack((torch.ones_like(confidence), confidence, right)) @ members
    error = float((rights - confidences).abs().sum() / len(labels))
    reliability = {
        f"{(b + 1) / BINS:.3f}": {
            "images": float(count[b]), "confidence": float(confidences[b] / count[b]),
            "accuracy": float(rights[b] / count[b]),
        }
        for b in count.nonzero().flatten().tolist()
    }
    return error, reliability
