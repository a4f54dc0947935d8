"""What the style code S says: about the image, I(X;S), and, unwanted, about the label."""

from torch import Tensor

from modellib.evaluations.code_content import readable
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
    codes = [draw(*encode(style_encoder, images, batch_size=batch_size)) for images, _ in (train, test)]
    return readable("style_to_label", codes[0], train[1], codes[1], test[1])
