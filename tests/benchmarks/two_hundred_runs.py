"""What starting 200 runs costs, and whether any is lost or made twice. From the repository root, as root, with Slurm:

    python tests/benchmarks/two_hundred_runs.py [number of runs]

The runs are of a script that does nothing, first through the runner of reproduce.py, two at a time, then through a
Slurm of one node and two processors that is started here. Each is timed undisturbed; then the same command is killed
(SIGKILL) five times at random moments, and given until all are finished: every run must have been made, and once.
About 15 minutes on two idle cores.
"""

import os
import random
import signal
import sys
import tempfile
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from one_node_slurm import missing, one_node_slurm  # noqa: E402

from custom_pkg.errors import StopRequest  # noqa: E402
from reporting import grid, runner, slurm  # noqa: E402

SCRIPT = """
    import fcntl, sys
    from pathlib import Path

    flags = dict(word.removeprefix("--").split("=") for word in sys.argv[1:] if "=" in word)
    folder = Path("STORAGE/experiments", flags["desc"], "seed0")
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / ".lock", "a")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or it ends, as the real scripts do
    if (folder / "config.json").exists() and "--resume" not in sys.argv:
        sys.exit("a run is there")  # likewise
    (folder / "config.json").write_text('{"options": {}}')
    with open("made", "a") as made:
        print(flags["desc"], file=made)
    (folder / "evaluation.json").write_text("{}")
"""


def try_out(what: str, run_all, n: int) -> None:
    def in_a_child(runs, killed_after: float | None = None) -> None:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                with StopRequest() as stop:
                    run_all(runs, stop=stop)
            finally:
                os._exit(0)
        if killed_after is not None:
            time.sleep(killed_after)
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    for kills in (0, 5):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            os.chdir(place)
            Path("nothing.py").write_text(textwrap.dedent(SCRIPT))
            runs = [grid.Run(f"{place}/nothing.py", (), f"q/{i}") for i in range(n)]
            began, chance = time.monotonic(), random.Random(0)
            for _ in range(kills):
                in_a_child(runs, killed_after=10 * chance.random())
            commands = 0
            while not all(run.finished() for run in runs):
                in_a_child(runs)
                commands += 1
            took, made = time.monotonic() - began, Counter(Path("made").read_text().split())
            lost, twice = n - len(made), sum(count > 1 for count in made.values())
            print(f"{what}, killed {kills} times: {took:.0f} s, {took / n:.2f} s a run; {commands} more commands; "
                  f"lost {lost}, made twice {twice}", flush=True)
            os.chdir("/")


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    grid.Run.options = lambda run: {}
    slurm.POLL, slurm.SETTLING = 1.0, 3.0
    try_out("local", partial(runner.run_all, jobs=2), n)
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as folder, one_node_slurm(Path(folder) / "slurm") as environment:
        os.environ |= environment
        parameters = {"time": 5, "cpus_per_task": 1, "mem": "1GB", "additional_parameters": {"requeue": True}}
        try_out("Slurm", partial(slurm.run_all, parameters=parameters), n)


if __name__ == "__main__":
    main()
