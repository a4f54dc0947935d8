"""The 1,797 real handwritten digits, 8x8, ten classes, that come with scikit-learn: no download."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dataloader.image_dataset import ImageDataset, Split

N_TEST = 450  # a quarter; every run uses the same 1,347 + 450


def load(data_root: Path, report: Callable[[str], None] = print) -> ImageDataset:
    """The digits in a fixed split, stratified by class. `data_root` and `report` are not needed.

    sha256 is that of the arrays as bytes (uint8), before the split.
    """
    flat, classes = map(np.asarray, load_digits(return_X_y=True))
    pixels = flat.reshape(-1, 8, 8).astype(np.uint8)  # whole numbers 0 to 16
    labels = classes.astype(np.uint8)
    split_rows = train_test_split(np.arange(len(labels)), test_size=N_TEST, stratify=labels, random_state=0)
    train, test = map(np.asarray, split_rows)

    def split(indices: np.ndarray) -> Split:
        images = torch.from_numpy(pixels[indices]).unsqueeze(1)  # (N, 8, 8) -> (N, 1, 8, 8)
        return Split(images.to(torch.float32) / 16, torch.from_numpy(labels[indices]).to(torch.int64))

    return ImageDataset(
        name="digits",
        n_classes=10,
        train=split(train),
        test=split(test),
        source="scikit-learn's load_digits",
        sha256={
            "images": hashlib.sha256(pixels.tobytes()).hexdigest(),
            "labels": hashlib.sha256(labels.tobytes()).hexdigest(),
        },
    )
