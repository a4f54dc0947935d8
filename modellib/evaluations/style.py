"""What the style code S says: about the image, I(X;S), and, unwanted, about the label."""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from modellib.evaluations.common import Draw, Encoder, Progress, encode
from modellib.evaluations.mutual_information import mutual_information_xt


def style_information(
    style_encoder: Encoder,
    sets: dict[str, tuple[Tensor, Tensor]],
    *,
    draw: Draw,
    batch_size: int,
    progress: Progress = iter,
) -> dict[str, dict[str, float]]:
    """I(X;S) in nats of each set, and how well a logistic regression finds the label in S.

    sets: "train" and "test" -> images (N, ...), labels (N,). The regression is fitted on the training set's draws;
    `style_to_label_accuracy` is its accuracy on the test set's, `style_to_label_chance` that of the commonest label.
    """
    results: dict[str, dict[str, float]] = {}
    codes: dict[str, Tensor] = {}
    for name, (images, _) in sets.items():
        mean, std = encode(style_encoder, images, batch_size=batch_size)
        codes[name] = draw(mean, std)
        measured = mutual_information_xt(mean, std, codes[name], progress=progress)
        results[name] = {"mi_xs": measured["mi_xt"], "mi_xs_stderr": measured["mi_xt_stderr"]}
    if {"train", "test"} <= set(sets):
        labels = {name: sets[name][1].cpu().numpy() for name in sets}
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
        regression.fit(codes["train"].cpu().numpy(), labels["train"])
        results["test"] |= {
            "style_to_label_accuracy": float(regression.score(codes["test"].cpu().numpy(), labels["test"])),
            "style_to_label_chance": float(torch.bincount(sets["test"][1]).max()) / len(labels["test"]),
        }
    return results
