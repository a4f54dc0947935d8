"""Runs as tasks of Slurm's job arrays, submitted through submitit; each task starts the ordinary script."""

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence

from custom_pkg.errors import Interrupted, StopRequest, UserError
from custom_pkg.files import lock, make_folder, read_json, write_json
from custom_pkg.run_folder import STORAGE
from reporting.grid import Run
from reporting.runner import Ends, View, log_of, others_in_place, state
from reporting.task import SCRIPTS, Task, last_words

ARRAYS = STORAGE / "reproduce" / "slurm"  # a folder for every job array, of the array's name
LARGEST_ARRAY = 1000  # tasks, what Slurm takes unless its MaxArraySize says otherwise
POLL = 10.0  # seconds between two looks at the queue
SETTLING = 60.0  # seconds after which a task that has left the queue has no more results to come (NFS shows them late)


def run_all(runs: Sequence[Run], *, parameters: dict, stop: StopRequest) -> Ends:
    """Submit what is neither finished nor in the queue, and follow it all to its end.

    parameters: of submitit's SlurmExecutor. A signal ends the following alone: raises Interrupted, and the jobs go on.
    Raises UserError where there is no Slurm.
    """
    runs = list(dict.fromkeys(runs))
    view, ends = View(len(runs)), Ends()
    waiting = _submit_missing(runs, parameters, view, ends)
    gone: dict[Run, float] = {}  # since when a run has been neither finished nor in the queue
    while waiting:
        answer, now = queue(), time.monotonic()
        there = answer or {}
        for run in list(waiting):
            if run.finished():
                ends.finished.append(run)
                view.say(f"{run}: finished")
            elif answer is None or str(run) in there:
                gone.pop(run, None)
                continue
            elif now - gone.setdefault(run, now) < SETTLING:
                continue
            else:
                ends.failed.append((run, None, last_words(log_of(run))))
                view.say(f"{run}: FAILED; see {log_of(run)}")
            waiting.remove(run)
        running = [run for run in waiting if there.get(str(run), ("", ""))[1] == "RUNNING"]
        view.show(ends, running, queued=len(waiting) - len(running))
        while waiting and time.monotonic() < now + POLL:
            if stop.signum is not None:
                view.clear()
                queued = [there[str(run)][0] for run in waiting if str(run) in there]
                jobs = dict.fromkeys(job.partition("_")[0] for job in queued)
                raise Interrupted(
                    f"{len(running)} runs are running and {len(waiting) - len(running)} queued, and stay so; the same "
                    f"command follows them\n  squeue --me\n  scancel {' '.join(jobs)}    cancels them", stop.signum,
                )
            time.sleep(0.1)
    view.clear()
    return ends


def _submit_missing(runs: Sequence[Run], parameters: dict, view: View, ends: Ends) -> list[Run]:
    """Say of every run how it stands, and submit what is missing. Returns those that are in the queue then."""
    if not shutil.which("sbatch"):
        raise UserError("--cluster=slurm: there is no sbatch here; give this command on a login node of the cluster")
    make_folder(ARRAYS)
    with open(ARRAYS / ".lock", "a+", encoding="utf-8") as held:  # two commands do not submit the same run
        lock(held, lambda _: view.say("waiting for another command that is submitting"))
        there = queue()
        if there is None:
            raise UserError("--cluster=slurm: squeue fails; try again when Slurm answers")
        before = {name for file in ARRAYS.glob("*/runs.json") for name in read_json(file)["runs"]}
        waiting, missing = [], []
        for run in runs:
            if run.finished():
                now = "finished"
            elif str(run) in there:
                waiting.append(run)
                view.say(f"{run}: {'{1}, as job {0}'.format(*there[str(run)]).lower()}")
                continue
            else:
                now = state(run)
            if now == "running":
                ends.elsewhere.append(run)
                view.say(f"{run}: another process is at it")
            elif now != "absent" and (others := others_in_place(run, now)):
                ends.foreign.append((run, " ".join(others)))
                view.say(f"{run}: what is there was made with {' '.join(others)}, and so is not this run")
            elif now == "finished":
                ends.finished.append(run)
                view.say(f"{run}: finished before")
            else:
                missing.append(run)
                again = f"  (failed or cancelled before: {log_of(run)})" if str(run) in before else ""
                view.say(f"submitting: {shlex.join(run.command(resume=now == 'begun'))}{again}")
        for start in range(0, len(missing), LARGEST_ARRAY):
            part = missing[start : start + LARGEST_ARRAY]
            view.say(f"submitted {len(part)} runs as job {_submit(part, parameters)}")
    return waiting + missing


def _submit(runs: Sequence[Run], parameters: dict) -> str:
    """Submit an array of these runs; its number. Its name leads the next command to what is in the queue.

    So the runs are written down first: a command that is killed at any moment leaves none in the queue unknown.
    """
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # what it has Slurm send before the time is up
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError:
        raise UserError("--cluster=slurm needs submitit: pip install submitit") from None
    name = f"reproduce-{uuid.uuid4().hex[:8]}"
    make_folder(ARRAYS / name)
    write_json(ARRAYS / name / "runs.json", {"runs": [str(run) for run in runs]})
    executor = SlurmExecutor(ARRAYS / name)
    path = f"export PYTHONPATH={shlex.quote(str(SCRIPTS))}${{PYTHONPATH:+:$PYTHONPATH}}"
    executor.update_parameters(**{"job_name": name, "setup": [path], "stderr_to_stdout": True, **parameters})
    tasks = [Task(run.command(), run.command(resume=True), run.folder, log_of(run)) for run in runs]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where submitit repeats what sbatch says
            return executor.submit_array(tasks)[0].job_id.partition("_")[0]
    except (FailedJobError, FailedSubmissionError) as error:
        shutil.rmtree(ARRAYS / name)
        reason = str(error).strip().splitlines() or ["it does not say why"]
        raise UserError(f"--cluster=slurm: sbatch refused the jobs: {reason[-1][:300]}") from None


def queue() -> dict[str, tuple[str, str]] | None:
    """The runs that are in Slurm's queue: their job and its state, like RUNNING. None where Slurm does not answer."""
    asked = ["squeue", "--me", "--array", "--noheader", "--format=%F|%K|%j|%T"]
    try:
        lines = subprocess.run(asked, capture_output=True, encoding="utf-8", check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    found, runs = {}, {}
    for array, index, name, now in (line.split("|") for line in lines if line.count("|") == 3):
        if name not in runs:
            file = ARRAYS / name / "runs.json"
            runs[name] = read_json(file)["runs"] if file.is_file() else []
        place = int(index) if index.isdecimal() else 0  # a single run is no array
        if place < len(runs[name]):
            found[runs[name][place]] = f"{array}_{index}" if index.isdecimal() else array, now
    return found
