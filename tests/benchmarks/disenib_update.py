"""One main update of DisenIB at the published sizes beside its bare matrix products, in fp32 and bf16.

    python tests/benchmarks/disenib_update.py [rounds]

Products are made as the scripts make them, by the faster exact way; bf16 is left out where the processor has no
instructions for it. Prints milliseconds of the update (with the estimator's term, as from step 3000 on), of its bare
products (forward, weight and input gradients of all layers; of the estimator, whose weights rest, no weight gradients),
their ratio, the estimator's update, a whole step, and what the profiler says the update is made of.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from torch.profiler import profile  # noqa: E402

from custom_pkg.compute import autocast_for, bf16_is_slow, choose_products, keep_freed_memory  # noqa: E402
from modellib import disenib  # noqa: E402
from modellib.optimiser import adam  # noqa: E402

BATCH, SAMPLES = 64, 10
ENCODER = [(BATCH, 784, 1024), (BATCH, 1024, 1024), (BATCH, 1024, 16)]  # rows, inputs, outputs of each layer
RECONSTRUCTOR = [(BATCH * SAMPLES, n_in, n_out) for n_in, n_out in ((32, 1024), (1024, 1024), (1024, 784))]
DECODER = [(BATCH * SAMPLES, 16, 10)]
ESTIMATOR = [(BATCH * SAMPLES, n_in, n_out) for n_in, n_out in ((16, 128), (16, 128), (256, 256), (256, 256), (256, 1))]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    keep_freed_memory()
    cpu = torch.device("cpu")
    way = choose_products(cpu, BATCH)
    precisions = {"fp32": torch.float32} | ({} if bf16_is_slow(cpu) else {"bf16": torch.bfloat16})
    random = torch.Generator().manual_seed(0)
    networks = disenib.build_networks(
        784, 10, style_dim=16, class_dim=16, enc_hidden_dims=(1024, 1024), dec_hidden_dims=(),
        rec_hidden_dims=(1024, 1024), generator=random,
    )
    main_optimizer = adam(networks.main_parameters(), 1e-4)
    est_optimizer = adam(networks.density_estimator.parameters(), 1e-4)
    images, labels = torch.rand(BATCH, 784, generator=random) * 2 - 1, torch.randint(10, (BATCH,), generator=random)
    settings = disenib.Settings(
        n_samples=SAMPLES, style_std=0.1, class_std=1.0, est_style_std=0.1, est_class_std=0.1, emb_radius=3.0,
        lambda_dec=1.0, lambda_rec=10.0, lambda_wall=10.0, lambda_est=0.5, lambda_est_zc=0.05,
    )

    def update(precision: str) -> Callable[[], torch.Tensor]:
        autocast = autocast_for(precision, cpu)
        return lambda: disenib.main_update(
            networks, main_optimizer, images, labels, settings, moving="style", autocast=autocast, generator=random
        )

    def estimator_update() -> None:
        disenib.estimator_update(
            networks, est_optimizer, images, settings, cluster=disenib.clustered,
            autocast=autocast_for("fp32", cpu), generator=random,
        )

    parts = {}
    for precision, dtype in precisions.items():
        parts |= {f"update {precision}": update(precision), f"bare {precision}": bare_products(dtype)}
    parts |= {"estimator update": estimator_update, "Adam alone": main_optimizer.step}
    median = timed(parts, rounds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, products: {way}, "
          f"median of {rounds} rounds, milliseconds")
    for name, milliseconds in median.items():
        print(f"{name:20s} {milliseconds:7.1f}")
    for precision in precisions:
        ratio = median[f"update {precision}"] / median[f"bare {precision}"]
        step = (10 * median[f"update {precision}"] + 3 * median["estimator update"]) / 1000
        print(f"{precision}: update / bare products = {ratio:.2f}, a step takes {step:.2f} s")
    if "bf16" in precisions:
        print(f"update bf16 / update fp32 = {median['update bf16'] / median['update fp32']:.2f}")

    for precision in precisions:
        with profile() as profiler:
            for _ in range(20):
                update(precision)()
        print(f"\nwhat a {precision} update is made of, milliseconds")
        operations = sorted(profiler.key_averages(), key=lambda operation: -operation.self_cpu_time_total)
        for operation in operations[:10]:
            print(f"{operation.key[:48]:48s} {operation.self_cpu_time_total / 20_000:6.2f}")


def bare_products(dtype: torch.dtype) -> Callable[[], None]:
    """A call that makes the products of one main update; the estimator's always in float32."""

    def matrices(rows: int, n_in: int, n_out: int, dtype: torch.dtype) -> list[torch.Tensor]:
        return [torch.rand(shape, dtype=dtype) for shape in ((rows, n_in), (n_out, n_in), (rows, n_out))]

    trained = [matrices(*layer, dtype) for layer in (*ENCODER, *ENCODER, *DECODER, *RECONSTRUCTOR)]
    resting = [matrices(*layer, torch.float32) for layer in ESTIMATOR]

    def products() -> None:
        for inputs, weight, gradient in trained:
            inputs @ weight.T
            gradient.T @ inputs
            if inputs.shape[1] != 784:  # no gradient for the images
                gradient @ weight
        for inputs, weight, gradient in resting:
            inputs @ weight.T
            gradient @ weight

    return products


def timed(parts: dict[str, Callable], rounds: int, calls: int = 20) -> dict[str, float]:
    """Median milliseconds of a call of each part, the parts taken in turn in every round; the first warms up."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds + 1):
        for name, part in parts.items():
            began = time.perf_counter()
            for _ in range(calls):
                part()
            times[name].append((time.perf_counter() - began) / calls * 1000)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
