"""The runs of the paper: their names, their commands and their folders."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from custom_pkg import options as opt
from custom_pkg.errors import UserError
from custom_pkg.options import FREE_AT_RESUME
from custom_pkg.run_folder import RunFolder

QUANTITATIVE = {  # the published comparison; name -> script and flags
    "vib": ("train_lagrangian.py", "--model=vib --dataset={dataset} --lambda_kl=0.01"),
    "nib": ("train_lagrangian.py", "--model=nib --dataset={dataset} --lambda_kl=0.01"),
    "squared-vib": ("train_lagrangian.py", "--model=vib --hfunc=pow --dataset={dataset} --lambda_kl=0.001"),
    "squared-nib": ("train_lagrangian.py", "--model=nib --hfunc=pow --dataset={dataset} --lambda_kl=0.001"),
    "disenib": ("train_disenib.py", "--dataset={dataset}"),
}
DISENTANGLING = {f"disentangling-{data}": data for data in ("mnist", "shapes", "sprites")}
NAMES = (*QUANTITATIVE, *DISENTANGLING)
TITLES = {
    "vib": "VIB", "nib": "NIB", "squared-vib": "squared-VIB", "squared-nib": "squared-NIB", "disenib": "DisenIB",
    "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "scikit-learn's digits",
    "shapes": "Shapes", "sprites": "Sprites",
}

QUICK_LABEL = "quick version, not the published experiment"
QUICK = {  # how the quick version shortens each script that needs no download: still every term of its objective
    "train_lagrangian.py": "--epochs=20",
    "train_disenib.py": "--steps=60 --est_thr=20",
    "train_disenib_shapes.py": "--steps=60 --est_thr=20 --freq_step_eval=20 --data_source=rendered",
    "train_disenib_sprites.py": "--steps=40 --est_thr=15 --freq_step_eval=20 --data_source=rendered",
}

# Options that do not make a run another experiment: where, how exactly and on which images it ran, what it logged.
NOT_THE_EXPERIMENT = (
    "precision", "compile", "data_source", "eval_odin_out_data", "eval_batch_size", "freq_step_log",
    "freq_step_chkpt", "freq_step_eval", "freq_step_eval_quant",
)


@dataclass(frozen=True)
class Run:
    """One start of an ordinary script. extra: flags beside those of the experiment, as the user chose them."""

    script: str
    flags: tuple[str, ...]
    desc: str
    seed: int = 0
    extra: tuple[str, ...] = ()

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.desc, self.seed)

    @property
    def name(self) -> str:
        """As --only calls it; of a sweep its λ."""
        parts = self.desc.split("/")
        return f"disentangling-{parts[-2]}" if "disentangling" in parts else parts[-1]

    def command(self, *, resume: bool = False) -> list[str]:
        """As it is typed, word by word, "python" first."""
        seed = [f"--rand_seed={self.seed}"] if self.seed else []
        again = ["--resume"] if resume else []
        return ["python", self.script, *self.flags, f"--desc={self.desc}", *seed, *self.extra, *again]

    def options(self) -> dict:
        """All options that the script runs with, as config.json holds them."""
        script = importlib.import_module(self.script.removesuffix(".py"))
        return json.loads(json.dumps(opt.to_dict(opt.parse(script.Options, self.command()[2:]))))

    def differences(self, saved: dict, free: Sequence[str]) -> list[str]:
        """What stands otherwise in the options of a run on disk, as flags; those in `free` may."""
        free = {*free, *FREE_AT_RESUME, "rand_seed"}
        return [
            f"--{name}={saved[name]}" for name, value in self.options().items()
            if name in saved and name not in free and saved[name] != value
        ]

    def __str__(self) -> str:
        return f"{self.desc}, seed {self.seed}"


def published_grid(only: Sequence[str], seeds: Sequence[int], dataset: str, precision: str = "fp32") -> list[Run]:
    """The runs of the paper named in `only` (all that the data set has, when empty). Raises UserError."""
    foreign = [name for name in only if name in DISENTANGLING] if dataset != "mnist" else []
    if foreign:
        raise UserError(f"--only={foreign[0]} goes with --dataset=mnist: the disentangling runs have their own data")
    names = only or (NAMES if dataset == "mnist" else tuple(QUANTITATIVE))
    runs = []
    for seed in seeds:
        for name in NAMES:
            if name not in names:
                continue
            if name in QUANTITATIVE:
                script, flags = QUANTITATIVE[name]
                desc = f"quant/{dataset}/{name}"
            else:
                script, flags, desc = (
                    f"train_disenib_{DISENTANGLING[name]}.py", "", f"disentangling/{DISENTANGLING[name]}/disenib"
                )
            bf16 = precision != "fp32" and script != "train_lagrangian.py"
            extra = (f"--precision={precision}",) if bf16 else ()
            runs.append(Run(script, tuple(flags.format(dataset=dataset).split()), desc, seed, extra))
    return runs


def sweep_grid(values: Sequence[float], seeds: Sequence[int], dataset: str, model: str, hfunc: str) -> list[Run]:
    """A Lagrangian model at every λ."""
    h = () if hfunc == "none" else (f"--hfunc={hfunc}",)
    return [
        Run(
            "train_lagrangian.py", (f"--model={model}", *h, f"--dataset={dataset}", f"--lambda_kl={value:.3g}"),
            f"sweep/{dataset}/{model}-{hfunc}/lambda_kl={value:.3g}", seed,
        )
        for value in values for seed in seeds
    ]


def sweep_values(text: str) -> list[float]:
    """The λ of "lambda_kl:1e-5..1e-1:9", evenly spaced in their logarithm. Raises UserError."""
    try:
        name, ends, count = text.split(":")
        low, high = map(float, ends.split(".."))
        if name != "lambda_kl" or not 0 < low < high < float("inf") or not 2 <= int(count) <= 1000:
            raise ValueError
    except ValueError:
        raise UserError(f"--sweep={text[:80]}: expected is something like lambda_kl:1e-5..1e-1:9") from None
    # Rounded as folders are named by them, where two may then be the same.
    return list(dict.fromkeys(float(f"{value:.3g}") for value in np.geomspace(low, high, int(count))))


def quick(run: Run) -> Run:
    """The same run made small, below quick/: on digits in the place of MNIST, on images that are drawn here."""
    flags = [flag for flag in run.flags if not flag.startswith("--dataset=")]
    dataset = ["--dataset=digits"] if len(flags) < len(run.flags) else []
    desc = run.desc.replace("quant/mnist/", "quant/digits/").replace("sweep/mnist/", "sweep/digits/")
    return replace(run, flags=(*flags, *dataset, *QUICK[run.script].split()), desc=f"quick/{desc}")
