"""VIB updates on an idle machine and beside busy processes, by how OpenMP's threads wait for each other.

    python tests/benchmarks/shared_machine.py [rounds]

A line a way of waiting: milliseconds an update (published sizes, batch of 100), median over the rounds, on an idle
machine and beside one and two processes that never rest. "as the scripts set it" is what custom_pkg sets before torch
is loaded; the other lines set the environment themselves.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
WAYS = {
    "as the scripts set it": {}, "one thread": {"OMP_NUM_THREADS": "1"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"spin count {count}": {"GOMP_SPINCOUNT": str(count)} for count in (100, 1000, 3000, 10_000, 100_000)},
}
BUSY = [sys.executable, "-c", "while True: pass"]


def updates() -> None:
    """Print milliseconds an update, in a process of its own."""
    import custom_pkg  # noqa: F401, I001  before torch
    import torch
    import train_lagrangian
    from custom_pkg import options as opt
    from custom_pkg.compute import keep_freed_memory
    from modellib import ib_lagrangian
    from modellib.optimiser import adam

    keep_freed_memory()
    random = torch.Generator().manual_seed(0)
    options = opt.parse(train_lagrangian.Options, ["--model=vib", "--lambda_kl=0.01", "--desc=none"])
    record = ib_lagrangian.MODELS["vib"]
    networks = record.build(784, 10, options, random)
    optimizer = adam([parameter for network in networks for parameter in network.parameters()], 1e-4)
    images, labels = torch.rand(100, 784, generator=random), torch.randint(10, (100,), generator=random)
    for update in range(170):
        if update == 20:
            began = time.perf_counter()
        ib_lagrangian.update(
            networks, optimizer, images, labels, rate=record.rate, h=lambda u: u, lambda_kl=0.01, generator=random
        )
    print((time.perf_counter() - began) / 150 * 1000)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    user_set = {name for name in os.environ if name.startswith(("OMP_", "GOMP_"))}
    clean = {name: value for name, value in os.environ.items() if name not in user_set}
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for n_busy in (0, 1, 2):
            busy = [subprocess.Popen(BUSY) for _ in range(n_busy)]
            try:
                for way, settings in WAYS.items():
                    answer = subprocess.run(
                        [sys.executable, __file__, "updates"], env=clean | settings, capture_output=True, check=True
                    )
                    times.setdefault((way, n_busy), []).append(float(answer.stdout))
            finally:
                for process in busy:
                    process.kill()
    print(f"{'ms an update':24s}  idle  beside 1  beside 2")
    for way in WAYS:
        print(f"{way:24s} {'  '.join(f'{statistics.median(times[way, n]):8.1f}' for n in (0, 1, 2))}")


if __name__ == "__main__":
    updates() if sys.argv[1:] == ["updates"] else main()
