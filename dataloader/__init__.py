"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "FACTORED", "N_TRAIN", "SIDES", "DatasetError", "ImageDataset", "Split", "load"]

SIDES = {"mnist": 28, "fashion_mnist": 28, "digits": 8}  # pixels
DATASETS = tuple(SIDES)
FACTORED = ("shapes", "sprites")  # their images are made of known factors; each name is a module with a `load`
N_TRAIN = {"mnist": 60_000, "fashion_mnist": 60_000, "digits": 1347, "shapes": 6144, "sprites": 2336}  # at most


def load(name: str, data_root: Path, *, report: Callable[[str], None] = print, **choices) -> ImageDataset:
    """Load a data set, getting its files first if they are missing or damaged.

    name: one of DATASETS or FACTORED
    data_root: folder of the data sets' files, laid out as torchvision does
    report: called with a line of text for whatever happens on the way
    choices: data_source and holdout, of FACTORED

    Raises DatasetError if the name is unknown, the files cannot be had or `data_root` cannot be used.
    """
    if name not in DATASETS + FACTORED:
        raise DatasetError(f"unknown data set {name!r}; there are {', '.join(DATASETS + FACTORED)}")
    # Imported when asked for: torchvision and scikit-learn each take a second or more.
    module = importlib.import_module(f".{name}", __package__)
    return module.load(Path(os.path.expanduser(data_root)), report, **choices)
