"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
from collections.abc import Callable
from pathlib import Path

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "FACTORED", "DatasetError", "ImageDataset", "Split", "load"]

DATASETS = ("mnist", "fashion_mnist", "digits")
FACTORED = ("shapes", "sprites")  # their images are made of known factors; each name is a module with a `load`


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
    return module.load(Path(data_root), report, **choices)
