"""From images whose factors are known to a training set and one of styles that training never sees."""

import numpy as np
import torch

from dataloader.factors import Factors
from dataloader.image_dataset import ImageDataset, Split

DATA_SOURCES = ("auto", "files", "rendered")


def split_by_style(
    name: str,
    factors: Factors,
    values: np.ndarray,
    images: np.ndarray,
    *,
    source: str,
    sha256: dict[str, str],
    holdout: float,
    keep: np.ndarray,
) -> ImageDataset:
    """The data set of `images` (N, C, H, W) uint8, whose factor values (N, F) are given class by class.

    Every class comes in the same styles, the values of all factors but the first, in the same order. A share
    `holdout` of the styles makes the test set, in all classes; none where it is 0. keep (K, F - 1): styles that
    always belong to the training set.
    """
    n_classes = factors.sizes[0]
    styles = values[: len(values) // n_classes, 1:]
    held_out = np.tile(held_out_styles(styles, holdout, keep), n_classes)

    def split(chosen: np.ndarray) -> Split:
        pixels = torch.from_numpy(images[chosen]).to(torch.float32).div_(255)
        kept = torch.from_numpy(values[chosen].astype(np.int64))
        return Split(pixels, kept[:, 0].contiguous(), kept)

    return ImageDataset(name, n_classes, split(~held_out), split(held_out), source, sha256, factors)


def held_out_styles(styles: np.ndarray, share: float, keep: np.ndarray) -> np.ndarray:
    """Which of the styles (S, F) training never sees: (S,) bool, `share` of them, rounded; none of keep (K, F).

    The choice is the same for every run, as a test set is.
    """
    may_go = np.flatnonzero(~(styles[:, None] == keep[None]).all(2).any(1))
    held_out = np.zeros(len(styles), dtype=bool)
    held_out[np.random.RandomState(0).permutation(may_go)[: round(share * len(styles))]] = True
    return held_out
