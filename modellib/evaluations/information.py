"""Information compression, the two coordinates of the information plane: I(X;T) and I(Y;T), in nats."""

import torch
import torch.nn.functional as F
from torch import Tensor

from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, encode, evaluation_mode
from modellib.evaluations.mutual_information import mutual_information_xt


@torch.no_grad()
def information(
    encoder: Encoder,
    decoder: Decoder,
    images: Tensor,
    labels: Tensor,
    *,
    draw: Draw,
    batch_size: int,
    progress: Progress = iter,
) -> dict[str, float]:
    """I(X;T) and I(Y;T) of one code per image, over all images (N, ...) with labels (N,).

    draw: (mean, std) -> code. Keys: those of `mutual_information_xt` and of `mutual_information_yt`.
    """
    mean, std = encode(encoder, images, batch_size=batch_size)
    code = draw(mean, std)
    with evaluation_mode(decoder):
        logits = decoder(code)
    return {**mutual_information_xt(mean, std, code, progress=progress), **mutual_information_yt(logits, labels)}


def mutual_information_yt(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """What the predictions of one code per image, logits (N, K), say about the labels (N,).

    mi_yt: H(Y) − mean entropy of the prediction, as published; it rises when a model is confidently wrong.
    mi_yt_lower_bound: H(Y) − cross entropy, the variational lower bound of Barber and Agakov 2003; it falls then.
    mi_yt_ceiling: H(Y), the entropy of the label counts.
    """
    logits = logits.double()
    frequencies = labels.bincount(minlength=logits.shape[1]).double() / len(labels)
    label_entropy = torch.special.entr(frequencies).sum()
    prediction_entropy = torch.special.entr(logits.softmax(1)).sum(1).mean()
    return {
        "mi_yt": float(label_entropy - prediction_entropy),
        "mi_yt_lower_bound": float(label_entropy - F.cross_entropy(logits, labels)),
        "mi_yt_ceiling": float(label_entropy),
    }
