"""Which processor a run uses."""

import re

import torch

from custom_pkg.errors import UserError


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
