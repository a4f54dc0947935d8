"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "FACTORED", "N_TRAIN", "SIDES", "DatasetError", "ImageDataset", "Split", "load"]

# Name -> its module, which has a `load`.
DATASETS = {name: f"dataloader.{name}" for name in ("mnist", "fashion_mnist", "digits")}
FACTORED = {name: f"dataloader.{name}" for name in ("shapes", "sprites")}  # their images are made of known factors
# What is known before anything is fetched, so that wrong use is refused at once: pixels, training images at most.
SIDES = {"mnist": 28, "fashion_mnist": 28, "digits": 8}
N_TRAIN = {"mnist": 60_000, "fashion_mnist": 60_000, "digits": 1347, "shapes": 6144, "sprites": 2336}


def load(name: str, data_root: Path, *, report: Callable[[str], None] = print, **choices) -> ImageDataset:
    """Load a data set, getting its files first if they are missing or damaged.

    name: one of DATASETS or FACTORED
    data_root: folder of the data sets' files, laid out as torchvision does
    report: called with a line of text for whatever happens on the way
    choices: data_source and holdout, of FACTORED

    Raises DatasetError if the name is unknown, the files cannot be had or `data_root` cannot be used.
    """
    modules = DATASETS | FACTORED
    if name not in modules:
        raise DatasetError(f"unknown data set {name!r}; there are {', '.join(modules)}")
    # Imported when asked for: torchvision and scikit-learn each take a second or more.
    return importlib.import_module(modules[name]).load(Path(os.path.expanduser(data_root)), report, **choices)
