"""Data sets whose images are made of known factors: one of them is the label, the others are the style."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Factors:
    """The factors of all images that there could be, numbered with the last factor running fastest.

    names: of the factors, the label's first. sizes: how many values each has. ordered: the names of those whose
    neighbouring values make neighbouring images.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    ordered: tuple[str, ...] = ()

    def index(self, values: np.ndarray | Sequence[int]) -> np.ndarray:
        """Factor values (..., F) -> numbers of the images (...). Raises ValueError for values out of range."""
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(np.asarray(values), -1, 0)), self.sizes))

    def values(self, index: np.ndarray | int) -> np.ndarray:
        """Numbers of images (...) -> their factor values (..., F). Raises ValueError for numbers out of range."""
        return np.stack(np.unravel_index(index, self.sizes), axis=-1)
