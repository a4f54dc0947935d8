"""Time and memory of I(X;T), beside the bare matrix product it rests on. From the repository root:

    python tests/benchmarks/mutual_information.py

One line per N (D = 16, 2 threads, shortest of 3 runs): seconds; seconds of only the N x N matrix product in
the same blocks, in float64 and in float32; the ratio to the float64 product; peak memory above the data
(Linux); and the time divided by that of the line above (N doubles, so 4 is ideal). The last line has one std
shared by all images. About two minutes.
"""

import pathlib
import re
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from modellib.evaluations import mutual_information as mi  # noqa: E402


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def bare_product(left, right):
    rows, cols = mi.BLOCK["cpu"]
    buffer = torch.empty(rows, cols, dtype=left.dtype)
    for a in left.split(rows):
        for b in right.split(cols):
            torch.mm(a, b.T, out=buffer[: len(a), : len(b)])


def peak_memory(function, *arguments):
    """MB of resident memory that the call adds at its peak. Writing 5 to clear_refs resets the peak."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status")
    before = int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])
    function(*arguments)
    return (int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) - before) / 1024


torch.set_num_threads(2)
torch.manual_seed(0)
print("     N       std   I(X;T)  float64  float32 ratio    peak  growth")
previous = None
for n, std_kind in [(15_000, "per image"), (30_000, "per image"), (60_000, "per image"), (60_000, "shared")]:
    mean = torch.randn(n, 16)
    std = 0.2 + 0.5 * torch.rand(n, 16) if std_kind == "per image" else torch.tensor(0.4)
    encodings = mean, std, mean + std * torch.randn(n, 16)
    peak = peak_memory(mi.posterior_entropy, *encodings)
    factors = mi.log2_density_factors(*encodings)
    factors32 = [x.float() for x in factors]
    cases = (mi.posterior_entropy, encodings), (bare_product, factors), (bare_product, factors32)
    rounds = [[seconds(function, *arguments) for function, arguments in cases] for _ in range(3)]
    ours, product64, product32 = (min(column) for column in zip(*rounds, strict=True))
    growth = f"{ours / previous:6.2f}x" if previous and std_kind == "per image" else ""
    print(
        f"{n:6} {std_kind:>9} {ours:6.2f} s {product64:6.2f} s {product32:6.2f} s {ours / product64:6.2f} "
        f"{peak:4.0f} MB {growth:>7}",
        flush=True,
    )
    previous = ours
