"""Which processor a run uses, and how its memory is managed."""

import ctypes
import re
import sys

import torch

from custom_pkg.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def device_complaint(name: str) -> str | None:
    """What is wrong with the text given to --device, or None."""
    known = re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?|mps", name)
    return None if known else "must be auto, cpu, cuda, cuda:N or mps"


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
