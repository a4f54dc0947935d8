"""One update of every model at the published sizes on a GPU: as it is, and recorded as a CUDA graph.

    python tests/benchmarks/gpu_update.py [cpu]

For each model, and in fp32 and bf16 where there is a choice, the milliseconds of a main update (with the terms of the
estimator and the discriminator) and of the one of the estimator, launched kernel by kernel and replayed. On a CPU both
are the same.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from conv_update import BATCH, CASES  # noqa: E402

from custom_pkg.compute import autocast_for, exact_and_repeatable, pick_device  # noqa: E402
from custom_pkg.cuda_graphs import Graphed  # noqa: E402
from modellib import disenib, ib_lagrangian  # noqa: E402
from modellib.conv_networks import ARCHITECTURES, build_discriminator  # noqa: E402
from modellib.optimiser import adam  # noqa: E402
from train_lagrangian import Options  # noqa: E402

Update = Callable[..., torch.Tensor]


def main() -> None:
    device = pick_device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    exact_and_repeatable()
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"torch {torch.__version__}, {processor}, milliseconds")
    print(f"{'':18s}  update  recorded  estimator's  recorded")
    noise = torch.Generator(device).manual_seed(0)
    for name, networks, images, labels, discriminator, n_samples in models(device):
        for precision in ("fp32", "bf16"):
            main_update, estimator_update = updates(
                networks, discriminator, n_samples, autocast=autocast_for(precision, device), generator=noise
            )
            main_update = partial(main_update, moving="style", discriminator=discriminator)
            times = [
                milliseconds(how, device, *tensors)
                for update, tensors in ((main_update, (images, labels)), (estimator_update, (images,)))
                for how in (update, Graphed(update, device, noise))
            ]
            print(f"{name:12s} {precision}   {times[0]:7.2f}  {times[1]:8.2f}  {times[2]:11.2f}  {times[3]:8.2f}")
    update, images, labels = vib(device, noise)
    times = [milliseconds(how, device, images, labels) for how in (update, Graphed(update, device, noise))]
    print(f"{'vib':12s} fp32   {times[0]:7.2f}  {times[1]:8.2f}")


def models(device: torch.device):
    """Of every DisenIB model: name, networks, a batch of images and labels, discriminator, noise draws an image."""
    random = torch.Generator().manual_seed(0)
    for case in CASES:
        networks = disenib.build_conv_networks(
            case.image_shape[0], case.n_classes, ARCHITECTURES[case.name], style_dim=case.code_dim,
            class_dim=case.code_dim, generator=random,
        )
        discriminator = build_discriminator(1, random).to(device) if case.name == "mnist" else None
        images = torch.rand(BATCH, *case.image_shape, generator=random)
        yield case.name, *batch(networks, images, case.n_classes, random, device), discriminator, 1
    networks = disenib.build_networks(
        784, 10, style_dim=16, class_dim=16, enc_hidden_dims=(1024, 1024), dec_hidden_dims=(),
        rec_hidden_dims=(1024, 1024), generator=random,
    )
    yield "disenib", *batch(networks, torch.rand(BATCH, 784, generator=random), 10, random, device), None, 10


def batch(networks: disenib.Networks, images: torch.Tensor, n_classes: int, random: torch.Generator, device):
    labels = torch.randint(n_classes, (BATCH,), generator=random)
    for network in networks:
        network.to(device)
    return networks, images.to(device), labels.to(device)


def updates(networks: disenib.Networks, discriminator, n_samples: int, **common) -> tuple[Update, Update]:
    """The main and the estimator's update of (images, labels) and of (images)."""
    common["settings"] = disenib.Settings(
        n_samples=n_samples, style_std=0.1, class_std=1.0, est_style_std=0.1, est_class_std=0.1, emb_radius=3.0,
        lambda_dec=1.0, lambda_rec=10.0, lambda_wall=10.0, lambda_est=1.0, lambda_est_zc=0.05, lambda_disc=0.1,
    )
    cluster = disenib.unclustered if n_samples == 1 else disenib.clustered
    return (
        partial(disenib.main_update, networks, adam(networks.main_parameters(), 1e-4), **common),
        partial(
            disenib.estimator_update, networks, adam(networks.density_estimator.parameters(), 1e-4), cluster=cluster,
            **common,
        ),
    )


def vib(device: torch.device, noise: torch.Generator) -> tuple[Update, torch.Tensor, torch.Tensor]:
    networks = ib_lagrangian.MODELS["vib"].build(784, 10, Options(desc="x"), torch.Generator().manual_seed(0))
    parameters = [parameter for network in networks for parameter in network.to(device).parameters()]
    update = partial(
        ib_lagrangian.update, networks, adam(parameters, 1e-4), rate=ib_lagrangian.MODELS["vib"].rate,
        h=ib_lagrangian.h_function("none", 1.0), lambda_kl=0.01, generator=noise,
    )
    return update, torch.rand(100, 784, device=device), torch.randint(10, (100,), device=device)


def milliseconds(update: Update, device: torch.device, *tensors: torch.Tensor) -> float:
    calls = 100 if device.type == "cuda" else 3
    for _ in range(8):  # and to record
        update(*tensors)
    wait(device)
    began = time.perf_counter()
    for _ in range(calls):
        update(*tensors)
    wait(device)
    return (time.perf_counter() - began) / calls * 1000


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
