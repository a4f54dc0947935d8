import fcntl
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from custom_pkg import files
from custom_pkg.errors import StopRequest, UserError
from custom_pkg.options import RunOptions, desc_complaint
from custom_pkg.run_folder import RunFolder

NEW, OVERWRITE = RunOptions(desc="a"), RunOptions(desc="a", overwrite=True)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_lives_in_the_two_places_promised():
    folder = RunFolder("quant/mnist/vib", 3)
    assert folder.path == Path("STORAGE/experiments/quant/mnist/vib/seed3")
    assert folder.tensorboard == Path("STORAGE/tensorboard/quant/mnist/vib/seed3")


@pytest.mark.parametrize("desc", ["vib", "quant/mnist/squared-vib", "a.b/c_d", "lambda=1e-3,x+y", "..a", "x" * 200])
def test_a_plain_path_is_a_description(desc):
    assert desc_complaint(desc) is None


@pytest.mark.parametrize("desc", [
    "", "/", "/abs", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "...", "a b", "a\nb", "a\n", "a\0b", "~",
    "a\\b", "é", "a*", "seed0", "a/seed12", "seed1/a", "x" * 201,
])
def test_what_would_leave_its_place_or_confuse_is_no_description(desc):
    assert desc_complaint(desc)


def test_checking_writes_nothing():
    RunFolder("a", 0).check(RunOptions(desc="a", overwrite=True))
    assert os.listdir() == []


def test_a_folder_in_use_is_refused_with_the_number_of_the_process_and_emptied_by_nobody():
    first, second = RunFolder("a", 0), RunFolder("a", 0)
    with first.open(NEW):
        first.metrics.write_text("{}\n")
        with pytest.raises(UserError, match=f"process {os.getpid()} "):
            with second.open(OVERWRITE):
                pass
        assert first.metrics.read_text() == "{}\n"
        with RunFolder("a", 1).open(NEW):  # another seed is another run
            pass


def test_the_lock_of_a_dead_process_does_not_block():
    folder = RunFolder("a", 0)
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").write_text("4000000000\n")
    with folder.open(NEW):
        assert (folder.path / ".lock").read_text() == f"{os.getpid()} on {socket.gethostname()}\n"
    assert (folder.path / ".lock").read_text() == ""
    with open(folder.path / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again


@pytest.fixture
def locks_of_one_node_only(monkeypatch):
    """A shared file system on which a node's locks are not seen by others, and a way to be another node."""
    monkeypatch.setattr(files, "try_lock", lambda file: True)
    monkeypatch.setattr(files, "BEAT", 0.05)
    return lambda name: monkeypatch.setattr(socket, "gethostname", lambda: name)


def test_a_run_in_use_on_another_node_is_refused_where_locks_do_not_reach(locks_of_one_node_only):
    locks_of_one_node_only("node1")
    with RunFolder("a", 0).open(NEW):
        locks_of_one_node_only("node2")
        with pytest.raises(UserError, match=f"process {os.getpid()} on node1 is running"):
            with RunFolder("a", 0).open(OVERWRITE):
                pass
    with RunFolder("a", 0).open(NEW):  # the other has ended
        assert (RunFolder("a", 0).path / ".lock").read_text() == f"{os.getpid()} on node2\n"


def test_a_run_of_a_node_that_died_is_free_after_three_beats(locks_of_one_node_only, capsys):
    locks_of_one_node_only("node2")
    folder = RunFolder("a", 0)
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").write_text("4711 on node1\n")
    began = time.monotonic()
    with folder.open(NEW):
        assert 0.15 <= time.monotonic() - began < 5
    assert "process 4711 on node1 was here last" in capsys.readouterr().out


def test_emptying_does_not_follow_links(tmp_path):
    folder = RunFolder("a", 0)
    folder.path.mkdir(parents=True)
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder.path / "link").symlink_to(outside)
    with folder.open(OVERWRITE):
        assert not (folder.path / "link").is_symlink()
    assert (outside / "file").read_text() == "mine"


def test_a_signal_is_noted_and_the_old_handlers_come_back():
    before = {number: signal.getsignal(number) for number in StopRequest.SIGNALS}
    with StopRequest() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in StopRequest.SIGNALS} == before


def test_a_second_ctrl_c_stops_at_once():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_nohup_had_switched_off_stays_off():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signum is None
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_lock_that_somebody_only_looks_at_for_a_moment_is_got():
    with open("lock", "a+") as looking, open("lock", "a+") as wanted:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        files.lock(wanted, lambda holder: pytest.fail("refused"))
        assert not files.try_lock(looking)
