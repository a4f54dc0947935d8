"""Data sets of four IDX files (the format of MNIST) with known SHA-256s and several ways to get them.

The files lie where torchvision expects them. Whatever way a file came, it is used only if its hash is right.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import MNIST

from dataloader.image_dataset import DatasetError, ImageDataset, Split
from dataloader.known_files import KnownFiles, Way
from dataloader.raw_files import content_of
from dataloader.ways import MAX_RAW_BYTES, gz_files_from

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class IdxDataset:
    """An IDX data set: `folder` is relative to the data root, `sha256` maps the four file names to hashes."""

    name: str
    folder: str
    n_classes: int
    sha256: dict[str, str]
    ways: tuple[Way, ...]

    def load(self, data_root: Path, report: Callable[[str], None] = print) -> ImageDataset:
        """Get the files if need be, then read them. Raises DatasetError."""
        folder = Path(data_root) / self.folder
        files, source = KnownFiles(self.name, self.sha256, self.ways, Path(data_root)).find(folder, report)

        def split(images: str, labels: str) -> Split:
            pixels = torch.from_numpy(read_idx(files[images], 3)).unsqueeze(1)  # (N, H, W) -> (N, 1, H, W) uint8
            return Split(pixels.to(torch.float32).div_(255), torch.from_numpy(read_idx(files[labels], 1)).long())

        return ImageDataset(
            name=self.name,
            n_classes=self.n_classes,
            train=split(TRAIN_IMAGES, TRAIN_LABELS),
            test=split(TEST_IMAGES, TEST_LABELS),
            source=source,
            sha256=dict(self.sha256),
        )


def mirrors_of(torchvision_class: type[MNIST]) -> list[Way]:
    """The web servers torchvision downloads a data set from, one way each."""
    mirrors = torchvision_class.mirrors
    return [Way(f"torchvision's mirror {url}", partial(gz_files_from, url)) for url in mirrors]


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The bytes of an IDX file with `ndim` dimensions, shaped as its header says. Raises DatasetError."""
    try:
        data = bytearray(content_of(path, MAX_RAW_BYTES))  # an array of its own, to be written to
    except ValueError:
        data = b""
    start = 4 + 4 * ndim
    shape = struct.unpack(f">{ndim}I", data[4:start]) if len(data) >= start else ()
    if data[:4] != bytes((0, 0, 0x08, ndim)) or math.prod(shape) != len(data) - start:
        raise DatasetError(f"{path} is no IDX file of {ndim} dimensions, or not as long as it says: remove it")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def to_idx(array: np.ndarray) -> bytes:
    """The IDX file of an array of bytes: magic number, big-endian shape, then the values."""
    if array.dtype != np.uint8:
        raise TypeError(f"an IDX file of bytes needs uint8, not {array.dtype}")
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()
