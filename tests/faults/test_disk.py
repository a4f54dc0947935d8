"""A disk that fails (a case tries every write of a run in turn), damaged checkpoints, and processes that meet."""

import builtins
import errno
import gc
import os
import resource
import shutil
import subprocess
import sys

import pytest
from conftest import (
    assert_refused,
    contents,
    execute,
    points,
    run_of,
    state_of,
    subprocess_environment,
    train,
)

import dataloader.digits
from custom_pkg import checkpoints, files, run_log
from experiments import quantitative

FAILURES = {  # what fails, and with what: at each of its calls in turn
    "no space in a file": (files, "open", errno.ENOSPC),
    "no space in a log": (run_log, "write_through", errno.ENOSPC),
    "a read-only file system": (files, "open", errno.EROFS),
    "fsync": (os, "fsync", errno.EIO),
    "rename": (os, "replace", errno.EIO),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Digits that are read once, and an evaluation that takes no time: what is tried here is the writing."""
    digits = quick.digits = getattr(quick, "digits", None) or dataloader.digits.load(None)
    monkeypatch.setattr(dataloader.digits, "load", lambda *_: digits)
    evaluate_nothing(monkeypatch)


def evaluate_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quantitative, "evaluate", lambda *_, **__: {"test": {"accuracy": 0.5}})
    patch.setattr(quantitative, "show", lambda *_, **__: None)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Run for run as `finished`, with the evaluation that takes no time."""
    cwd = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        evaluate_nothing(patch)
        assert train(cwd, "--epochs=2").status == 0
    return cwd


def failing(original, at: int, number: int, calls: list):
    def fails(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **keywords)

    return fails


def assert_went_on_to_the_same_end(cwd, unbroken) -> None:
    run, wanted = run_of(cwd), run_of(unbroken)
    for name in ("last", "best"):
        assert state_of(getattr(run, name)) == state_of(getattr(wanted, name))
    assert (run.path / "metrics.jsonl").read_bytes() == (wanted.path / "metrics.jsonl").read_bytes()
    assert points(run.tensorboard) == points(wanted.tensorboard)


def start_or_go_on(cwd):
    outcome = train(cwd, "--epochs=2", "--resume")
    return train(cwd, "--epochs=2") if "nothing to resume" in outcome.err else outcome


@pytest.mark.parametrize("failure", FAILURES)
def test_a_disk_that_fails_at_any_write_is_one_line_and_the_run_goes_on_once_it_is_mended(
    tmp_path, monkeypatch, unbroken, failure
):
    module, name, number = FAILURES[failure]
    original = getattr(module, name, None) or getattr(builtins, name)
    for at in range(1, 60):
        cwd, calls = tmp_path / str(at), []
        cwd.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(original, at, number, calls), raising=False)
            outcome = train(cwd, "--epochs=2")
        if len(calls) < at:
            break  # there is no such call any more
        assert outcome.status == 1 and outcome.err.startswith("train_lagrangian.py: "), (at, outcome)
        said = [line for line in outcome.err.splitlines() if not line.endswith(" set")]
        assert len(said) == 1 and os.strerror(number) in said[0], (at, outcome.err)
        last = run_of(cwd).last
        if last.exists():
            assert f"{last.relative_to(cwd)} is intact" in said[0] and checkpoints.load_run(last), said
        left = [path for path in contents(run_of(cwd).path) if path.endswith(".tmp")]
        assert left == [], (at, left)
        outcome = start_or_go_on(cwd)
        assert outcome.status == 0, (at, outcome)
        assert_went_on_to_the_same_end(cwd, unbroken)
    assert at > 5


def test_a_file_system_without_hard_links_is_served_by_copies(tmp_path, monkeypatch, unbroken):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert train(tmp_path, "--epochs=2").status == 0
    assert_went_on_to_the_same_end(tmp_path, unbroken)
    assert checkpoints.load_run(run_of(tmp_path).previous)["position"]["epoch"] == 1


@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # nor may a file say it again when it is thrown away
@pytest.mark.parametrize("limit", [500, 5_000, 30_000])
def test_a_quota_is_one_line_too(tmp_path, unbroken, limit):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        outcome = train(tmp_path, "--epochs=2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert outcome.status == 1 and len(outcome.err.splitlines()) == 1 and "File too large" in outcome.err, outcome
    gc.collect()
    assert start_or_go_on(tmp_path).status == 0
    assert_went_on_to_the_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_evaluation_that_cannot_be_written_is_one_line_and_leaves_the_old(tmp_path, monkeypatch, unbroken, call):
    cwd = shutil.copytree(unbroken, tmp_path / "run")
    assert execute(cwd, "evaluate.py", "--desc=a/b").status == 0
    before = contents(cwd)
    monkeypatch.setattr(os, call, failing(None, 1, errno.ENOSPC, []))
    outcome = execute(cwd, "evaluate.py", "--desc=a/b")
    assert outcome.status == 1 and outcome.err.count("\n") == 1 and "No space left" in outcome.err
    assert contents(cwd) == before


@pytest.mark.parametrize("place", ["checkpoints", "metrics.jsonl", "train.log", "evaluation.json"])
def test_a_folder_where_a_file_should_be_and_the_other_way_round_is_one_line(tmp_path, unbroken, place):
    cwd = shutil.copytree(unbroken, tmp_path / "run")
    path = run_of(cwd).path / place
    (run_of(cwd).path / "evaluation.json").unlink()
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("mine")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    outcome = train(cwd, "--epochs=2", "--resume")
    assert outcome.status in (1, 2) and len(outcome.err.splitlines()) == 1 and place in outcome.err, outcome


# Damaged checkpoints


def unevaluated(source, place):
    cwd = shutil.copytree(source, place)
    (run_of(cwd).path / "evaluation.json").unlink()
    return cwd


DAMAGES = {  # what becomes of last.pt, from its bytes and those of another run's; None where it is gone
    **{f"cut at {n}/30": lambda good, _, n=n: good[: len(good) * n // 30] for n in range(30)},
    **{f"a bit flipped after {n}/10": lambda good, _, n=n: flipped(good, 400 + (len(good) - 400) * n // 10)
       for n in range(10)},
    "a block of zeros": lambda good, _: good[:8192] + bytes(4096) + good[12288:],
    "a text": lambda *_: b"not a checkpoint", "another run's": lambda _, other: other, "gone": lambda *_: None,
}


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, unbroken):
    """The undisturbed run without its evaluation, and beside it one of another seed."""
    cwd = unevaluated(unbroken, tmp_path_factory.mktemp("two") / "runs")
    assert train(cwd, "--epochs=2", "--rand_seed=1").status == 0
    return cwd


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_checkpoint_is_said_and_put_aside_and_the_one_before_takes_its_place(
    tmp_path, two_runs, unbroken, damage
):
    cwd = shutil.copytree(two_runs, tmp_path / "run")
    last = run_of(cwd).last
    other = (run_of(cwd).path.with_name("seed1") / "checkpoints" / "last.pt").read_bytes()
    content = DAMAGES[damage](last.read_bytes(), other)
    last.unlink()  # it may share its bytes with best.pt
    if content is not None:
        last.write_bytes(content)
    outcome = train(cwd, "--epochs=2", "--resume")
    assert outcome.status == 0, outcome.err
    if "going on from" in outcome.out:
        line = outcome.out.splitlines()[0]
        assert "last.pt" in line and "previous.pt, of step 13," in line and "from step 13 on" in outcome.out
        aside = last.with_name("last-damaged.pt")
        assert (aside.read_bytes() if aside.exists() else None) == content
    else:  # the bit stands where nothing is read
        assert "flipped" in damage and "from step 26 on" in outcome.out
    assert_went_on_to_the_same_end(cwd, unbroken)


def test_evaluating_a_damaged_checkpoint_is_refused_with_the_one_before_it(tmp_path, unbroken):
    cwd = shutil.copytree(unbroken, tmp_path / "run")
    run_of(cwd).last.write_bytes(b"")
    outcome = execute(cwd, "evaluate.py", "--desc=a/b")
    assert_refused(outcome, "last.pt", "--checkpoint=STORAGE/experiments/a/b/seed0/checkpoints/previous.pt")
    assert execute(cwd, "evaluate.py", *outcome.err.split("; ")[1].split(" ")[:1], "--desc=a/b").status == 0


def test_logs_that_lost_lines_are_said(tmp_path, unbroken):
    cwd = unevaluated(unbroken, tmp_path / "run")
    (run_of(cwd).path / "metrics.jsonl").write_text("")
    outcome = train(cwd, "--epochs=2", "--resume")
    assert outcome.status == 0 and "metrics.jsonl is shorter" in outcome.out


def test_a_run_does_not_go_on_with_other_images(tmp_path, unbroken, monkeypatch):
    cwd = unevaluated(unbroken, tmp_path / "run")
    real = dataloader.digits.load()
    other = type(real)(**{**vars(real), "sha256": {"images": "other"}})
    monkeypatch.setattr(dataloader.digits, "load", lambda *_: other)
    before = contents(cwd)
    assert_refused(train(cwd, "--epochs=2", "--resume"), "other images")
    assert_refused(execute(cwd, "evaluate.py", "--desc=a/b"), "other images")
    assert contents(cwd) == before


# Two at once

HOLDER = (
    "import time\nfrom custom_pkg.options import RunOptions\nfrom custom_pkg.run_folder import RunFolder\n"
    "with RunFolder('a/b', 0).open(RunOptions(desc='a/b')):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_a_second_process_is_refused_with_the_first_one_s_number_until_that_is_killed(tmp_path, unbroken):
    command = [sys.executable, "-c", HOLDER]
    pipes = {"stdout": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": subprocess_environment()}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "held\n"
        before = contents(tmp_path)
        for flags in ([], ["--resume"], ["--overwrite"]):
            outcome = train(tmp_path, "--epochs=2", *flags)
            if flags == ["--resume"]:
                assert_refused(outcome, "nothing to resume")
            else:
                assert_refused(outcome, f"process {first.pid} ")
        assert contents(tmp_path) == before
        first.kill()
    assert train(tmp_path, "--epochs=2").status == 0
    assert_went_on_to_the_same_end(tmp_path, unbroken)
