"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
from collections.abc import Callable
from pathlib import Path

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "FACTORED", "DatasetError", "ImageDataset", "Split", "load"]

# Name -> its module, which has a `load`.
DATASETS = {name: f"dataloader.{name}" for name in ("mnist", "fashion_mnist", "digits")}
FACTORED = {name: f"dataloader.{name}" for name in ("shapes", "sprites")}  # their images are made of known factors


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
    return importlib.import_module(modules[name]).load(Path(data_root), report, **choices)
