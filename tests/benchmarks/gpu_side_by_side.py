"""Updates a second that processes make on one GPU together: DisenIB's main update in fp32, recorded.

    python tests/benchmarks/gpu_side_by_side.py [--processes=4] [--device=cuda]

One process alone first, then so many side by side. With NVIDIA's MPS running (docs/cluster.md) their kernels run at the
same time; without it they take turns.
"""

import argparse
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from gpu_update import models, updates, wait  # noqa: E402

from custom_pkg.compute import autocast_for, exact_and_repeatable  # noqa: E402
from custom_pkg.cuda_graphs import Graphed  # noqa: E402

SECONDS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args()
    for together in (1, asked.processes):
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        barrier = context.Barrier(together, timeout=300)
        with context.Pool(together, initializer=set_barrier, initargs=(barrier,)) as pool:
            rates = pool.map(rate, [asked.device] * together, chunksize=1)
        print(f"{together} at once: {', '.join(f'{each:.0f}' for each in rates)}, together {sum(rates):.0f} updates/s")


def set_barrier(of_all) -> None:
    global barrier
    barrier = of_all


def rate(name: str) -> float:
    """Updates a second of this process, while the others are at it too."""
    exact_and_repeatable()
    device = torch.device(name)
    noise = torch.Generator(device).manual_seed(0)
    _, networks, images, labels, _, n_samples = next(each for each in models(device) if each[0] == "disenib")
    update, _ = updates(networks, None, n_samples, autocast=autocast_for("fp32", device), generator=noise)
    update = Graphed(partial(update, moving="style", discriminator=None), device, noise)
    for _ in range(8):  # and to record
        update(images, labels)
    wait(device)
    barrier.wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        for _ in range(50 if name == "cuda" else 1):
            update(images, labels)
        wait(device)
        done += 50 if name == "cuda" else 1
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
