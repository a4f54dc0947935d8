"""Kills work at many moments and lets it go on: python killing.py <folder>. Prints a JSON object a case.

Not a part of pytest's process: it forks, and forks again, from one that has loaded torch and runs a single thread.
"""

import builtins
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import conftest
import tqdm

import dataloader.digits

ON_DISK = [("os", "replace"), ("os", "fsync"), ("os", "link")]
TORN = [("custom_pkg.files", "open"), ("custom_pkg.run_log", "write_through")]  # half of a file, of a log's line
MEASURED = [("modellib.evaluations.protocol", "fgsm"), ("modellib.evaluations.protocol", "accuracy")]


class Kind(NamedTuple):
    """Some work that can be killed and gone on with."""

    work: Callable[..., conftest.Outcome]  # (cwd, *flags)
    spots: list[tuple[str, str]]  # module and function at whose calls it is killed
    at_calls: int  # how many cases
    at_times: int = 0
    prepared: Callable[[Path, Path], object] = lambda cwd, done: cwd.mkdir()  # what is there before the work
    again: tuple[str, ...] = ("--resume",)  # the flags to go on with
    signals: tuple[int, ...] = ()


def disenib(cwd: Path, *flags: str) -> conftest.Outcome:
    return conftest.train_disenib(cwd, "--steps=6", *flags)


def lagrangian(cwd: Path, *flags: str) -> conftest.Outcome:
    return conftest.train(cwd, "--epochs=2", *flags)


def evaluate(cwd: Path, *flags: str) -> conftest.Outcome:
    return conftest.execute(cwd, "evaluate.py", "--desc=a/b", *flags)


def prepare_data(cwd: Path) -> conftest.Outcome:
    conftest.tiny(good=conftest.good).load(cwd, lambda line: None)
    return conftest.Outcome(0, "", "")


def damaged(cwd: Path, done: Path) -> None:
    """A run whose last checkpoint is cut short, and which has not been evaluated."""
    run = conftest.run_of(shutil.copytree(done, cwd))
    (run.path / "evaluation.json").unlink()
    os.truncate(run.last, 2000)


KINDS = {
    "train_lagrangian": Kind(
        lagrangian, [*ON_DISK, *TORN, *MEASURED, ("modellib.ib_lagrangian", "update")], 16, 4,
        signals=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    ),
    "train_disenib": Kind(
        disenib, [*ON_DISK, *TORN, ("modellib.disenib", "main_update"), ("modellib.disenib", "estimator_update")], 8, 2,
        signals=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    ),
    "going back": Kind(
        lagrangian, [("os", "link"), ("os", "truncate"), *ON_DISK[:2]], 6, prepared=damaged
    ),
    "evaluate": Kind(
        evaluate, [*ON_DISK[:2], TORN[0], *MEASURED], 6, prepared=lambda cwd, done: shutil.copytree(done, cwd), again=()
    ),
    "data": Kind(
        prepare_data,
        [*ON_DISK[:2], ("os", "fchmod"), ("tempfile", "mkdtemp"), ("tempfile", "mkstemp"), ("hashlib", "sha256")], 8,
        again=(),
    ),
}


def in_a_child(do: Callable[[], object], *, dies_after: float | None = None) -> tuple[int, object]:
    """Call it in a process of its own: (its wait status, what it returned as JSON takes it)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = json.dumps(do()).encode()
        except BaseException as error:  # for the one who reads the outcome
            answer = json.dumps([-1, "", repr(error)]).encode()
        os.write(writer, answer[:60_000])
        os._exit(0)
    os.close(writer)
    if dies_after is not None:
        time.sleep(dies_after)
        os.kill(child, signal.SIGKILL)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(child, 0)[1]
    return status, json.loads(answer) if answer else None


def watch(spots: list, at_call: Callable[[tuple[str, str]], bool], act: Callable[[], None]) -> None:
    """Replace the functions so that `act` is called where `at_call` says so: before them, or half-way in a write."""
    for spot in spots:
        module, name = import_module(spot[0]), spot[1]
        original = getattr(module, name, None) or getattr(builtins, name)

        def watched(*arguments, spot=spot, original=original, **keywords):
            if not at_call(spot):
                return original(*arguments, **keywords)
            if spot[1] == "write_through":
                original(arguments[0], arguments[1][: len(arguments[1]) // 2])
            elif spot[1] == "open":
                return TornFile(original(*arguments, **keywords), act)
            act()
            return original(*arguments, **keywords)

        setattr(module, name, watched)


class TornFile:
    """A file in whose writing something happens."""

    def __init__(self, file, act: Callable[[], None]):
        self._file, self._act = file, act

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, content: bytes) -> None:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._act()
        self._file.write(content[half:])


def count_calls(kind: Kind, cwd: Path) -> list:
    calls = Counter()

    def count(spot: tuple[str, str]) -> bool:
        calls[spot] += 1
        return False

    watch(kind.spots, count, lambda: None)
    outcome = kind.work(cwd, *(kind.again if kind.prepared is damaged else ()))
    assert outcome.status == 0, outcome
    return [[*spot, calls[spot]] for spot in kind.spots if calls[spot]]


def strike(kind: Kind, cwd: Path, spot: tuple[str, str], at: int, signum: int) -> conftest.Outcome:
    calls = iter(range(1, at + 1))
    watch([spot], lambda _: next(calls, None) == at, lambda: os.kill(os.getpid(), signum))
    return kind.work(cwd, *(kind.again if kind.prepared is damaged else ()))


def go_on(kind: Kind, cwd: Path) -> conftest.Outcome:
    outcome = kind.work(cwd, *kind.again)
    if "nothing to resume" in outcome.err:  # killed before there was anything
        outcome = kind.work(cwd)
    return outcome


class Case(NamedTuple):
    kind: str
    cwd: Path
    module: str | None  # None: killed after `at` seconds, whatever it does
    function: str | None
    most: int
    at: float
    signum: int


def cases_of(name: str, whole: Path, done: Path) -> list[Case]:
    """Moments drawn over the work, which is done undisturbed first, at `whole`."""
    kind, chance = KINDS[name], random.Random(name)
    whole.parent.mkdir()
    kind.prepared(whole, done)
    began = time.monotonic()
    status, calls = in_a_child(lambda: count_calls(kind, whole))
    duration = time.monotonic() - began
    assert status == 0 and calls[0] != -1, (name, calls)
    signals = [signal.SIGKILL] * kind.at_calls + list(kind.signals)
    spots = [(*chance.choice(calls), signum) for signum in signals]
    drawn = [(module, function, most, chance.randint(1, most), signum) for module, function, most, signum in spots]
    drawn += [(None, None, 0, duration * chance.random(), signal.SIGKILL) for _ in range(kind.at_times)]
    return [Case(name, whole.with_name(str(number)), *each) for number, each in enumerate(drawn)]


def meet(case: Case, done: Path) -> str:
    """The work stopped at that moment, and then gone on with, as JSON."""
    kind, cwd = KINDS[case.kind], case.cwd
    kind.prepared(cwd, done)
    if case.module:
        what = f"{signal.Signals(case.signum).name} at call {case.at} of {case.most} of {case.module}.{case.function}"
        spot = case.module, case.function
        status, struck = in_a_child(lambda: strike(kind, cwd, spot, case.at, case.signum))
    else:
        what = f"SIGKILL after {case.at:.2f} s"
        status, struck = in_a_child(lambda: kind.work(cwd), dies_after=case.at)
    _, outcome = in_a_child(lambda: go_on(kind, cwd))
    ended = {"killed_by": os.WTERMSIG(status), "struck": struck, "outcome": outcome}
    return json.dumps({"kind": case.kind, "case": what, "cwd": str(cwd), **ended})


def main(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    digits = dataloader.digits.load(folder)
    dataloader.digits.load = lambda *_: digits  # reading them anew takes as long as training on them
    done = folder / "train_lagrangian" / "unbroken"
    # What the scripts import and probe, once, before the processes part; without the thread that watches bars.
    tqdm.tqdm.monitor_interval = 0
    for work in (lagrangian, disenib):
        (folder / work.__name__).mkdir()
        assert work(folder / work.__name__).status == 0
    assert threading.active_count() == 1
    cases = [case for name in KINDS for case in cases_of(name, folder / name / "unbroken", done)]
    with multiprocessing.get_context("fork").Pool(2) as pool:  # whose processes run a single thread each
        for line in pool.imap(partial(meet, done=done), cases):
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
