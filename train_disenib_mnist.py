"""Supervised disentangling of MNIST with DisenIB: swap a digit and keep its style.

    python train_disenib_mnist.py --desc=disentangling/mnist/disenib
    python train_disenib_mnist.py --desc=disentangling/mnist/disenib-bf16 --precision=bf16

20,000 steps of 10 main, 1 density-estimator and 1 discriminator update. Draws a swap picture every 500 steps
(disentangling/ in the run's folder, and TensorBoard), and at the end one of digits that training never saw, an
interpolation of styles and an animation; prints the terms of the objective on the way, and the metrics every 5,000
steps and at the end: accuracy, information, what the codes say, and whether a classifier of real digits sees the
intended digit in a swap. Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and
STORAGE/tensorboard/<desc>/seed<rand_seed>/. A run that was stopped goes on with the same command and --resume.
"""

from dataclasses import dataclass
from pathlib import Path

from custom_pkg import options as opt
from custom_pkg.compute import generator
from custom_pkg.errors import run_script
from custom_pkg.options import between, not_negative, option, size, with_default
from experiments.disenib_loop import Discriminator, train_disenib
from experiments.option_groups import DisentanglingOptions
from experiments.start import started
from modellib.conv_networks import build_discriminator
from modellib.disenib import unclustered


@dataclass(frozen=True, kw_only=True)
class Options(DisentanglingOptions):
    """Defaults are the published settings."""

    lambda_disc: float = option(
        0.1, group="objective", check=not_negative, help="weight of the discriminator's judgement of reconstructions"
    )
    disc_thr: int = option(1000, group="objective", check=not_negative, help="step from which it counts")
    disc_limit_acc: float = option(
        0.8, group="objective", check=between(0, 1), help="accuracy from which the discriminator waits"
    )
    n_times_disc: int = option(1, group="training", check=size, help="discriminator updates per step")
    n_times_est: int = with_default(DisentanglingOptions, "n_times_est", 1)


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    with started(Path(__file__).stem, options) as (start, loaded):
        network = build_discriminator(1, generator(options.rand_seed, "discriminator"))
        discriminator = Discriminator(network, options.n_times_disc, options.disc_thr, options.disc_limit_acc)
        train_disenib(options, start, loaded, cluster=unclustered, discriminator=discriminator)


if __name__ == "__main__":
    run_script(main)
