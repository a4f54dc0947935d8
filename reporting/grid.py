"""The runs of the paper and of its references: their names, their commands and their folders."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from custom_pkg import options as opt
from custom_pkg.errors import UserError
from custom_pkg.files import read_json
from custom_pkg.options import FREE_AT_RESUME, shown
from custom_pkg.run_folder import RunFolder
from custom_pkg.terminal import flatten
from experiments import robust_accuracy
from experiments.catalogue import (
    ABLATION_STEPS,
    ABLATIONS,
    DATA_SETS,
    HELD_OUT,
    METHODS,
    PAPER_DATA,
    PROPOSED,
    QUICK_DATA,
    Method,
    with_disentangling,
)

DISENTANGLING = {f"disentangling-{data}": data for data in with_disentangling()}
NAMES = (*METHODS, *DISENTANGLING, "held-out", "ablations")  # as --only calls them; the last two are of several runs
LAMBDA = "lambda_kl"
QUICK_LABEL = "quick version, not the published experiment"


@dataclass(frozen=True)
class Run:
    """One start of an ordinary script.

    extra: flags beside those of the experiment, as the user chose them. quick: flags that make it small, where it can
    be made so without a download.
    """

    script: str
    flags: tuple[str, ...]
    desc: str
    seed: int = 0
    extra: tuple[str, ...] = ()
    quick: str | None = None

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.desc, self.seed)

    @property
    def name(self) -> str:
        """As --only calls it; of a sweep its λ."""
        parts = self.desc.split("/")
        return f"disentangling-{parts[-2]}" if "disentangling" in parts else parts[-1]

    @property
    def which(self) -> list[str]:
        """The flags that name the run."""
        return [f"--desc={self.desc}", *([f"--rand_seed={self.seed}"] if self.seed else [])]

    def command(self, *, resume: bool = False) -> list[str]:
        """As it is typed, word by word, "python" first."""
        again = ["--resume"] if resume else []
        return ["python", self.script, *self.flags, *self.which, *self.extra, *again]

    def finished(self) -> bool:
        return self.folder.evaluation.exists()

    def options(self) -> dict:
        """All options that the training runs with, as config.json holds them."""
        script = importlib.import_module(self.script.removesuffix(".py"))
        return json.loads(json.dumps(opt.to_dict(opt.parse(script.Options, Run.command(self)[2:]))))

    def differences(self, saved: dict, free: Sequence[str]) -> list[str]:
        """What stands otherwise in the options of a run on disk, as flags; those in `free` may."""
        return [
            f"--{name}={saved[name]}" for name, value in self.options().items()
            if name in saved and name not in (*free, *FREE_AT_RESUME) and saved[name] != value
        ]

    def __str__(self) -> str:
        return f"{self.desc}, seed {self.seed}"


@dataclass(frozen=True)
class Measured(Run):
    """What evaluate.py measures of a finished run, later, with one code where that makes a difference.

    asked: its flags beside that. shown_by: a key of its evaluation, like "ood/gauss", that tells that it is there.
    """

    code: str = ""
    asked: tuple[str, ...] = ()
    shown_by: str = ""

    @property
    def name(self) -> str:
        return f"{super().name}, {self.what}"

    @property
    def what(self) -> str:
        of = f" of its {self.code} code" if self.code else ""
        return self.asked[0].removeprefix("--metrics=").replace(",", ", ") + of

    def command(self, *, resume: bool = False) -> list[str]:
        """It goes on by itself where it was interrupted."""
        plain = RunFolder(f"{self.desc.rsplit('/', 1)[0]}/plain", self.seed).last_checkpoint
        attacked = "--metrics=robustness" in self.asked and super().name != "plain"
        source = [f"--transfer_from={plain}"] if attacked and plain.exists() else []
        passed_on = [flag for flag in self.extra if flag.startswith(("--data_root=", "--device="))]
        code = [f"--code={self.code}"] if self.code else []
        return ["python", "evaluate.py", *self.which, *self.asked, *code, *source, *passed_on]

    def finished(self) -> bool:
        name = METHODS.get(super().name, METHODS[PROPOSED]).evaluated(self.code) if self.code else "last"
        file = self.folder.path / f"evaluation-{name}.json"
        results = read_json(file) if file.exists() else {}
        if self.shown_by == "robustness" and robust_accuracy.is_trial(results.get("robustness", {})):
            return False
        found = flatten(results)
        return any(f"{key}/".startswith(f"{self.shown_by}/") for key in found)

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.what}"


def _measured(run: Run, asked: Sequence[str], shown_by: str, code: str = "") -> Measured:
    return Measured(run.script, run.flags, run.desc, run.seed, run.extra, run.quick, code, tuple(asked), shown_by)


def kind_of(run: Run) -> str:
    """quant, disentangling, sweep, held-out or ablations."""
    return run.desc.removeprefix("quick/").split("/")[0]


def attacked(runs: Sequence[Run]) -> list[Run]:
    """The measurements of robustness of the comparison's runs and of ablations; plain ones first, as others use them.
    """
    return [
        _measured(run, ["--metrics=robustness", *_how_many_images(run)], "robustness", code)
        for run in sorted(runs, key=lambda run: run.name != "plain") if kind_of(run) in ("quant", "ablations")
        for code in (METHODS[run.name].codes if kind_of(run) == "quant" else ("mean",))
    ]


def _how_many_images(run: Run) -> list[str]:
    """All of a quick run's small test set, 0; the default of 1,000 is more than it has."""
    return ["--n_images=0"] if run.desc.startswith("quick/") else []


def objections(runs: Sequence[Run]) -> list[Run]:
    """What else is asked of finished runs: both codes, other scores and outside sets, what strong probes read off."""
    found = []
    for run in runs:
        kind, data = kind_of(run), run.desc.removeprefix("quick/").split("/")[1]
        if kind in ("quant", "held-out"):
            others = [name for name, each in DATA_SETS.items() if each.outside and name != data]
            outside = ["gauss", "uniform", *(others if DATA_SETS[data].outside else ())]
            asked = ["--metrics=detection,information,calibration", "--split=test",
                     f"--eval_odin_out_data={','.join(outside)}"]
            shown_by = f"ood/{outside[-1]}/fpr_at_95_tpr_by"
            found += [_measured(run, asked, shown_by, code) for code in METHODS[run.name].codes]
        if kind == "ablations" or (kind == "quant" and run.name == PROPOSED):
            found.append(_measured(run, ["--metrics=probes", "--split=test"], "test/style_to_label_mlp_accuracy"))
        if kind == "disentangling":
            found.append(_measured(run, ["--metrics=swaps,probes"], "train/style_to_label_mlp_accuracy"))
    return found


STAGES = {"robustness": attacked, "objections": objections}  # as --with calls them


def published_grid(only: Sequence[str], seeds: Sequence[int], dataset: str, precision: str = "fp32") -> list[Run]:
    """The runs named in `only`, or all of the paper that the data set has."""
    runs = []
    for seed in seeds:
        for name, method in METHODS.items():
            if name in only if only else not method.reference:
                flags = tuple(method.flags.format(dataset=dataset).split())
                runs.append(Run(f"{method.script}.py", flags, f"quant/{dataset}/{name}", seed, quick=method.quick))
        for name, data in DISENTANGLING.items():
            if name in only if only else dataset == PAPER_DATA:
                desc = f"disentangling/{data}/{PROPOSED}"
                runs.append(Run(f"train_disenib_{data}.py", (), desc, seed, quick=DATA_SETS[data].quick))
        for name, method in METHODS.items() if "held-out" in only else ():
            if name == "plain" or not method.reference:
                classes = f"--held_out_classes={','.join(map(str, HELD_OUT))}"
                flags = (*method.flags.format(dataset=dataset).split(), classes)
                runs.append(Run(f"{method.script}.py", flags, f"held-out/{dataset}/{name}", seed, quick=method.quick))
        for name, ablation in ABLATIONS.items() if "ablations" in only else ():
            flags = (f"--dataset={dataset}", f"--steps={ABLATION_STEPS}", *ablation.flags.split())
            quick = METHODS[PROPOSED].quick
            runs.append(Run("train_disenib.py", flags, f"ablations/{dataset}/{name}", seed, quick=quick))
    chosen = (f"--precision={precision}",) if precision != "fp32" else ()
    return [run if run.script == "train_lagrangian.py" else replace(run, extra=chosen) for run in runs]


def sweep_grid(
    swept: str, values: Sequence[float], seeds: Sequence[int], dataset: str, model: str, hfunc: str
) -> list[Run]:
    """A Lagrangian model at every value of one of its options; what is not swept is as published."""
    h = () if hfunc == "none" else (f"--hfunc={hfunc}",)
    flags = (f"--model={model}", *h, f"--dataset={dataset}")
    published = next((
        tuple(method.flags.format(dataset=dataset).split()) for method in METHODS.values()
        if method.flags.format(dataset=dataset).startswith(" ".join(flags))
    ), flags)
    return [
        Run(
            "train_lagrangian.py", (*(flags if swept == LAMBDA else published), f"--{swept}={_written(value)}"),
            f"sweep/{dataset}/{model}-{hfunc}/{swept}={_written(value)}", seed, quick=Method.quick,
        )
        for value in values for seed in seeds
    ]


def _written(value: float) -> str:
    """Three digits, as those of a range have, or as many as it takes: folders are named by them."""
    if isinstance(value, int):
        return str(value)
    few = f"{value:.3g}"
    return few if float(few) == value else repr(value)


def sweep_values(text: str) -> tuple[str, list[float]]:
    """Option and values of "lambda_kl:1e-5..1e-1:9", evenly spaced in their logarithm, or of "lambda_kl:0.001,0.01".

    Any option of train_lagrangian.py with a number for a value can be swept. Raises UserError.
    """
    name, _, rest = text.partition(":")
    known = importlib.import_module("train_lagrangian").Options.__dataclass_fields__
    numbers = {option: field.type for option, field in known.items()
               if field.type in (int, float) and option not in ("rand_seed", "eval_batch_size")}
    try:
        if ".." in rest:
            ends, count = rest.split(":")
            low, high = map(float, ends.split(".."))
            if not 0 < low < high < float("inf") or not 2 <= int(count) <= 1000:
                raise ValueError
            values = [float(f"{value:.3g}") for value in np.geomspace(low, high, int(count))]
        else:
            values = [float(value) for value in rest.split(",")]
        if not np.isfinite(values).all() or (numbers.get(name) is int and ".." not in rest
                                             and any(value % 1 for value in values)):
            raise ValueError
    except ValueError:
        raise UserError(f"--sweep={shown(text)}: expected is something like lambda_kl:1e-5..1e-1:9 or "
                        "lambda_kl:0.001,0.01") from None
    if name not in numbers:
        seeds = "seeds are for --seeds" if name == "rand_seed" else f"it can be {', '.join(numbers)}"
        raise UserError(f"--sweep={shown(text)}: {shown(name)} cannot be swept; {seeds}")
    if numbers[name] is int:
        return name, list(dict.fromkeys(round(value) for value in values))
    return name, list(dict.fromkeys(values))  # of two that are the same, one


def quick(run: Run) -> Run:
    """The same run made small, below quick/: on digits in the place of MNIST, on images that are drawn here."""
    smaller = (run.quick or "").split()
    small = {flag.split("=")[0] for flag in smaller}
    flags = [flag for flag in run.flags if flag.split("=")[0] not in (*small, "--dataset")]
    dataset = [f"--dataset={QUICK_DATA}"] if any(flag.startswith("--dataset=") for flag in run.flags) else []
    desc = run.desc
    for kind in ("quant", "sweep", "held-out", "ablations"):
        desc = desc.replace(f"{kind}/{PAPER_DATA}/", f"{kind}/{QUICK_DATA}/")
    return replace(run, flags=(*flags, *dataset, *smaller), desc=f"quick/{desc}")
