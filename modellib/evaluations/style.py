"""What the style code S says: about the image, I(X;S), and, unwanted, about the label."""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from modellib.evaluations.common import Draw, Encoder, Progress, encode
from modellib.evaluations.mutual_information import mutual_information_xt


def style_information(
    style_encoder: Encoder, images: Tensor, *, draw: Draw, batch_size: int, progress: Progress = iter
) -> dict[str, float]:
    """I(X;S) in nats over images (N, ...), and its standard error over the draws."""
    mean, std = encode(style_encoder, images, batch_size=batch_size)
    measured = mutual_information_xt(mean, std, draw(mean, std), progress=progress)
    return {"mi_xs": measured["mi_xt"], "mi_xs_stderr": measured["mi_xt_stderr"]}


def label_from_style(
    style_encoder: Encoder,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    draw: Draw,
    batch_size: int,
) -> dict[str, float]:
    """How well a logistic regression, fitted on the training set, finds the label of a test image in its style code.

    train, test: images (N, ...), labels (N,). `style_to_label_chance` is the share of the commonest test label.
    """
    codes = [draw(*encode(style_encoder, images, batch_size=batch_size)).cpu().numpy() for images, _ in (train, test)]
    labels = [labels.cpu().numpy() for _, labels in (train, test)]
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(codes[0], labels[0])
    return {
        "style_to_label_accuracy": float(regression.score(codes[1], labels[1])),
        "style_to_label_chance": float(torch.bincount(test[1]).max()) / len(labels[1]),
    }
