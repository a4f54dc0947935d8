"""What a run computes with: device, precision, memory and random numbers."""

import ctypes
import hashlib
import os
import platform
import random
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch

from custom_pkg.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, else the CPU. Raises UserError when the device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise UserError(f"--device={name}: {found or 'no'} CUDA devices found here; --device=auto takes what is there")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device={name}: no MPS device found here; --device=auto takes what is there")
    return device


def exact_and_repeatable() -> None:
    """On a GPU: convolutions in float32 where float32 is asked for, and by algorithms that repeat their bits."""
    torch.backends.cudnn.allow_tf32 = False  # the default rounds to 10 bits; for products it already is off
    torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next update; does nothing where there is another C library.

    Without it, megabytes go back to the system and are fetched again in every update of the convolutional models:
    thousands of page faults, a tenth of its time. Blocks of 32 MB and more are still given back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that is allowed
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def autocast_for(precision: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """The context for forward passes: nothing for "fp32", bfloat16 matrix products and convolutions for "bf16"."""
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


def bf16_is_slow(device: torch.device) -> bool:
    """Whether this CPU has no instructions for bfloat16 products, so that they take longer than float32 ones."""
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True
    return not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)


def check_compiler() -> None:
    """Raise UserError where torch.compile finds no C++ compiler, which it needs for every device."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("--compile: no C++ compiler found; install one or leave --compile out")


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on the seed and on what it is used for, and on nothing that was drawn before."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


class GlobalGenerators:
    """Those of torch, numpy and Python that layers and functions draw from which are given no generator: dropout, and
    the initial weights of layers that this project does not initialise itself. Seeded once, and kept in checkpoints.
    """

    def __init__(self, device: torch.device):
        self._on_device = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
        self._which = (device,) if device.type == "cuda" else ()

    @staticmethod
    def seed(seed: int) -> None:
        torch.manual_seed(seed)  # of every device
        np.random.seed(seed)
        random.seed(seed)

    def get_state(self) -> dict:
        _, keys, position, *gauss = np.random.get_state()
        state = {"torch": torch.get_rng_state(), "numpy": [keys.tolist(), position, *gauss]}
        state["python"] = [list(part) if isinstance(part, tuple) else part for part in random.getstate()]
        if self._on_device:
            state["device"] = self._on_device.get_rng_state(*self._which)
        return state

    def set_state(self, state: dict) -> None:
        torch.set_rng_state(state["torch"])
        np.random.set_state(("MT19937", *state["numpy"]))
        random.setstate(tuple(tuple(part) if isinstance(part, list) else part for part in state["python"]))
        if self._on_device:
            self._on_device.set_rng_state(state["device"], *self._which)


def machine(device: torch.device) -> dict:
    """What config.json says of where a run was made."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
