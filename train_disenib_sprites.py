"""Supervised disentangling of Sprites (Liberated Pixel Cup) with DisenIB: swap a character and keep its pose.

    python train_disenib_sprites.py --desc=disentangling/sprites/disenib
    python train_disenib_sprites.py --desc=disentangling/sprites/disenib --precision=bf16 --data_source=rendered

20,000 steps of 5 main and 3 density-estimator updates. Draws swap pictures every 500 steps (disentangling/ in the
run's folder, and TensorBoard), and at the end one of images that training never saw, an interpolation of styles and an
animation; prints the terms of the objective on the way, and the metrics every 5,000 steps and at the end: accuracy,
information, what the codes say, and the error of swaps against the true images. A tenth of the poses is held out of
training (--holdout). Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and
STORAGE/tensorboard/<desc>/seed<rand_seed>/. A run that was stopped goes on with the same command and --resume.
"""

from dataclasses import dataclass
from pathlib import Path

from custom_pkg import options as opt
from custom_pkg.errors import run_script
from custom_pkg.options import with_default
from experiments.disenib_loop import train_disenib
from experiments.option_groups import FactoredOptions
from experiments.start import started
from modellib.disenib import unclustered


@dataclass(frozen=True, kw_only=True)
class Options(FactoredOptions):
    """Defaults are the published settings; 10 % are held out."""

    lambda_est: float = with_default(FactoredOptions, "lambda_est", 1.0)
    est_thr: int = with_default(FactoredOptions, "est_thr", 5000)
    style_dim: int = with_default(FactoredOptions, "style_dim", 512)
    class_dim: int = with_default(FactoredOptions, "class_dim", 512)
    n_times_main: int = with_default(FactoredOptions, "n_times_main", 5)
    eval_dis_n_samples: int = with_default(FactoredOptions, "eval_dis_n_samples", 8)


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    with started(Path(__file__).stem, options) as (start, loaded):
        train_disenib(options, start, loaded, cluster=unclustered)


if __name__ == "__main__":
    run_script(main)
