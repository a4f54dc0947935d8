"""What a run computes with: device, precision, memory and random numbers."""

import ctypes
import hashlib
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from custom_pkg.errors import UserError
from custom_pkg.options import device_complaint

# Ten times that of a float32 sum of 1024 terms (6e-7 was measured); of bfloat16 it is 2e-3, of TF32 3e-4.
FLOAT32_ERROR = 6e-6
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, else the CPU. Raises UserError when the device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if complaint := device_complaint(name):
        raise UserError(f"--device={name}: {complaint}")
    device = torch.device(name)
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise UserError(f"--device={name}: {found or 'no'} CUDA devices found here; --device=auto takes what is there")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device={name}: no MPS device found here; --device=auto takes what is there")
    return device


def visible_gpus(device: str) -> list[str]:
    """The GPUs that --device=auto or cuda may be one of, as CUDA_VISIBLE_DEVICES names them; none for other devices."""
    if device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(i) for i in range(count)] if named is None else named.split(",")[:count]


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


def choose_products(device: torch.device, rows: int, before: str | None = None) -> str:
    """Make the float32 matrix products of a CPU by the faster exact way from now on, and return it, as `products`.

    Torch makes them with MKL (or another BLAS), which leaves half of some AMD processors unused, or with oneDNN where
    it is permitted to round to bfloat16. Whether oneDNN does that or computes in float32 is not said, so it is tried:
    products of `rows` images with a layer of 1024 units must agree with float64 as float32 does, and must be faster by
    a margin that no busy machine blurs, for the same command has to choose the same. before: the way a run that goes
    on was begun with, which is kept where it is exact.
    """
    switch = _switch()
    if switch is None or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return products()
    try:
        exact = _onednn_is_exact(rows, torch.get_num_threads())
        faster = exact and before is None and _onednn_is_faster(rows, torch.get_num_threads())
        switch.fp32_precision = "bf16" if exact and (faster or before == "oneDNN") else "ieee"
    except RuntimeError:  # a processor on which the switch cannot be set
        switch.fp32_precision = "ieee"
    return products()


def _switch() -> Any:
    """Torch's own, of 2.9 and later; None before."""
    return getattr(torch.backends.mkldnn, "matmul", None)


def _pairs(rows: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """The factors of a layer's product forward and of its two gradients."""
    random = torch.Generator().manual_seed(0)
    inputs, weight = (torch.randn(n, 1024, generator=random) for n in (rows, 1024))
    gradient = torch.randn(rows, 1024, generator=random)
    return (inputs, weight.T), (gradient, weight), (gradient.T, inputs)


@cache  # runs that follow each other in a process compute alike, and are not kept waiting
def _onednn_is_exact(rows: int, _threads: int) -> bool:
    """Leaves the switch at oneDNN."""
    _switch().fp32_precision = "bf16"
    return all(_error(left, right) < FLOAT32_ERROR for left, right in _pairs(rows))


@cache
def _onednn_is_faster(rows: int, _threads: int) -> bool:
    """Leaves the switch at oneDNN."""
    pairs = _pairs(rows)

    def seconds(way: str) -> float:
        _switch().fp32_precision = way
        began = time.perf_counter()
        for left, right in pairs:
            torch.matmul(left, right)
        return time.perf_counter() - began

    ways = [(seconds("ieee"), seconds("bf16")) for _ in range(9)]
    return min(mkl for mkl, _ in ways) > 1.25 * min(onednn for _, onednn in ways)


def _error(left: Tensor, right: Tensor) -> float:
    """The largest error of the product, relative to its largest element."""
    true = left.double() @ right.double()
    return float((left @ right - true).abs().max() / true.abs().max())


def products() -> str:
    """How float32 matrix products are made on the CPU: "default", torch's own way, or "oneDNN"."""
    return "oneDNN" if getattr(_switch(), "fp32_precision", None) == "bf16" else "default"


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
        drawn = np.random.get_state(legacy=False)
        numpy = [drawn["state"]["key"].tolist(), drawn["state"]["pos"], drawn["has_gauss"], drawn["gauss"]]
        state = {"torch": torch.get_rng_state(), "numpy": numpy}
        state["python"] = [list(part) if isinstance(part, tuple) else part for part in random.getstate()]
        if self._on_device:
            state["device"] = self._on_device.get_rng_state(*self._which)
        return state

    def set_state(self, state: dict) -> None:
        torch.set_rng_state(state["torch"])
        np.random.set_state(("MT19937", *state["numpy"]))
        random.setstate(tuple(tuple(part) if isinstance(part, list) else part for part in state["python"]))
        if self._on_device and "device" in state:  # not there after a move from another kind of device
            self._on_device.set_rng_state(state["device"], *self._which)


def machine(device: torch.device) -> dict:
    """What config.json says of where a run was made."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "products": products(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
