"""Starting the runs, several side by side, each as the ordinary script; what is there already is skipped or resumed."""

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from custom_pkg.interrupts import StopRequest
from custom_pkg.run_folder import STORAGE, RunFolder
from reporting.grid import Run
from reporting.tables import duration

SCRIPTS = Path(__file__).resolve().parents[1]


def state(folder: RunFolder) -> str:
    """finished, running (a process holds it), begun or absent."""
    try:
        with open(folder.path / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "running"
    except OSError:
        pass
    if folder.evaluation.exists():
        return "finished"
    return "begun" if folder.exists() else "absent"


def log_of(run: Run) -> Path:
    """Where all that the run's process prints goes, of every start."""
    return STORAGE / "reproduce" / run.desc / f"seed{run.seed}.log"


def threads_for(jobs: int) -> int | None:
    """Threads of each of so many jobs; None leaves a single one what it would take anyway."""
    if jobs == 1:
        return None
    all_threads = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(all_threads) if all_threads.isdecimal() else os.cpu_count() or 1) // jobs)


@dataclass
class Ends:
    """How the runs ended. failed holds the exit status of each, and the last words of its log."""

    finished: list[Run] = field(default_factory=list)  # now or before
    failed: list[tuple[Run, int, str]] = field(default_factory=list)
    elsewhere: list[Run] = field(default_factory=list)  # in the hands of another process
    interrupted: bool = False


def run_all(runs: Sequence[Run], *, jobs: int, stop: StopRequest) -> Ends:
    """Run what is not finished; a failed run does not hold up the others. A signal is passed on, and waited for."""
    ends, waiting, active = Ends(), list(runs), {}
    threads, passed_on, view = threads_for(jobs), None, View(len(runs))
    while waiting or active:
        while waiting and len(active) < jobs and stop.signum is None:
            run = waiting.pop(0)
            now = state(run.folder)
            if now in ("finished", "running"):
                (ends.finished if now == "finished" else ends.elsewhere).append(run)
                view.say(f"{run}: {'finished before' if now == 'finished' else 'another process is at it'}")
                continue
            command = run.command(resume=now == "begun")
            prefix = f"OMP_NUM_THREADS={threads} " if threads else ""
            view.say(f"{'resumed' if now == 'begun' else 'started'}: {prefix}{shlex.join(command)}")
            active[_start(run, command, threads)] = run, time.monotonic()
        if stop.signum is not None and passed_on is None:
            view.say(f"stopping: waiting until {len(active)} runs have saved; Ctrl-C again stops them at once")
        try:
            if stop.signum != passed_on:
                passed_on = stop.signum
                _signal(active, passed_on)
            time.sleep(0.2)
        except KeyboardInterrupt:  # the second Ctrl-C
            _signal(active, stop.signum)
        for process in [process for process in active if process.poll() is not None]:
            run, began = active.pop(process)
            took = duration(time.monotonic() - began)
            if process.returncode == 0 and run.folder.evaluation.exists():
                ends.finished.append(run)
                view.say(f"{run}: finished after {took}")
            elif stop.signum is None:
                ends.failed.append((run, process.returncode, last_words(log_of(run))))
                view.say(f"{run}: FAILED after {took}, exit status {process.returncode}; see {log_of(run)}")
        if stop.signum is not None:
            waiting.clear()
            ends.interrupted = True
        view.show(ends, [run for run, _ in active.values()])
    view.clear()
    return ends


def _start(run: Run, command: Sequence[str], threads: int | None) -> subprocess.Popen:
    """The script in a process group of its own, so that Ctrl-C reaches it through us, once."""
    log = log_of(run)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as out:
        print(f"$ {shlex.join(command)}", file=out, flush=True)
        script = os.path.relpath(SCRIPTS / command[1])
        return subprocess.Popen(
            [sys.executable, script, *command[2:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0,
            env={**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})},
        )


def _signal(active: dict, signum: int) -> None:
    for process in active:
        if process.poll() is None:
            process.send_signal(signum)


def last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def position(folder: RunFolder) -> str:
    """How far a run is, by the last line that it has logged."""
    try:
        with open(folder.metrics, "rb") as file:
            file.seek(max(0, folder.metrics.stat().st_size - 8192))
            last = json.loads(file.read().splitlines()[-1])
            options = json.loads(folder.config.read_text())["options"]
    except (OSError, ValueError, IndexError, KeyError):
        return "starting"
    if "steps" in options:
        return f"step {last['step']:,} of {options['steps']:,}"
    return f"epoch {last['epoch']} of {options['epochs']} at most"


class View:
    """One line on a terminal that follows all runs; where output is piped, only what `say` says."""

    def __init__(self, total: int):
        self._total, self._began, self._shown = total, time.monotonic(), 0.0
        self._terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        self.clear()
        print(line, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def show(self, ends: Ends, active: Sequence[Run]) -> None:
        if not self._terminal or time.monotonic() - self._shown < 1:
            return
        self._shown = time.monotonic()
        failed = f", {len(ends.failed)} failed" if ends.failed else ""
        at_work = "; ".join(f"{run.desc.split('/', 1)[1]} {run.seed}: {position(run.folder)}" for run in active)
        line = f"{len(ends.finished)} of {self._total} runs{failed}, {duration(self._shown - self._began)} | {at_work}"
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\r\033[K{line[: width - 1]}", end="", file=sys.stderr, flush=True)
