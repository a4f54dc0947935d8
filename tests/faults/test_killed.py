"""SIGKILL, SIGTERM, SIGINT and SIGHUP at moments drawn with a fixed seed: training, evaluation and data preparation."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import killing
import pytest
from conftest import assert_intact, contents, points, run_of, state_of, subprocess_environment

PLANNED = Counter({name: kind.at_calls + kind.at_times for name, kind in killing.KINDS.items()})
STOPPED = ("train_lagrangian", "train_disenib")


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, killing.__file__, str(folder)]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_survived(case: dict) -> None:
    """What the work left is what it leaves when nothing disturbs it."""
    status, _, err = case["outcome"]
    assert status == 0 and "Traceback" not in err, (case["case"], err)
    cwd = Path(case["cwd"])
    unbroken = cwd.parent / "unbroken"
    if case["kind"] == "data":
        assert_intact(cwd / "Tiny" / "raw")
        return
    desc = "d" if case["kind"] == "train_disenib" else "a/b"
    run, wanted = run_of(cwd, desc), run_of(unbroken, desc)
    left, expected = ({name for name in contents(one.path) if not name.endswith(".tmp")} for one in (run, wanted))
    assert left == expected, case["case"]
    for name in expected:
        if name.endswith(".pt") and "damaged" not in name and "previous" not in name:
            assert state_of(run.path / name) == state_of(wanted.path / name), (case["case"], name)
        elif name.startswith("evaluation") or name == "metrics.jsonl":
            assert (run.path / name).read_bytes() == (wanted.path / name).read_bytes(), (case["case"], name)
    assert points(run.tensorboard) == points(wanted.tensorboard), case["case"]


@pytest.mark.parametrize("kind, number", [(kind, number) for kind in PLANNED for number in range(PLANNED[kind])])
def test_what_is_killed_goes_on_to_the_same_bits_logs_and_points(cases, kind, number):
    case = [case for case in cases if case["kind"] == kind and "SIGKILL" in case["case"]][number]
    if "after" in case["case"]:  # a time at which it may have been ready
        assert case["killed_by"] in (0, signal.SIGKILL)
    else:
        assert case["killed_by"] == signal.SIGKILL, case
    assert_survived(case)


@pytest.mark.parametrize("kind", STOPPED)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_any_moment_ends_cleanly_and_the_run_goes_on_to_the_same_bits(cases, kind, signum):
    [case] = [case for case in cases if case["kind"] == kind and case["case"].startswith(signum.name)]
    assert case["killed_by"] == 0, case  # it ended by itself
    status, _, err = case["struck"]
    assert status == 128 + signum and "--resume" in err or status == 0, case  # too late to stop anything
    assert_survived(case)
