"""What the methods and the data sets are: a record each, which commands, tables, figures and pages read.

The order is that of tables and legends. docs/extending.md says how a new one is added.
"""

from dataclasses import dataclass, field

from modellib.published import MNIST


@dataclass(frozen=True)
class Method:
    """A method of the quantitative comparison.

    name: as folders, results and --only call it; of a Lagrangian model with h = none, as --model does.
    flags: of its script, {dataset} standing for the data set. quick: flags that make a run of it small.
    colour, marker: matplotlib's. code: which code its published figures look at, "sample" or "mean".
    published: data set -> the paper's figures, in the shape of evaluation.json.
    reference: not in the paper, and run only when --only names it; about: what it is, for the report's reader.
    adversarial: trained against attacks, and so no rival of what is robust without. control: another method trained
    for as long as the proposed one; until it was attacked, a lead in robustness may come of that.
    """

    name: str
    title: str
    flags: str
    colour: str
    marker: str
    script: str = "train_lagrangian"
    quick: str = "--epochs=20"
    code: str = "sample"
    published: dict[str, dict] = field(default_factory=dict)
    reference: bool = False
    about: str = ""
    adversarial: bool = False
    control: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        """Which codes it has: the mean alone where no noise is added, and then no density that gives an I(X;T)."""
        return ("sample", "mean") if self.code == "sample" or self.script == "train_disenib" else ("mean",)

    @property
    def lambda_kl(self) -> float | None:
        """The λ of its flags; None where it has none."""
        flags = dict(flag.split("=", 1) for flag in self.flags.split())
        return float(flags["--lambda_kl"]) if "--lambda_kl" in flags else None

    def evaluated(self, code: str) -> str:
        """What evaluate.py calls the evaluation of the last checkpoint with that code: evaluation-<this>.json."""
        return "last" if code == self.code else f"last-{code}-code"


@dataclass(frozen=True)
class DataSet:
    """A data set, by the name that dataloader knows.

    compared: the quantitative comparison can be made on it. outside: detection can hold it against another one.
    disentangling: train_disenib_<name>.py trains on it; quick: flags that make that run small, None if it needs a
    download. art: whose its pictures are, where this project has not drawn them.
    """

    name: str
    title: str
    compared: bool = False
    outside: bool = False
    disentangling: bool = False
    quick: str | None = None
    art: str = ""


METHODS = {method.name: method for method in (  # colours of Okabe and Ito, and of Tol, for the colour-blind too
    Method("vib", "VIB", "--model=vib --dataset={dataset} --lambda_kl=0.01", "#0072B2", "o",
           published={"mnist": MNIST["vib"]}),
    Method("nib", "NIB", "--model=nib --dataset={dataset} --lambda_kl=0.01", "#E69F00", "s",
           published={"mnist": MNIST["nib"]}),
    Method("squared-vib", "squared-VIB", "--model=vib --hfunc=pow --dataset={dataset} --lambda_kl=0.001", "#56B4E9",
           "^", published={"mnist": MNIST["squared-vib"]}),
    Method("squared-nib", "squared-NIB", "--model=nib --hfunc=pow --dataset={dataset} --lambda_kl=0.001", "#D55E00",
           "D", published={"mnist": MNIST["squared-nib"]}),
    Method("disenib", "DisenIB", "--dataset={dataset}", "#009E73", "*", script="train_disenib",
           quick="--steps=60 --est_thr=20", code="mean", published={"mnist": MNIST["disenib"]}),
    Method("plain", "plain network", "--model=plain --dataset={dataset}", "#000000", "X", code="mean", reference=True,
           about="the same layers without a bottleneck"),
    Method("plain-long", "plain for 213 epochs", "--model=plain --dataset={dataset} --epochs=213 --early_stop_trials=0",
           "#999933", "x", code="mean", reference=True, control=True,
           about="as often through the images as DisenIB's 20,000 steps"),
    Method("squared-nib-long", "squared-NIB for 213 epochs", "--model=nib --hfunc=pow --dataset={dataset} "
           "--lambda_kl=0.001 --epochs=213 --early_stop_trials=0", "#332288", "d", reference=True, control=True,
           about="as often, too"),
    Method("pgd-trained", "PGD-trained", "--model=plain --train_attack=pgd --dataset={dataset}", "#CC79A7", "P",
           code="mean", reference=True, adversarial=True,
           about="the plain network, on the images of an attack (Madry et al. 2018)"),
    Method("ceb", "CEB", "--model=ceb --dataset={dataset} --lambda_kl=0.1", "#882255", "v", reference=True,
           about="the conditional entropy bottleneck (Fischer 2020)"),
)}
PROPOSED = "disenib"  # the paper's own method, with which the disentangling runs are made

DATA_SETS = {data.name: data for data in (
    DataSet("mnist", "MNIST", compared=True, outside=True, disentangling=True),
    DataSet("fashion_mnist", "Fashion-MNIST", compared=True, outside=True),
    DataSet("digits", "scikit-learn's digits"),
    DataSet("shapes", "Shapes", disentangling=True,
            quick="--steps=60 --est_thr=20 --freq_step_eval=20 --data_source=rendered"),
    DataSet("sprites", "Sprites", disentangling=True,
            quick="--steps=40 --est_thr=15 --freq_step_eval=20 --data_source=rendered",
            art=" (art: Liberated Pixel Cup, CC BY-SA 3.0 / GPL 3.0)"),
)}
@dataclass(frozen=True)
class Ablation:
    """DisenIB with one thing changed. flags: of train_disenib.py, beside those of the data set and of the steps."""

    name: str
    title: str
    flags: str = ""


ABLATION_STEPS = 5000
ABLATIONS = {ablation.name: ablation for ablation in (
    Ablation("default", "nothing changed"),
    Ablation("lambda-est-0", "without the I(S;T) term", "--lambda_est=0"),
    Ablation("lambda-est-0.1", "its weight 0.1 in place of 0.5", "--lambda_est=0.1"),
    Ablation("lambda-est-2", "its weight 2", "--lambda_est=2"),
    Ablation("no-clustering", "without clustering", "--cluster=False"),
    Ablation("no-spectral-norm", "without spectral norm", "--spectral_norm=False"),
    Ablation("class-std-0.3", "std of T 0.3 in place of 1", "--class_std=0.3"),
    Ablation("class-std-3", "std of T 3", "--class_std=3"),
    Ablation("n-times-est-1", "1 estimator update a step in place of 3", "--n_times_est=1"),
    Ablation("n-times-est-10", "10 estimator updates a step", "--n_times_est=10"),
)}
HELD_OUT = (8, 9)  # the digits that a run of that kind never sees
PAPER_DATA = "mnist"  # of the paper's comparison
QUICK_DATA = "digits"  # in its place in the quick version: no download


def published_on(data: str) -> dict[str, dict]:
    """The paper's figures on a data set, by method."""
    return {name: method.published[data] for name, method in METHODS.items() if data in method.published}


def compared() -> list[str]:
    return [name for name, data in DATA_SETS.items() if data.compared]


def with_disentangling() -> list[str]:
    return [name for name, data in DATA_SETS.items() if data.disentangling]
