"""One update of the convolutional DisenIB models at the published sizes beside its bare convolutions and products.

    python tests/benchmarks/conv_update.py [rounds]

For each data set, in fp32 and, where the processor has instructions for it, in bf16: milliseconds of a main update
(with the estimator's and, for MNIST, the discriminator's term, as from est_thr on); of its bare convolutions and matrix
products (forward, weight and input gradients of the same layers; no weight gradients of the estimator and the
discriminator, which rest, and no input gradients of the encoders); their ratio; the estimator's update; a whole step;
and this process's peak memory. Then what the profiler says the updates are made of.
"""

import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from disenib_update import timed  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.profiler import profile  # noqa: E402

from custom_pkg.compute import autocast_for, bf16_is_slow, choose_products, keep_freed_memory  # noqa: E402
from modellib import disenib  # noqa: E402
from modellib.conv_networks import ARCHITECTURES, build_discriminator  # noqa: E402
from modellib.optimiser import adam  # noqa: E402

BATCH = 64
CPU = torch.device("cpu")
PRECISIONS = {"fp32": torch.float32} | ({} if bf16_is_slow(CPU) else {"bf16": torch.bfloat16})


class Case(NamedTuple):
    name: str
    image_shape: tuple[int, int, int]
    n_classes: int
    code_dim: int  # of both codes
    main_updates: int  # in a step
    est_updates: int


CASES = (
    Case("mnist", (1, 28, 28), 10, 16, main_updates=10, est_updates=1),
    Case("shapes", (1, 64, 64), 3, 16, main_updates=5, est_updates=3),
    Case("sprites", (3, 60, 60), 8, 512, main_updates=5, est_updates=3),
)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    keep_freed_memory()  # as the scripts do
    way = choose_products(CPU, BATCH)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, products: {way}, "
          f"median of {rounds} rounds, milliseconds")
    print(f"{'':14s}  update    bare   ratio  estimator's  whole step")
    updates = {}
    for case in CASES:
        parts = parts_of(case)
        median = timed(parts, rounds, calls=5)
        for precision in PRECISIONS:
            update, bare, estimator = (median[f"{part} {precision}"] for part in ("update", "bare", "estimator"))
            updates[f"{case.name} {precision}"] = parts[f"update {precision}"]
            step = case.main_updates * update + case.est_updates * estimator
            step += median.get(f"discriminator {precision}", 0)
            print(f"{case.name:8s} {precision}  {update:6.1f}  {bare:6.1f}  {update / bare:6.2f}  {estimator:11.1f}"
                  f"  {step:10.0f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")

    for name, update in updates.items():
        with profile() as profiler:
            for _ in range(5):
                update()
        print(f"\nwhat an update of {name} is made of, milliseconds")
        operations = sorted(profiler.key_averages(), key=lambda operation: -operation.self_cpu_time_total)
        for operation in operations[:10]:
            print(f"{operation.key[:48]:48s} {operation.self_cpu_time_total / 5000:6.2f}")


def parts_of(case: Case) -> dict[str, Callable[[], object]]:
    """The calls to be timed."""
    random = torch.Generator().manual_seed(0)
    networks = disenib.build_conv_networks(
        case.image_shape[0], case.n_classes, ARCHITECTURES[case.name], style_dim=case.code_dim,
        class_dim=case.code_dim, generator=random,
    )
    discriminator = build_discriminator(1, random) if case.name == "mnist" else None
    settings = disenib.Settings(
        n_samples=1, style_std=0.1, class_std=0.1, est_style_std=0.1, est_class_std=0.1, emb_radius=3.0,
        lambda_dec=1.0, lambda_rec=100.0, lambda_wall=1.0, lambda_est=1.0, lambda_est_zc=0.05, lambda_disc=1.0,
    )
    images = torch.rand(BATCH, *case.image_shape, generator=random)
    labels = torch.randint(case.n_classes, (BATCH,), generator=random)

    main_update = partial(
        disenib.main_update, networks, adam(networks.main_parameters(), 1e-4), images, labels, settings,
        moving="style", discriminator=discriminator, generator=random,
    )
    estimator_update = partial(
        disenib.estimator_update, networks, adam(networks.density_estimator.parameters(), 1e-4), images, settings,
        cluster=disenib.unclustered, generator=random,
    )
    parts: dict[str, Callable[[], object]] = {}
    for precision, dtype in PRECISIONS.items():
        autocast = autocast_for(precision, CPU)
        parts[f"update {precision}"] = partial(main_update, autocast=autocast)
        parts[f"bare {precision}"] = bare_of(parts["update fp32"], networks, discriminator, dtype)
        parts[f"estimator {precision}"] = partial(estimator_update, autocast=autocast)
        if discriminator:
            parts[f"discriminator {precision}"] = partial(
                disenib.discriminator_update, networks, discriminator, adam(discriminator.parameters(), 1e-4),
                images, labels, settings, limit_acc=2.0, autocast=autocast, generator=random,
            )
    return parts


def bare_of(
    update: Callable[[], object], networks: disenib.Networks, discriminator: nn.Module | None, dtype: torch.dtype
) -> Callable[[], None]:
    """A call that makes the convolutions and products that `update` makes, and nothing else.

    Their sizes are read off one update. The estimator and the decoder are always in float32.
    """
    calls = []
    resting = {layer for network in (networks.density_estimator, discriminator) if network
               for layer in network.modules()}
    exact = {layer for network in (networks.density_estimator, networks.decoder) for layer in network.modules()}
    images_enter = {encoder.layers[0][0] for encoder in (networks.style_encoder, networks.class_encoder)}

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        layer_type = torch.float32 if layer in exact else dtype
        tensors = [torch.rand(part.shape, dtype=layer_type) for part in (output, inputs[0], layer.weight)]
        calls.append(bare_call(layer, *tensors, wanted=(layer not in images_enter, layer not in resting)))

    all_layers = [layer for network in (*networks, discriminator) if network for layer in network.modules()]
    hooks = [layer.register_forward_hook(note) for layer in all_layers
             if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    update()
    for hook in hooks:
        hook.remove()

    def bare() -> None:
        for call in calls:
            call()

    return bare


def bare_call(
    layer: nn.Module, gradient: Tensor, inputs: Tensor, weight: Tensor, wanted: tuple[bool, bool]
) -> Callable[[], None]:
    """One layer forward and backward. wanted: gradients of its inputs, of its weight."""
    if isinstance(layer, nn.Linear):
        def products() -> None:
            inputs @ weight.T
            if wanted[0]:
                gradient @ weight
            if wanted[1]:
                gradient.T @ inputs

        return products

    transposed = isinstance(layer, nn.ConvTranspose2d)
    geometry = (layer.stride, layer.padding, layer.dilation, transposed, layer.output_padding, layer.groups)

    def convolutions() -> None:
        torch.convolution(inputs, weight, None, *geometry)
        torch.ops.aten.convolution_backward(gradient, inputs, weight, None, *geometry, [*wanted, False])

    return convolutions


if __name__ == "__main__":
    main()
