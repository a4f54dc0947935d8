"""Train and evaluate DisenIB with fully connected networks: maximum compression without tuning a Lagrangian weight.

    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib
    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib-bf16 --precision=bf16

20,000 steps of 10 main and 3 density-estimator updates. Prints what both objectives come to on the way, all metrics
every 5,000 steps (evaluation-step<N>.json), and at the end a table of them beside the published ones. On two CPU
cores with bfloat16 instructions a step takes about 0.43 s with --precision=bf16 and 0.71 s in fp32.
Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and STORAGE/tensorboard/<desc>/seed<rand_seed>/.
A run that was stopped, however it was, goes on with the same command and --resume.
"""

from dataclasses import dataclass
from pathlib import Path

from custom_pkg import options as opt
from custom_pkg.errors import run_script
from custom_pkg.options import option, size
from experiments.disenib_loop import train_disenib
from experiments.option_groups import ComparisonOptions, DisenIBOptions
from experiments.start import started
from modellib.disenib import clustered, unclustered


@dataclass(frozen=True, kw_only=True)
class Options(ComparisonOptions, DisenIBOptions):
    """Defaults are the published settings."""

    enc_hidden_dims: tuple[int, ...] = option(
        (1024, 1024), group="networks", check=size, help="hidden layers of both encoders"
    )
    dec_hidden_dims: tuple[int, ...] = option(
        (), group="networks", check=size, help="hidden layers of the decoder; [] makes it linear"
    )
    rec_hidden_dims: tuple[int, ...] = option(
        (1024, 1024), group="networks", check=size, help="hidden layers of the reconstructor"
    )
    spectral_norm: bool = option(True, group="networks", help="False: a density estimator without spectral norm")
    cluster: bool = option(True, group="objective", help="False: its independent pairs lie around the means themselves")


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    with started(Path(__file__).stem, options) as (start, loaded):
        train_disenib(options, start, loaded, cluster=clustered if options.cluster else unclustered)


if __name__ == "__main__":
    run_script(main)
