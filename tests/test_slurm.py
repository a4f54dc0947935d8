"""reproduce.py --cluster=slurm on a real Slurm of one node, where Debian's packages of it are installed."""

import json
import os
import random
import shlex
import signal
import subprocess
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import assert_refused, execute, run_of, state_of
from one_node_slurm import missing, one_node_slurm

from custom_pkg.errors import Interrupted, StopRequest
from experiments.catalogue import METHODS
from reporting import grid, slurm

needs_slurm = pytest.mark.skipif(bool(missing()), reason=str(missing()))
PARAMETERS = {"time": 5, "cpus_per_task": 1, "mem": "1GB", "additional_parameters": {"requeue": True}}
STUB = """
    import sys, time
    from pathlib import Path

    flags = dict(word.removeprefix("--").split("=") for word in sys.argv[1:] if "=" in word)
    folder = Path("STORAGE/experiments", flags["desc"], "seed" + flags.get("rand_seed", "0"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"options": {"epochs": 3}}')
    with open("starts", "a") as starts:
        print(flags["desc"], file=starts)
    if "fails" in flags["desc"] and not Path("mended").exists():
        sys.exit("this is why")
    while "waits" in flags["desc"] and not Path("released").exists():
        time.sleep(0.05)
    (folder / "evaluation.json").write_text("{}")
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch, one_node_slurm(folder, cpus=4) as environment:
        for name, value in {**environment, "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        patch.setattr(slurm, "POLL", 0.2)
        patch.setattr(slurm, "SETTLING", 2.0)
        yield


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Makes runs of a script that only notes that it was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid.Run, "options", lambda run: {"epochs": 3})
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(STUB))
    return lambda *names: [grid.Run(str(script), (), f"q/{name}") for name in names]


def run_all(runs):
    with StopRequest() as stop:
        return slurm.run_all(runs, parameters=PARAMETERS, stop=stop)


def wait_until(true) -> None:
    deadline = time.monotonic() + 300  # on a machine as busy as can be
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def starts() -> list[str]:
    return sorted(Path("starts").read_text().split())


def stop_in_the_middle(desc: str, signum: str) -> None:
    """Signal the task of a run when it has logged its third epoch, and see that it is queued again."""
    metrics, name = Path("STORAGE/experiments", desc, "seed0/metrics.jsonl"), f"{desc}, seed 0"
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") > 2)
    job = slurm.queue()[name][0]
    ask("scancel", f"--signal={signum}", job)
    wait_until(lambda: slurm.queue().get(name, ("", ""))[1] == "PENDING")
    time.sleep(2)  # its credential of this second is no longer good
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # or Slurm waits two minutes


@needs_slurm
def test_the_quick_version_through_slurm_with_tasks_stopped_in_the_middle_ends_with_the_bytes_of_the_local_one(
    cluster, tmp_path, monkeypatch
):
    small = "--epochs=30 --early_stop_trials=0 --enc_hidden_dims=[16]"
    for name in ("vib", "nib"):
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], quick=small))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(there)
    stops = ("quick/quant/digits/vib", "USR1"), ("quick/quant/digits/nib", "TERM")
    threads = [threading.Thread(target=stop_in_the_middle, args=stop) for stop in stops]
    for thread in threads:
        thread.start()
    asked = "--quick --only=vib,nib --cluster=slurm --slurm_partition=all --slurm_cpus=1 --slurm_mem=1"
    outcome = execute(there, "reproduce.py", *asked.split(), "--slurm_options=comment=test")
    for thread in threads:
        thread.join()
    assert outcome.status == 0 and "2 runs" in outcome.out, outcome
    for run in map(grid.quick, grid.published_grid(("vib", "nib"), (0,), "mnist")):
        assert execute(here, *run.command()[1:]).status == 0
        wanted, found = (run_of(cwd, run.desc) for cwd in (here, there))
        for file in ("metrics.jsonl", "evaluation.json"):
            assert (found.path / file).read_bytes() == (wanted.path / file).read_bytes()
        assert state_of(found.last) == state_of(wanted.last)
        sessions = json.loads((found.path / "config.json").read_text())["sessions"]
        assert len(sessions) == 1 and 0 < sessions[0]["from"]["epoch"] < 30
        log = Path("STORAGE/reproduce", run.desc, "seed0.log").read_text()
        assert "all saved; go on with" in log and " --resume\n" in log


@needs_slurm
def test_a_failed_run_holds_up_none_and_the_same_command_submits_only_what_is_missing(cluster, stub, capsys):
    runs = stub("first", "fails", "third")
    ends = run_all(runs)
    assert set(ends.finished) == {runs[0], runs[2]} and ends.failed == [(runs[1], None, "this is why")]
    Path("mended").touch()
    capsys.readouterr()
    again = run_all(runs)
    said = capsys.readouterr().out
    assert set(again.finished) == set(runs) and not again.failed
    assert said.count("finished before") == 2 and said.count("failed or cancelled before") == 1
    assert starts() == ["q/fails", "q/fails", "q/first", "q/third"]


@needs_slurm
def test_ctrl_c_leaves_the_jobs_and_the_same_command_follows_them(cluster, stub, capsys):
    runs = stub("waits0", "waits1", "waits2", "waits3", "waits4")  # there are four processors

    def interrupt() -> None:
        wait_until(lambda: Path("starts").exists() and len(starts()) == 4)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted, match="4 runs are running and 1 queued, and stay so") as left:
        run_all(runs)
    thread.join()
    assert left.value.status == 130
    [number] = {job.split("_")[0] for job, _ in slurm.queue().values()}
    assert f"scancel {number} " in str(left.value)
    capsys.readouterr()
    release = threading.Timer(1, Path("released").touch)
    release.start()
    assert set(run_all(runs).finished) == set(runs)
    said = capsys.readouterr().out
    assert said.count(": running, as job") == 4 and said.count(": pending, as job") == 1 and "submit" not in said
    assert len(starts()) == 5  # none twice

    more = stub("waits5", "last")
    Path("released").unlink()
    thread = threading.Thread(target=lambda: (
        wait_until(lambda: "q/waits5" in starts()), ask("scancel", slurm.queue()["q/waits5, seed 0"][0])
    ))
    thread.start()
    ends = run_all(more)  # what the user cancels is not queued again
    thread.join()
    assert ends.finished == more[1:] and [run for run, *_ in ends.failed] == more[:1]


@needs_slurm
def test_none_is_lost_or_made_twice_when_the_command_is_killed_five_times(cluster, stub):
    runs, chance = stub(*(f"{i}" for i in range(16))), random.Random(0)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            try:
                run_all(runs)
            finally:
                os._exit(0)
        time.sleep(1.5 * chance.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    ends = run_all(runs)
    if ends.failed:  # killed between sbatch and what the tasks wait for
        ends = run_all(runs)
    assert set(ends.finished) == set(runs)
    assert Counter(starts()) == {f"q/{i}": 1 for i in range(16)}


@needs_slurm
def test_what_slurm_refuses_is_said_in_one_line(cluster, tmp_path):
    outcome = execute(tmp_path, *shlex.split("reproduce.py --quick --only=vib --cluster=slurm --slurm_partition=none"))
    assert_refused(outcome, "sbatch refused", "partition")


def test_without_slurm_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_refused(execute(tmp_path, "reproduce.py", "--quick", "--cluster=slurm"), "no sbatch", "login node")
