"""The results table of the README, made from the evaluation.json files in this folder.

    python results/table.py            prints it
    python results/table.py --write    puts it into README.md, between its two marks
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
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
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


def runs_of(model: str) -> list[dict[str, float]]:
    """The flat evaluations of all seeds of a model."""
    paths = sorted((RESULTS / "quant/mnist" / model).glob("seed*/evaluation.json"))
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


def with_table(readme: str) -> str:
    """The README with the present table between its marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if "--collect" in sys.argv:
        collect()
    if "--write" in sys.argv:
        readme = ROOT / "README.md"
        readme.write_text(with_table(readme.read_text()))
    print(table())
