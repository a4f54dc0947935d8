"""Adversarial robustness: accuracy under the fast gradient sign method (Goodfellow et al. 2015), for images in [-1, 1].

The published attack ascends −logit_y, a negative log likelihood applied to raw logits; cross entropy is the usual one.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, evaluation_mode, input_gradient

ATTACKS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "negative_logit": lambda logits, labels: F.nll_loss(logits, labels, reduction="sum"),
    "cross_entropy": lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
}


def fgsm(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    labels: Tensor,
    *,
    attack: str,
    epsilons: Sequence[float],
    draw: Draw,
    batch_size: int,
    progress: Progress = iter,
) -> tuple[dict[str, float], dict[str, float]]:
    """Attack every image that is classified correctly at first, with one gradient for all epsilons.

    images (N, ...) in [-1, 1], labels (N,); attack: a key of ATTACKS; draw: (mean, std) -> code, called afresh for the
    first look, the gradient and each epsilon. Returns two dicts, epsilon as text -> fraction: the share of the
    initially correct images that stay correct (the published figure), and their share of all images (robust accuracy).
    """
    initially_correct = 0
    still_correct = dict.fromkeys(map(str, epsilons), 0)
    loss = ATTACKS[attack]

    def logits(image: Tensor) -> Tensor:
        return decoder(draw(*encoder(image)))

    with evaluation_mode(encoder, decoder):
        for start in progress(range(0, len(images), batch_size)):
            image, label = images[start : start + batch_size], labels[start : start + batch_size]
            with torch.no_grad():
                correct = logits(image).argmax(1) == label
            image, label = image[correct], label[correct]
            initially_correct += len(image)

            direction = input_gradient(lambda image, label=label: loss(logits(image), label), image).sign()
            for epsilon in dict.fromkeys(epsilons):
                with torch.no_grad():
                    attacked = (image + epsilon * direction).clamp(-1, 1)
                    still_correct[str(epsilon)] += int((logits(attacked).argmax(1) == label).sum())
    stayed = {epsilon: count / max(initially_correct, 1) for epsilon, count in still_correct.items()}
    robust = {epsilon: count / len(images) for epsilon, count in still_correct.items()}
    return stayed, robust
