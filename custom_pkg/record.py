"""What a run was: its command, options, versions and machine, for config.json."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "tensorboardX")


def command_line() -> str:
    """The command that started this process, as it can be pasted into a shell."""
    return shlex.join(["python", *sys.argv])


def describe_run(options: dict, data: dict, device: torch.device) -> dict:
    """The content of config.json: enough to run it again and to know where it ran."""
    return {
        "command": command_line(),
        "options": options,
        "data": data,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "code": _code_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _code_version() -> str:
    """The commit of this code, with `-dirty` when files were changed; `unknown` outside a git checkout."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"
