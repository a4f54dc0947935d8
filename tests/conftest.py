"""Running the scripts on tiny data, and reading what a run has left on disk."""

import contextlib
import http.server
import io
import json
import os
import runpy
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
import torch

# What a test expects to the bit holds on the CPU. test_gpu.py gives its processes the GPU back.
VISIBLE_GPUS = os.environ.setdefault("VISIBLE_TO_GPU_TESTS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
torch.set_num_threads(1)  # on tensors as small as here, a second thread costs more than it gives
REPOSITORY = Path(__file__).parent.parent
SMALL_RUN = (  # a second on scikit-learn's digits; its test accuracy improves in each of the three epochs
    "--model=vib --lambda_kl=0.01 --dataset=digits --desc=a/b --enc_hidden_dims=[16] --learning_rate=0.01 --epochs=3"
).split()


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
