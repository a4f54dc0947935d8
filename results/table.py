"""The results tables of the README, made from the evaluation files in this folder.

    python results/table.py            prints them
    python results/table.py --write    puts them into README.md, each between its two marks
    python results/table.py --collect  first copies the small files of finished runs out of STORAGE/experiments

A cell is the mean ± sample standard deviation over the seeds, with the published figure in brackets. A dagger marks
what is off by more than 3 of our standard deviations or 10 % of the published figure, whichever is larger.
"""

import json
import math
import shutil
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from custom_pkg.tables import flatten  # noqa: E402
from modellib.published import MNIST  # noqa: E402

RESULTS = ROOT / "results"
MODELS = {"VIB": "vib", "NIB": "nib", "squared-VIB": "squared-vib", "squared-NIB": "squared-nib"}
KEPT = ("config.json", "evaluation.json", "evaluation-last.json", "evaluation-last-mean-code.json", "metrics.jsonl")
ROWS = {
    **{f"{name}, {split}": f"{split}/{key}" for name, key in (("I(X;T)", "mi_xt"), ("I(Y;T)", "mi_yt"))
       for split in ("train", "test")},
    **{f"accuracy {split}, %": f"{split}/accuracy" for split in ("train", "test")},
    **{f"FGSM {split}, ε = {e}, %": f"{split}/fgsm/{e}" for split in ("train", "test") for e in ("0.1", "0.2", "0.3")},
    **{f"OOD {name}, %": f"ood/gauss/{key}" for name, key in (
        ("FPR at 95 % TPR", "fpr_at_95_tpr"), ("AUROC", "auroc"), ("AUPR In", "aupr_in"), ("AUPR Out", "aupr_out"),
        ("detection error", "detection_error"),
    )},
}  # fmt: skip


def collect() -> None:
    """Copy the small files of every finished run, at the same place below results/."""
    experiments = ROOT / "STORAGE" / "experiments"
    for evaluation in experiments.glob("**/evaluation.json"):
        target = RESULTS / evaluation.parent.relative_to(experiments)
        target.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            if (evaluation.parent / name).exists():
                shutil.copyfile(evaluation.parent / name, target / name)


def runs_of(model: str, file: str = "evaluation.json") -> list[dict[str, float]]:
    """The flat evaluations of all seeds of a model."""
    paths = sorted((RESULTS / "quant/mnist" / model).glob(f"seed*/{file}"))
    return [flatten(json.loads(path.read_text())) for path in paths]


def is_off(mean: float, std: float, published: float) -> bool:
    return abs(mean - published) > max(0.1 * abs(published), 3 * std)  # a std that is not known, NaN, does not count


def cell(runs: list[dict[str, float]], key: str, published: float, scale: float) -> str:
    """One figure over the seeds; a run that is absent shows as absent."""
    if not runs:
        return "absent"
    values = [scale * run[key] for run in runs]
    mean, std = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan
    dagger = " †" if is_off(mean, std, scale * published) else ""
    return f"{mean:.2f} ± {std:.2f} ({scale * published:.2f}){dagger}"


def table() -> str:
    """The table in markdown."""
    runs = {model: runs_of(model) for model in MODELS.values()}
    lines = ["| ours ± std (paper) | " + " | ".join(MODELS) + " |", "|---" * (len(MODELS) + 1) + "|"]
    for name, key in ROWS.items():
        scale = 100 if name.endswith("%") else 1
        cells = [cell(runs[model], key, flatten(MNIST[model])[key], scale) for model in MODELS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    epochs = [", ".join(str(run["epoch"]) for run in runs[model]) or "absent" for model in MODELS.values()]
    lines.append(f"| last epoch, per seed | {' | '.join(epochs)} |")
    return "\n".join(lines)


def detection_table() -> str:
    """False positive rates at 95 % TPR, of sampled codes and of mean codes, against three outside sets."""
    outside = {"gauss": "Gaussian noise", "uniform": "uniform noise", "fashion_mnist": "Fashion-MNIST"}
    columns = [f"{name}, {code}" for name in outside.values() for code in ("sample", "mean")]
    lines = [f"| FPR at 95 % TPR, % | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, model in MODELS.items():
        cells = []
        for key in outside:
            for file in ("evaluation-last.json", "evaluation-last-mean-code.json"):
                values = [100 * run[f"ood/{key}/fpr_at_95_tpr"] for run in runs_of(model, file)]
                enough = len(values) > 1
                cells.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if enough else "absent")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_tables(readme: str) -> str:
    """The README with the present tables between their marks."""
    for name, content in (("results", table()), ("detection", detection_table())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = readme.split(begin)
        readme = f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
    return readme


if __name__ == "__main__":
    if "--collect" in sys.argv:
        collect()
    if "--write" in sys.argv:
        readme = ROOT / "README.md"
        readme.write_text(with_tables(readme.read_text()))
    print(f"{table()}\n\n{detection_table()}")
