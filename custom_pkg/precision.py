"""bfloat16 matrix products, and what torch.compile needs."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from custom_pkg.errors import UserError


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
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return True
    return not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)


def check_compiler() -> None:
    """Raise UserError where torch.compile finds no C++ compiler, which it needs for every device."""
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("--compile: no C++ compiler found; install one or leave --compile out")
