"""No POSIX, as on Windows: its modules and calls are hidden, and a run does all it does here."""

import subprocess
import sys

from conftest import REPOSITORY, SMALL_RUN, run_of, subprocess_environment

HIDDEN = """
import os, runpy, signal, sys, types
import torch, tensorboardX, sklearn.datasets, sklearn.model_selection, tqdm, tempfile  # what may need them itself

opened, locked = os.open, []

def open_no_folder(path, *arguments, **keywords):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, *arguments, **keywords)

def locking(number, mode, n):
    if {busy}:
        raise PermissionError(13, "Permission denied")
    locked.append(os.lseek(number, 0, os.SEEK_CUR))

sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
del signal.SIGHUP, os.fchmod, os.setpgid
os.open = open_no_folder
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert locked or {busy}
"""


def without_posix(cwd, *words, busy=False):
    command = [sys.executable, "-c", HIDDEN.format(busy=busy), *words]
    return subprocess.run(command, cwd=cwd, env=subprocess_environment(), capture_output=True, encoding="utf-8")


def test_a_run_trains_and_is_evaluated(tmp_path, finished):
    done = without_posix(tmp_path, str(REPOSITORY / "train_lagrangian.py"), *SMALL_RUN)
    assert done.returncode == 0, done.stderr
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (run_of(tmp_path).path / name).read_bytes() == (run_of(finished).path / name).read_bytes()


def test_two_processes_do_not_share_a_run(tmp_path):
    refused = without_posix(tmp_path, str(REPOSITORY / "train_lagrangian.py"), *SMALL_RUN, busy=True)
    assert refused.returncode == 2 and "is running in" in refused.stderr
