"""One epoch of VIB on MNIST, with its accuracy evaluation, beside the bare matrix products of that epoch.

    python tests/benchmarks/vib_epoch.py [rounds]

Every round times a tenth of the updates, their bare products, the evaluation of 10,000 images and its bare products in
turn, so that all of them see the same machine; medians over the rounds are scaled to the epoch. The images are random
numbers of MNIST's size: the time does not depend on what they show. Bare products: of every update the forward
products and both backward ones (weights, and inputs except the images), and the forward products of the evaluation.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from custom_pkg.compute import choose_products, keep_freed_memory  # noqa: E402
from custom_pkg.run_log import LossHistory  # noqa: E402
from dataloader.batches import ShuffledBatches  # noqa: E402
from modellib import ib_lagrangian  # noqa: E402
from modellib.evaluations.accuracy import accuracy  # noqa: E402
from modellib.optimiser import adam  # noqa: E402
from train_lagrangian import Options  # noqa: E402

LAYERS = [(784, 1024), (1024, 1024), (1024, 32), (16, 10)]
BATCH, EVALUATION_BATCH = 100, 2560
TRAIN, TEST = 60_000, 10_000
UPDATES = TRAIN // BATCH // 10  # in one round


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    keep_freed_memory()  # as the scripts do
    way = choose_products(torch.device("cpu"), BATCH)
    random = torch.Generator().manual_seed(0)
    images, labels = torch.rand(TRAIN, 784, generator=random) * 2 - 1, torch.randint(10, (TRAIN,), generator=random)
    networks = ib_lagrangian.MODELS["vib"].build(784, 10, Options(desc="x"), random)
    parameters = [parameter for network in networks for parameter in network.parameters()]
    optimizer = adam(parameters, 1e-4)
    stream = ShuffledBatches(TRAIN, BATCH, random).endless()
    losses = LossHistory(ib_lagrangian.Losses, UPDATES, torch.device("cpu"))
    h = ib_lagrangian.h_function("none", 1.0)

    def train() -> None:
        for _ in range(UPDATES):
            index = next(stream)
            losses.add(ib_lagrangian.update(
                networks, optimizer, images[index], labels[index], rate=ib_lagrangian.MODELS["vib"].rate, h=h,
                lambda_kl=0.01, generator=random,
            ))
        losses.check_finite(0, Path("none"))
        losses.clear()

    def evaluate() -> None:
        accuracy(*networks, images[:TEST], labels[:TEST], generator=random, batch_size=EVALUATION_BATCH)

    scale = {"update loop": 10, "its bare products": 10, "accuracy evaluation": 7, "bare products of it": 7}
    times: dict[str, list[float]] = {name: [] for name in scale}
    for _ in range(rounds + 1):  # the first one warms up
        for (name, factor), part in zip(scale.items(), (train, bare_updates, evaluate, bare_evaluation), strict=True):
            began = time.perf_counter()
            part()
            times[name].append(factor * (time.perf_counter() - began))
    median = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, products: {way}, median of {rounds} rounds, "
          "seconds an epoch")
    for name, seconds in median.items():
        print(f"{name:20s} {seconds:6.2f}   (from {min(times[name][1:]):.2f} to {max(times[name][1:]):.2f})")
    epoch = median["update loop"] + median["accuracy evaluation"]
    bare = median["its bare products"] + median["bare products of it"]
    print(f"epoch {epoch:.2f} / bare products {bare:.2f} = {epoch / bare:.2f}")


def bare_updates() -> None:
    inputs = [torch.rand(BATCH, n_in) for n_in, _ in LAYERS]
    weights = [torch.rand(n_out, n_in) for n_in, n_out in LAYERS]
    gradients = [torch.rand(BATCH, n_out) for _, n_out in LAYERS]
    for _ in range(UPDATES):
        for layer, (x, weight, gradient) in enumerate(zip(inputs, weights, gradients, strict=True)):
            x @ weight.T
            gradient.T @ x
            if layer > 0:
                gradient @ weight


def bare_evaluation() -> None:
    layers = [(torch.rand(EVALUATION_BATCH, n_in), torch.rand(n_out, n_in)) for n_in, n_out in LAYERS]
    for start in range(0, TEST, EVALUATION_BATCH):
        for inputs, weight in layers:
            inputs[: TEST - start] @ weight.T


if __name__ == "__main__":
    main()
