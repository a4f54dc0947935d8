"""dSprites (Matthey et al. 2017): a white square, ellipse or heart on black, of which training uses 6,144 images.

The label is the shape. Scale and orientation are those of the published DisenIB runs: the largest, and two of 40.
"""

import hashlib
import math
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from custom_pkg.files import replace_file
from dataloader.factored import DATA_SOURCES, split_by_style
from dataloader.factors import Factors
from dataloader.image_dataset import DatasetError, ImageDataset
from dataloader.raw_files import UNFINISHED, locked, remove_unfinished, sha256_of
from dataloader.shapes_rendered import SIDE, render
from dataloader.ways import download

FACTORS = Factors(("shape", "scale", "orientation", "x", "y"), (3, 6, 40, 32, 32), ordered=("x", "y"))
SCALE, ORIENTATIONS = 5, (3, 36)
PICTURED = tuple(  # the published fixed pictures, as factor values
    (shape, SCALE, orientation, position, position)
    for shape, orientation, position in (
        *((0, 3, 8), (0, 3, 24), (0, 36, 8), (0, 36, 24)),
        *((1, 3, 8), (1, 3, 24), (1, 36, 8), (1, 36, 24)),
        *((2, 3, 8), (2, 36, 24)),
    )
)
ARCHIVE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{ARCHIVE}"


class _Unavailable(DatasetError):
    """The archive is not there and cannot be downloaded."""


def load(
    data_root: Path,
    report: Callable[[str], None] = print,
    *,
    data_source: str = "auto",
    holdout: float = 0.1,
) -> ImageDataset:
    """The training images, a share `holdout` of their styles set aside for the test set, but none of PICTURED.

    data_source: "files" is the published archive in `data_root`/dsprites, downloaded if need be; "rendered" is this
        project's own drawing of the same images; "auto" is files if they can be had, else rendered

    sha256 is that of all images as bytes 0 and 1, before the split, and of the archive. Raises DatasetError if the
    archive is damaged, or wanted and not to be had.
    """
    if data_source not in DATA_SOURCES:
        raise DatasetError(f"shapes: unknown data source {data_source!r}; there are {', '.join(DATA_SOURCES)}")
    values = training_values()
    images, source, sha256 = None, "rendered by this project", {}
    if data_source != "rendered":
        try:
            places = [Path(data_root, name) for name in ("dsprites", "dsprites-dataset", ".")]
            folder = next((place for place in places if (place / ARCHIVE).exists()), places[0])
            images, source, sha256 = _from_archive(folder, values, report)
        except _Unavailable as error:
            if data_source == "files":
                raise
            report(str(error))
            report("shapes: going on with images rendered by this project in place of the published files")
    if images is None:
        images = render(values)
    return split_by_style(
        "shapes",
        FACTORS,
        values,
        images[:, None] * np.uint8(255),
        source=source,
        sha256={"images": hashlib.sha256(images.tobytes()).hexdigest(), **sha256},
        holdout=holdout,
        keep=np.array(PICTURED)[:, 1:],
    )


def training_values() -> np.ndarray:
    """Factor values (6144, 5) of the images that training uses, in the order of the data set."""
    values = FACTORS.values(np.arange(math.prod(FACTORS.sizes)))
    return values[(values[:, 1] == SCALE) & np.isin(values[:, 2], ORIENTATIONS)]


def read_archive(path: Path, factors: Factors, values: np.ndarray) -> np.ndarray:
    """The images (N, 64, 64) uint8, 0 or 1, of factor values (N, F) out of the .npz archive of all images.

    The values must be given in order and take whole runs of the last two factors. Its `metadata`, a pickled object,
    is left alone. Raises ValueError with what is wrong if the archive is damaged, OSError if it cannot be read.
    """
    total = math.prod(factors.sizes)
    numbers = factors.index(values)
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("latents_classes.npy") as member:
                # The first column is the colour, always white.
                classes = _read_array(member, (total, 1 + len(factors.sizes)))
            if not np.array_equal(classes[numbers, 1:], values):
                raise ValueError("latents_classes does not number the images in the documented order")
            run = math.prod(factors.sizes[-2:])
            with archive.open("imgs.npy") as member:
                images = _read_runs(member, total, run, wanted=set((numbers // run).tolist()))
    except OSError:
        raise
    except KeyError as error:
        raise ValueError(error.args[0]) from error  # str() would put the sentence in quotes
    except Exception as error:  # whatever a broken or hostile archive provokes
        raise ValueError(str(error) or type(error).__name__) from error
    if images.max() > 1:
        raise ValueError("imgs has values other than 0 and 1")
    return images


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether column by column, type) of the array that follows. Raises ValueError."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array has the unknown format {version}")
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)


def _read_array(member: IO[bytes], wanted: tuple[int, ...]) -> np.ndarray:
    """A whole array of integers, if it has the shape wanted: a header may claim any. Raises ValueError."""
    shape, column_major, dtype = _read_header(member)
    if shape != wanted or dtype.kind not in "iu":
        raise ValueError(f"latents_classes is {shape} of {dtype}, not {wanted} of integers")
    data = member.read(math.prod(shape) * dtype.itemsize + 1)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError("latents_classes is not as long as it says")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if column_major else "C")


def _read_runs(member: IO[bytes], total: int, run: int, wanted: set[int]) -> np.ndarray:
    """The wanted ones of the runs of `run` images, one after the other: unpacked, all images would take 3 GB."""
    shape, column_major, dtype = _read_header(member)
    if shape != (total, SIDE, SIDE) or column_major or dtype != np.uint8:
        order = " column by column" if column_major else ""
        raise ValueError(f"imgs is {shape} of {dtype}{order}, not {(total, SIDE, SIDE)} of uint8")
    kept = []
    for number in range(total // run):
        data = member.read(run * SIDE * SIDE)
        if len(data) < run * SIDE * SIDE:
            raise ValueError("imgs ends too early")
        if number in wanted:
            kept.append(np.frombuffer(data, np.uint8).reshape(run, SIDE, SIDE))
    if member.read(1):  # having come to the end, zipfile has also compared the checksum
        raise ValueError("imgs is too long")
    return np.concatenate(kept)


def _from_archive(
    folder: Path, values: np.ndarray, report: Callable[[str], None]
) -> tuple[np.ndarray, str, dict[str, str]]:
    """(images, where they came from, SHA-256 of the archive). Raises DatasetError."""
    path = folder / ARCHIVE
    source = _fetch(path, values, report)
    try:
        return read_archive(path, FACTORS, values), source, {ARCHIVE: sha256_of(path)}
    except (ValueError, OSError) as error:
        raise DatasetError(
            f"shapes: {path} is damaged or cannot be read: {error}\n"
            "To mend it, put an intact copy in its place, or remove it, and it will be downloaded if that is possible."
        ) from error


def _fetch(path: Path, values: np.ndarray, report: Callable[[str], None]) -> str:
    """Make sure that the archive is at `path`; returns where it came from. Raises _Unavailable."""
    folder = path.parent
    try:
        # An archive that is there needs no lock, and so may lie in a folder that cannot be written.
        if path.exists():
            return f"files in {folder}"
        with locked(folder, lambda: report(f"shapes: waiting for another process to fill {folder}")):
            if path.exists():
                return f"files in {folder}"
            remove_unfinished(folder)
            report(f"shapes: trying {URL}")
            with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as scratch:
                downloaded = Path(scratch) / ARCHIVE
                download(URL, downloaded)
                read_archive(downloaded, FACTORS, values)  # a web page in its place must not stay in the folder
                replace_file(path, downloaded.read_bytes())
    except (DatasetError, OSError, ValueError) as error:
        raise _Unavailable(
            f"shapes: {path} is not there and could not be downloaded.\n"
            f"  tried {URL}: {error}\n"
            f"To mend it by hand, put {ARCHIVE} into {folder}, or choose the data source 'rendered'."
        ) from error
    report(f"shapes: {folder} is complete")
    return f"downloaded from {URL}"
