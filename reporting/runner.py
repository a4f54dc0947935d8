"""Starting the runs, several side by side, each as the ordinary script; what is there already is skipped or resumed."""

import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from custom_pkg.errors import StopRequest, UserError
from custom_pkg.files import try_lock
from custom_pkg.run_folder import STORAGE, RunFolder
from experiments.option_groups import NOT_THE_EXPERIMENT
from reporting.grid import Measured, Run
from reporting.tables import duration
from reporting.task import ending, last_words, start_script


def state(run: Run) -> str:
    """finished, running (a process holds it), begun or absent."""
    with suppress(OSError), open(run.folder.path / ".lock", "r+b") as file:
        if not try_lock(file):
            return "running"
    if run.finished():
        return "finished"
    return "begun" if run.folder.exists() else "absent"


def holder(folder: RunFolder) -> str:
    """The number of the process that holds a run's folder, as it has noted it."""
    return (folder.path / ".lock").read_text(encoding="utf-8").strip() or "unknown"


def log_of(run: Run) -> Path:
    """Where all that the run's process prints goes, of every start."""
    return STORAGE / "reproduce" / run.desc / f"seed{run.seed}.log"


def threads_for(jobs: int) -> int | None:
    """Threads of each of so many jobs; None leaves a single one what it would take anyway."""
    if jobs == 1:
        return None
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (int(wanted) if wanted.isdecimal() else ours) // jobs)


@dataclass
class Ends:
    """How the runs ended. failed holds the exit status of each, if it is known, and the last words of its log."""

    finished: list[Run] = field(default_factory=list)  # now or before
    failed: list[tuple[Run, int | None, str]] = field(default_factory=list)
    elsewhere: list[Run] = field(default_factory=list)  # in the hands of another process
    foreign: list[tuple[Run, str]] = field(default_factory=list)  # a run with such other flags is in its place
    interrupted: bool = False

    def __add__(self, others: "Ends") -> "Ends":
        return Ends(
            self.finished + others.finished, self.failed + others.failed, self.elsewhere + others.elsewhere,
            self.foreign + others.foreign, self.interrupted or others.interrupted,
        )


def run_all(runs: Sequence[Run], *, jobs: int, stop: StopRequest, gpus: Sequence[str] = ()) -> Ends:
    """Run what is not finished; a failed run does not hold up the others. A signal is passed on, and waited for.

    gpus: what CUDA_VISIBLE_DEVICES may be for a run; each gets the one that the fewest others have.
    """
    waiting = list(dict.fromkeys(runs))
    at_work = _AtWork(jobs, gpus, View(len(waiting)))
    try:
        while waiting or at_work.processes:
            if stop.signum is not None:
                waiting.clear()
                at_work.stop(stop.signum)
            while waiting and len(at_work.processes) < jobs:
                at_work.start(waiting.pop(0))
            try:
                time.sleep(0.2)
            except KeyboardInterrupt:  # the second Ctrl-C
                at_work.signal(stop.signum or signal.SIGINT)
            at_work.reap()
    finally:  # whatever has ended the loop: no run is left alone
        at_work.signal(stop.signum or signal.SIGTERM)
        for process in at_work.processes:
            process.wait()
    at_work.view.clear()
    return at_work.ends


class _AtWork:
    """The processes of the runs that are at work, and how those before them ended."""

    def __init__(self, jobs: int, gpus: Sequence[str], view: "View"):
        self.ends, self.view, self.processes = Ends(), view, {}  # process -> its run, since when, and its GPU
        self._threads, self._gpus, self._stopped = threads_for(jobs), gpus, None

    def start(self, run: Run) -> None:
        """Start a run or go on with it, unless it is finished, held by another process or not what it should be."""
        now = state(run)
        if now == "running":
            self.ends.elsewhere.append(run)
            self.view.say(f"{run}: another process is at it")
        elif now != "absent" and (others := others_in_place(run, now)):
            self.ends.foreign.append((run, " ".join(others)))
            self.view.say(f"{run}: what is there was made with {' '.join(others)}, and so is not this run")
        elif now == "finished":
            self.ends.finished.append(run)
            self.view.say(f"{run}: finished before")
        else:
            command = run.command(resume=now == "begun")
            taken = [gpu for _, _, gpu in self.processes.values()]
            gpu = min(self._gpus, key=taken.count, default=None)
            own = {"OMP_NUM_THREADS": self._threads, "CUDA_VISIBLE_DEVICES": gpu}
            own = {name: str(value) for name, value in own.items() if value}
            prefix = "".join(f"{name}={value} " for name, value in own.items())
            self.view.say(f"{'resumed' if now == 'begun' else 'started'}: {prefix}{shlex.join(command)}")
            self.processes[start_script(command, log_of(run), own)] = run, time.monotonic(), gpu

    def stop(self, signum: int) -> None:
        """Pass a signal on, once."""
        if signum == self._stopped:
            return
        self._stopped, self.ends.interrupted = signum, True
        self.signal(signum)
        names = "; ".join(str(run) for run, *_ in self.processes.values())
        if names:
            self.view.say(f"stopping, when all is saved: {names}; Ctrl-C again stops at once")

    def signal(self, signum: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signum)

    def reap(self) -> None:
        """Note how those runs ended that have ended."""
        for process in [process for process in self.processes if process.poll() is not None]:
            run, began, _ = self.processes.pop(process)
            took, status = duration(time.monotonic() - began), process.returncode
            if status == 0 and run.finished():
                self.ends.finished.append(run)
                self.view.say(f"{run}: finished after {took}")
            elif self._stopped is None or status not in (128 + self._stopped, -self._stopped):
                self.ends.failed.append((run, status, last_words(log_of(run))))
                self.view.say(f"{run}: FAILED after {took}, {ending(status)}; see {log_of(run)}")
        self.view.show(self.ends, [run for run, *_ in self.processes.values()])


def others_in_place(run: Run, now: str) -> list[str]:
    """The flags that tell a run on disk, finished or begun, from the wanted one; what resuming refuses counts too.

    What is measured of a finished run resumes no training, whether it is there or not.
    """
    try:
        saved = run.folder.saved_options()
    except UserError:
        return []  # the script itself will say what is wrong
    return run.differences(saved, NOT_THE_EXPERIMENT if now == "finished" or isinstance(run, Measured) else ())


def position(folder: RunFolder) -> str:
    """How far a run is, by the last line that it has logged."""
    try:
        with open(folder.metrics, "rb") as file:
            file.seek(max(0, folder.metrics.stat().st_size - 8192))
            last = json.loads(file.read().splitlines()[-1])
        options = folder.saved_options()
    except (OSError, ValueError, IndexError, UserError):
        return "starting"
    if "steps" in options:
        return f"step {last['step']:,} of {options['steps']:,}"
    return f"epoch {last['epoch']} of {options['epochs']} at most"


class View:
    """One line on a terminal that follows all runs; where output is piped, that line every ten minutes."""

    def __init__(self, total: int):
        self._total, self._began = total, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._pause = 1 if self._terminal else 600
        self._shown = self._began

    def say(self, line: str) -> None:
        self.clear()
        print(line, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def show(self, ends: Ends, active: Sequence[Run], queued: int = 0) -> None:
        if time.monotonic() - self._shown < self._pause:
            return
        self._shown = time.monotonic()
        others = [f", {count} {what}" for count, what in ((queued, "queued"), (len(ends.failed), "failed")) if count]
        at_work = "; ".join(f"{run.name}, seed {run.seed}: {position(run.folder)}" for run in active)
        done = f"{len(ends.finished)} of {self._total} runs{''.join(others)}"
        line = f"{done}, {duration(self._shown - self._began)} | {at_work}"
        if self._terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r\033[K{line[: width - 1]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, flush=True)
