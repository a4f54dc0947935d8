"""Groups of options that more than one script has. Defaults are the published settings."""

from dataclasses import dataclass

from custom_pkg.options import RunOptions, between, not_negative, option, positive, size, with_default
from dataloader import DATASETS
from dataloader.factored import DATA_SOURCES
from experiments.catalogue import DATA_SETS
from modellib.evaluations.protocol import NOISES

OUTSIDE = (*NOISES, *(name for name, data in DATA_SETS.items() if data.outside))


# Options that do not make a run another experiment: where, how exactly and on which images it ran, what it logged.
NOT_THE_EXPERIMENT = (
    "precision", "compile", "data_source", "eval_odin_out_data", "eval_batch_size", "freq_step_log",
    "freq_step_chkpt", "freq_step_eval", "freq_step_eval_quant",
)


def temperature_complaint(temperature: float) -> str | None:
    return None if temperature >= 1e-3 else "must be 0.001 or greater"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How the scripts of the quantitative comparison evaluate, and on which classes."""

    held_out_classes: tuple[int, ...] = option(
        (), group="objective", check=not_negative, distinct=True,
        help="classes that training never sees; detection holds their test images against the others'",
    )
    eval_batch_size: int = option(2560, group="evaluation", check=size, help="images per batch")
    eval_attack_epsilons: tuple[float, ...] = option(
        (0.1, 0.2, 0.3), group="evaluation", check=positive, help="FGSM steps, for images in [-1, 1]"
    )
    eval_odin_out_data: tuple[str, ...] = option(
        ("gauss",), group="evaluation", choices=OUTSIDE, help="what lies outside the distribution"
    )
    eval_odin_temperature: float = option(
        1000.0, group="evaluation", check=temperature_complaint, help="of ODIN's softmax"
    )
    eval_odin_epsilon: float = option(0.0014, group="evaluation", check=not_negative, help="ODIN's input step")


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(RunOptions, EvaluationOptions):
    """What the two scripts of the quantitative comparison have in common."""

    dataset: str = option("mnist", group="objective", choices=DATASETS, help="images and labels")


@dataclass(frozen=True, kw_only=True)
class DisenIBOptions(RunOptions):
    """Objective and training of the four DisenIB scripts; defaults are those of train_disenib.py."""

    lambda_dec: float = option(1.0, group="objective", check=not_negative, help="weight of the decoder's cross entropy")
    lambda_rec: float = option(10.0, group="objective", check=not_negative, help="weight of the reconstruction error")
    lambda_wall: float = option(10.0, group="objective", check=not_negative, help="weight of the wall around the codes")
    emb_radius: float = option(3.0, group="objective", check=positive, help="where that wall stands")
    lambda_est: float = option(0.5, group="objective", check=not_negative, help="weight of the I(S;T) term")
    lambda_est_zc: float = option(
        0.05, group="objective", check=not_negative, help="weight that keeps the estimator's outputs around zero"
    )
    est_thr: int = option(3000, group="objective", check=not_negative, help="step from which the I(S;T) term counts")
    est_style_optimize: int = option(
        4, group="objective", check=positive,
        help="updates in which it moves the style encoder, before one in which it moves the class encoder",
    )

    style_dim: int = option(16, group="networks", check=size, help="dimensions of the style code S")
    class_dim: int = option(16, group="networks", check=size, help="dimensions of the class code T")
    style_std: float = option(0.1, group="networks", check=positive, help="std of S around its mean")
    class_std: float = option(1.0, group="networks", check=positive, help="std of T around its mean")
    est_style_std: float = option(0.1, group="networks", check=positive, help="std of S as the estimator sees it")
    est_class_std: float = option(0.1, group="networks", check=positive, help="std of T as the estimator sees it")

    steps: int = option(20_000, group="training", check=positive, help="steps, each of the updates below")
    n_times_main: int = option(10, group="training", check=size, help="main updates per step")
    n_times_est: int = option(3, group="training", check=size, help="density-estimator updates per step")
    n_samples: int = option(10, group="training", check=size, help="noise draws per image")
    batch_size: int = option(64, group="training", check=size, help="images per update")
    est_batch_size: int = option(
        0, group="training", check=between(0, 100_000), help="images per density-estimator update; 0 is batch_size"
    )
    learning_rate: float = option(1e-4, group="training", check=positive, help="of every Adam")
    freq_step_log: int = option(10, group="training", check=size, help="log the losses every so many steps")
    freq_step_chkpt: int = option(1000, group="training", check=positive, help="checkpoint every so many steps")
    freq_step_eval_quant: int = option(5000, group="training", check=positive, help="all metrics every so many steps")
    precision: str = option(
        "fp32", group="training", choices=("fp32", "bf16"),
        help="bf16: matrix products and convolutions in bfloat16; weights, losses, sampling and estimator in float32",
    )
    compile: bool = option(False, group="training", help="without effect: compiled updates were slower on a CPU")


@dataclass(frozen=True, kw_only=True)
class DisentanglingOptions(DisenIBOptions):
    """What the three convolutional scripts have in common."""

    n_samples: int = with_default(DisenIBOptions, "n_samples", 1)
    freq_step_eval: int = option(500, group="training", check=positive, help="a swap picture every so many steps")
    eval_dis_n_samples: int = option(
        10, group="training", check=between(2, 100), help="images across and down a swap picture"
    )
    eval_batch_size: int = with_default(EvaluationOptions, "eval_batch_size", 2560)


@dataclass(frozen=True, kw_only=True)
class FactoredOptions(DisentanglingOptions):
    """Where images are made of known factors."""

    data_source: str = option(
        "auto", group="data", choices=DATA_SOURCES,
        help="files: the original images; rendered: drawn by this project; auto: files where they can be had",
    )
    holdout: float = option(
        0.1, group="data", check=between(0, 0.5),
        help="share of the style combinations that training never sees; 0 is the published protocol",
    )
