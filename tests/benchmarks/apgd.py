"""APGD on 1,000 images and the published layers beside its bare matrix products, forward and by the images.

    python tests/benchmarks/apgd.py [rounds]

Prints milliseconds of a step of APGD, on the cross entropy and on DLR, of the bare products of a step, and the ratios;
and what the profiler says a step is made of.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from disenib_update import timed  # noqa: E402
from torch import nn  # noqa: E402
from torch.profiler import profile  # noqa: E402

from custom_pkg.compute import keep_freed_memory  # noqa: E402
from modellib.evaluations.attacks import Attack, Target, adversarial, apgd, cross_entropy, dlr  # noqa: E402
from modellib.networks import FixedStdEncoder, initialise_xavier, mlp  # noqa: E402

N_IMAGES, STEPS = 1000, 100
LAYERS = [(784, 1024), (1024, 1024), (1024, 16), (16, 10)]


def main() -> None:
    keep_freed_memory()  # as the scripts do
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    random = torch.Generator().manual_seed(0)
    encoder, decoder = FixedStdEncoder(mlp(784, (1024, 1024), 16), 1.0), nn.Linear(16, 10)
    for network in (encoder, decoder):
        initialise_xavier(network, random)
    images = torch.rand(N_IMAGES, 784, generator=random) * 2 - 1
    labels = torch.randint(10, (N_IMAGES,), generator=random)

    def attack(loss: Callable) -> None:
        record = Attack(partial(apgd, loss=loss, steps=STEPS), "white", STEPS + 1)
        target = Target(encoder, decoder, batch_size=N_IMAGES)
        adversarial(record, target, images, labels, epsilon=0.1, generator=random)

    parts = {"bare products": bare_products()}
    parts |= {name: partial(attack, loss) for name, loss in (("cross entropy", cross_entropy), ("DLR", dlr))}
    steps = {name: milliseconds / STEPS for name, milliseconds in timed(parts, rounds, calls=1).items()}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, median of {rounds} rounds, ms of a step")
    for name, milliseconds in steps.items():
        print(f"{name:14s} {milliseconds:7.2f}  {milliseconds / steps['bare products']:.2f} x the bare products")

    with profile() as profiler:
        attack(dlr)
    print("\nwhat a step on DLR is made of, milliseconds")
    for operation in sorted(profiler.key_averages(), key=lambda operation: -operation.self_cpu_time_total)[:12]:
        print(f"{operation.key[:48]:48s} {operation.self_cpu_time_total / STEPS / 1000:6.2f}")


def bare_products() -> Callable[[], None]:
    """A call that makes the products of all steps: forward, and the gradients by the inputs of every layer."""
    layers = [
        [torch.rand(shape) for shape in ((N_IMAGES, n_in), (n_out, n_in), (N_IMAGES, n_out))] for n_in, n_out in LAYERS
    ]

    def products() -> None:
        for _ in range(STEPS):
            for inputs, weight, _gradient in layers:
                inputs @ weight.T
            for _inputs, weight, gradient in reversed(layers):
                gradient @ weight

    return products


if __name__ == "__main__":
    main()
