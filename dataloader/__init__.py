"""Image data sets as tensors: getting the files, checking them, reading them."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dataloader.image_dataset import DatasetError, ImageDataset, Split

__all__ = ["DATASETS", "FACTORED", "DatasetError", "ImageDataset", "Known", "Split", "load"]


class Known(NamedTuple):
    """What is known of a data set before anything is fetched."""

    module: str  # which has a `load`
    side: int  # pixels
    n_train: int  # images, at most


DATASETS = {
    "mnist": Known("dataloader.mnist", 28, 60_000),
    "fashion_mnist": Known("dataloader.fashion_mnist", 28, 60_000),
    "digits": Known("dataloader.digits", 8, 1347),
}
FACTORED = {  # their images are made of known factors
    "shapes": Known("dataloader.shapes", 64, 6144),
    "sprites": Known("dataloader.sprites", 60, 2336),
}


def load(name: str, data_root: Path, *, report: Callable[[str], None] = print, **choices) -> ImageDataset:
    """Load a data set, getting its files first if they are missing or damaged.

    name: one of DATASETS or FACTORED
    data_root: folder of the data sets' files, laid out as torchvision does
    report: called with a line of text for whatever happens on the way
    choices: data_source and holdout, of FACTORED

    Raises DatasetError if the name is unknown, the files cannot be had or `data_root` cannot be used.
    """
    known = DATASETS | FACTORED
    if name not in known:
        raise DatasetError(f"unknown data set {name!r}; there are {', '.join(known)}")
    # Imported when asked for: torchvision and scikit-learn each take a second or more.
    module = importlib.import_module(known[name].module)
    return module.load(Path(os.path.expanduser(data_root)), report, **choices)
