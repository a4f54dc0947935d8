"""How memory is managed and products are made: in processes of their own, for neither can be taken back."""

import pathlib
import platform
import subprocess
import sys

import pytest
import torch
from conftest import subprocess_environment

from custom_pkg.compute import FLOAT32_ERROR

PROGRAM = """
import resource
import torch
from custom_pkg.compute import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tensors = [torch.zeros(500_000) for _ in range(8)]
        del tensors
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

print(faults())
keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's")
def test_freed_memory_is_kept_for_the_next_update():
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=subprocess_environment(), check=True
    )
    without, kept = map(float, process.stdout.split())
    assert kept < max(20, without / 10)  # page faults in a round


PRODUCTS = """
import torch
from custom_pkg.compute import FLOAT32_ERROR, choose_products, products
cpu = torch.device("cpu")
left, right = torch.randn(2, 300, 1024, generator=torch.Generator().manual_seed(0))
chosen = choose_products(cpu, 100)
error = (left @ right.T - left.double() @ right.double().T).abs().max() / (left.double() @ right.double().T).abs().max()
assert products() == chosen and error < FLOAT32_ERROR, (chosen, error)
print(chosen, choose_products(cpu, 100, "default"), choose_products(cpu, 100, "oneDNN"))
"""


@pytest.mark.parametrize("slow", [False, True])
def test_products_are_those_of_float32_whatever_is_chosen(slow):
    # The second case is a processor that MKL serves badly and oneDNN well, without products that round to bfloat16.
    there = {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"} if slow else {}
    environment = {**subprocess_environment(), "OMP_NUM_THREADS": "1", **there}
    answer = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    chosen, begun_with_default, begun_with_onednn = answer.stdout.split()
    assert begun_with_default == "default" and chosen in ("default", "oneDNN")
    if slow and "avx2" in pathlib.Path("/proc/cpuinfo").read_text() and platform.machine() == "x86_64":
        assert begun_with_onednn == "oneDNN"


@pytest.mark.parametrize("rounding", [torch.bfloat16, torch.float16])
def test_products_that_round_are_not_taken_for_those_of_float32(rounding):
    left, right = torch.randn(2, 200, 1024, generator=torch.Generator().manual_seed(0))
    true = left.double() @ right.double().T
    rounded = left.to(rounding).double() @ right.to(rounding).double().T
    assert (rounded - true).abs().max() / true.abs().max() > 10 * FLOAT32_ERROR
    assert (left @ right.T - true).abs().max() / true.abs().max() < FLOAT32_ERROR / 2
