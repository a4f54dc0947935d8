"""How memory is managed: in a process of its own, for it cannot be taken back."""

import platform
import subprocess
import sys

import pytest
from conftest import subprocess_environment

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
