"""Information compression, the two coordinates of the information plane: I(X;T) and I(Y;T), in nats."""

import math

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

    draw: (mean, std) -> code. Keys: those of `mutual_information_xt` (of codes without noise, std 0 everywhere, those
    of `entropy_of_codes`: there is no density then) and of `mutual_information_yt`.
    """
    mean, std = encode(encoder, images, batch_size=batch_size)
    code = draw(mean, std)
    with evaluation_mode(decoder):
        logits = decoder(code)
    of_images = mutual_information_xt(mean, std, code, progress=progress) if std.any() else entropy_of_codes(code)
    return {**of_images, **mutual_information_yt(logits, labels)}


def entropy_of_codes(code: Tensor) -> dict[str, float]:
    """H(T) of codes (N, D) that the images determine, which is their I(X;T): log N when all codes differ.

    It counts codes that coincide to the last bit and says nothing of how near to each other they are.
    """
    shares = code.unique(dim=0, return_counts=True)[1].double() / len(code)
    return {"mi_xt_deterministic": float(torch.special.entr(shares).sum()), "mi_xt_ceiling": math.log(len(code))}


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
