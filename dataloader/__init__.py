"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
from collections.abc import Callable
from pathlib import Path

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "DatasetError", "ImageDataset", "Split", "load"]

DATASETS = ("mnist", "fashion_mnist", "digits")  # each is a module of this package with a function `load`


def load(name: str, data_root: Path, *, report: Callable[[str], None] = print) -> ImageDataset:
    """Load a data set, getting its files first if they are missing or damaged.

    name: one of DATASETS
    data_root: folder of the data sets' files, laid out as torchvision does
    report: called with a line of text for whatever happens on the way

    Raises DatasetError if the name is unknown, the files cannot be had or `data_root` cannot be used.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")
    # Imported when asked for: torchvision and scikit-learn each take a second or more.
    module = importlib.import_module(f".{name}", __package__)
    return module.load(Path(data_root), report)
