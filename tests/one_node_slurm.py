"""A Slurm of one node on this machine, in a folder of its own: as root, without systemd, on ports of its own."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=100000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why none can be started here, or None."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"needs {', '.join(absent)}: on Debian, slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "needs root"


@contextlib.contextmanager
def one_node_slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Gives the environment in which Slurm's commands reach it. Whatever was started is stopped at the end."""
    for place in ("munge", "state", "spool"):
        (folder / place).mkdir(parents=True)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [each.getsockname()[1] for each in free]
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, ports=ports, folder=folder, cpus=cpus))
    environment = {"SLURM_CONF": str(configuration)}
    munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
    started = []

    def start(*command: str) -> None:
        with open(folder / f"{command[0]}.out", "wb") as out:
            started.append(subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            ))

    def answers(*command: str) -> str:
        asked = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return asked.stdout if asked.returncode == 0 else ""

    def wait_until(true, what: str) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, f"{what}: see {folder}"
            time.sleep(0.05)

    try:
        start("munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *munge)
        wait_until((folder / "munge" / "socket").exists, "munged does not start")
        start("slurmctld", "-D")
        start("slurmd", "-D")
        wait_until(lambda: "idle" in answers("sinfo", "--noheader", "--format=%T"), "Slurm does not start")
        yield environment
    finally:
        answers("scancel", "--me")
        answers("scancel", "--me", "--signal=KILL")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(started) < 3 or not answers("squeue", "--noheader").strip(), "jobs do not end")
        for process in reversed(started):
            process.terminate()
            process.wait()
