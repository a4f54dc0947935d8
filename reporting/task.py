"""A script started with its log, by reproduce.py or by a task of Slurm. Loads no torch: a task waits for its script."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_pkg.errors import RunFailed
from custom_pkg.files import make_folder
from custom_pkg.run_folder import RunFolder

SCRIPTS = Path(__file__).resolve().parents[1]
MOST_RESTARTS = 100  # of a task: one whose time is too short for any progress does not come back for ever


def start_script(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen:
    """The script, in a process group of its own, so that Ctrl-C reaches it through us, once.

    environment: what stands otherwise in it than in ours.
    """
    make_folder(log.parent)
    with open(log, "a", encoding="utf-8") as out:
        print(f"$ {shlex.join(command)}", file=out, flush=True)
        script = os.path.relpath(SCRIPTS / command[1])
        return subprocess.Popen(
            [sys.executable, script, *command[2:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            process_group=0 if hasattr(os, "setpgid") else None,
            env=os.environ | environment,
        )


def ending(status: int | None) -> str:
    """How a process ended, in words; None where it is not known."""
    if status is None:
        return "its task has ended"
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else ""


@dataclass(frozen=True)
class Task:
    """A run, as submitit takes it to a node, where it is called."""

    command: list[str]
    to_resume: list[str]  # the command that goes on with it
    folder: RunFolder
    log: Path

    def __call__(self) -> None:
        """Run the script to its end. SIGUSR1 and SIGTERM are passed on to it; when it has saved, the task is queued
        again, unless Slurm is ending the job by itself (scancel; preemption, after which Slurm queues it again).
        """
        stopped, process = [], None

        def pass_on(signum: int, _) -> None:
            stopped.append(signum)
            if process:
                process.send_signal(signum)

        for number in (signal.SIGUSR1, signal.SIGTERM):  # in place of submitit's own handlers
            signal.signal(number, pass_on)
        cores = os.environ.get("SLURM_CPUS_PER_TASK")
        threads = {"OMP_NUM_THREADS": cores} if cores and "OMP_NUM_THREADS" not in os.environ else {}
        if not stopped:
            process = start_script(self.to_resume if self.folder.exists() else self.command, self.log, threads)
            status = process.wait()
            if status == 0:
                return
            if not stopped:
                raise RunFailed(f"{ending(status)}; {last_words(self.log)}")
        array, index = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
        job = f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]  # which may be that of the whole array
        asked = ["squeue", f"--jobs={job}", "--noheader", "--format=%T"]
        now = subprocess.run(asked, capture_output=True, encoding="utf-8").stdout.strip()
        if now == "RUNNING" and int(os.environ.get("SLURM_RESTART_COUNT", "0")) < MOST_RESTARTS:
            print(f"stopped by {signal.Signals(stopped[-1]).name}, and queued again", flush=True)
            subprocess.run(["scontrol", "requeue", job], check=True)
        sys.exit(128 + stopped[-1])
