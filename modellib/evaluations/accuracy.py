"""Generalisation: the share of images whose label the decoder finds."""

import torch
from torch import Tensor

from modellib.evaluations.common import Decoder, Encoder, Progress, evaluation_mode
from modellib.gaussians import sample


@torch.no_grad()
def accuracy(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    batch_size: int,
    progress: Progress = iter,
) -> dict[str, float]:
    """Accuracy of one sampled code per image (as published), and of the mean code.

    images (N, ...), labels (N,). Returns fractions `accuracy` and `accuracy_mean_code`.
    """
    correct_sample = correct_mean = 0
    with evaluation_mode(encoder, decoder):
        for start in progress(range(0, len(images), batch_size)):
            label = labels[start : start + batch_size]
            mean, std = encoder(images[start : start + batch_size])
            correct_sample += (decoder(sample(mean, std, generator)).argmax(1) == label).sum()
            correct_mean += (decoder(mean).argmax(1) == label).sum()
    return {
        "accuracy": float(correct_sample) / len(images),
        "accuracy_mean_code": float(correct_mean) / len(images),
    }
