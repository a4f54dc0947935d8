"""What the style code S says: about the image, I(X;S), and, unwanted, about the label."""

from collections.abc import Collection

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


def label_from_code(
    name: str,
    encoder: Encoder,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    draw: Draw,
    batch_size: int,
    probes: Collection[str] = ("accuracy",),
) -> dict[str, float]:
    """How well the probes of `readable`, fitted on the training set, find the label of a test image in its code.

    train, test: images (N, ...), labels (N,). name: what the keys begin with, as those of `readable`.
    """
    codes = [draw(*encode(encoder, images, batch_size=batch_size)) for images, _ in (train, test)]
    return readable(name, codes[0], train[1], codes[1], test[1], probes=probes)
