"""The tables of the paper from the runs on disk: as data, and as markdown, CSV and LaTeX made from that data."""

import csv
import io
import statistics
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from custom_pkg.terminal import flatten
from experiments.catalogue import ABLATIONS, DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on, with_disentangling
from experiments.run_table import ROWS as METRICS
from experiments.run_table import UNITS
from modellib.evaluations.out_of_distribution import SCORES
from modellib.evaluations.protocol import SPLITS
from modellib.evaluations.robustness import EPSILONS as SIZES
from reporting.claims import CHANCE, CODES, ONE_STEP, PROBES, claims
from reporting.collect import FinishedRun, of, sweeps
from reporting.grid import LAMBDA

EPSILONS = tuple(map(str, SIZES))  # as evaluation.json has them
ROWS = {  # as the paper lists them: name -> key of evaluation.json
    **{f"{name}, {split}": f"{split}/{key}" for name, key in (("I(X;T)", "mi_xt"), ("I(Y;T)", "mi_yt"))
       for split in SPLITS},
    **{f"accuracy {split}, %": f"{split}/accuracy" for split in SPLITS},
    **{f"FGSM {split}, ε = {epsilon}, %": f"{split}/fgsm/{epsilon}" for split in SPLITS for epsilon in EPSILONS},
    **{f"OOD {name}, %": f"ood/gauss/{key}" for name, key in (
        ("FPR at 95 % TPR", "fpr_at_95_tpr"), ("AUROC", "auroc"), ("AUPR In", "aupr_in"), ("AUPR Out", "aupr_out"),
        ("detection error", "detection_error"),
    )},
}
SETS = {"train": "training set", "test": "images that training never saw"}
OUTSIDE = {"gauss": "Gaussian noise", "uniform": "uniform noise"} | {
    name: data.title for name, data in DATA_SETS.items() if data.outside and name != PAPER_DATA
} | {"held_out": "held-out digits"}
LOWER_BOUND = "I(Y;T) at least"  # by the variational bound
BY_CODE = {  # of the test set
    "I(X;T)": "mi_xt", "I(Y;T)": "mi_yt", LOWER_BOUND: "mi_yt_lower_bound", "accuracy, %": "accuracy",
    METRICS["calibration_error"]: "calibration_error",
}
ABLATION_ROWS = {
    "I(X;T), test": "test/mi_xt_mean_code", "I(X;T) of sampled codes, test": "test/mi_xt",
    "I(Y;T), test": "test/mi_yt_mean_code",
    "accuracy test, %": "test/accuracy_mean_code", "accuracy of sampled codes, %": "test/accuracy",
    "FGSM test, ε = 0.3, %": "test/fgsm/0.3",
    **{f"worst case, ε = {epsilon}, %": f"robustness/worst_case/{epsilon}" for epsilon in ("0.1", "0.3")},
    "OOD FPR at 95 % TPR, %": "ood/gauss/fpr_at_95_tpr",
    **{METRICS[key]: f"test/{key}" for key in (
        "style_to_label_accuracy", "style_to_label_knn_accuracy", "style_to_label_mlp_accuracy",
        "style_to_label_chance",
    )},  # how independent S and T are
}
STYLE_ROW = METRICS["style_to_label_accuracy"]
ON_THE_WAY = {  # of the proposed method: heading -> rows of the table
    "accuracy test, %": ("accuracy test, %",),
    "I(X;T) train / test": ("I(X;T), train", "I(X;T), test"),
    "I(Y;T) train / test": ("I(Y;T), train", "I(Y;T), test"),
    "FGSM test, ε = 0.1 / 0.2 / 0.3, %": tuple(f"FGSM test, ε = {epsilon}, %" for epsilon in EPSILONS),
    "OOD FPR at 95 % TPR, %": ("OOD FPR at 95 % TPR, %",),
    "OOD detection error, %": ("OOD detection error, %",),
    STYLE_ROW: (STYLE_ROW,),
}
OVERVIEW = [METRICS[key] for key in (
    "accuracy_mean_code", "swap_mse", "reconstruction_mse", "class_mean_mse", "swap_psnr", "swap_recognised",
    "classifier_accuracy", "swap_shows_label", "swap_slant_correlation", "swap_thickness_correlation",
    "dci_codes_disentanglement", "dci_codes_completeness", "dci_disentanglement", "dci_completeness",
    "dci_informativeness", "style_to_label_accuracy", "style_to_label_knn_accuracy", "style_to_label_mlp_accuracy",
    "style_to_label_chance",
)]  # of the disentangling runs
SUMMARY = (  # of the comparison, in the project's README
    "I(X;T), test", "I(Y;T), test", "accuracy test, %", "FGSM test, ε = 0.3, %", "OOD FPR at 95 % TPR, %",
    "runs",
)
WORST_CASE, STDERR = "worst case", "its standard error over images"
SIGNS = {  # that gradients are only hidden: row -> how its keys begin below robustness/; the largest value counts
    **{f"no gradient of the {loss.replace('_', ' ')} in {precision}, %": f"signs/zero_gradient_{loss}_{precision}"
       for loss in ("cross_entropy", "margin") for precision in ("float32", "float64")},
    "broken by black box or transfer alone, %": "signs/black_box_only/",
    "lead of one step over PGD, %": "signs/many_steps_minus_one_step/",
    "right at the largest ε, %": "signs/curve_end",
}
BY_SCORE = {"mean": "scores", "sample": "scores of sampled codes"}  # code -> part of tables.json
RELATIONS = ("noise accepted and its std", "that std and the last epoch", "I(X;T) and the last epoch")  # of test images
LATE = 6000  # steps, by which the estimator's outputs have met at 0
ENOUGH = 5  # seeds, for an interval that says something
ABSENT = "not run"


class Table(NamedTuple):
    header: list[str]
    rows: list[list[str]]
    kind = "table"  # as the templates ask for it


def key_for(model: str, key: str) -> str:
    """The key of the published figure: some methods' informations and accuracies are those of the mean code."""
    of_mean = METHODS[model].code == "mean" and key.split("/")[-1] in ("mi_xt", "mi_yt", "accuracy")
    return f"{key}_mean_code" if of_mean else key


def is_off(values: Sequence[float], published: float) -> bool:
    """Whether a published figure, rounded to 0.01, cannot be one more run like ours.

    From ENOUGH seeds on: it lies outside their `prediction_interval`. Below, where that would be wider than anything:
    it is off by more than 3 of our standard deviations and 10 % of the published figure.
    """
    if len(values) >= ENOUGH:
        low, high = prediction_interval(values)
        return not low - 0.005 <= published <= high + 0.005
    std = statistics.stdev(values) if len(values) > 1 else 0
    return abs(statistics.mean(values) - published) > max(0.1 * abs(published), 3 * std)


def prediction_interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """Where one more draw from the normal distribution of these n falls with probability `share`.

    mean ± t · s · sqrt(1 + 1/n), t the (1 + share)/2 quantile of Student's distribution with n − 1 degrees of freedom
    (Hahn and Meeker 1991, "Statistical Intervals", section 4.7): the paper's single run is such a draw.
    """
    from scipy.stats import t  # a second, for this alone

    n, mean = len(values), statistics.mean(values)
    half = float(t.ppf((1 + share) / 2, n - 1)) * statistics.stdev(values) * (1 + 1 / n) ** 0.5
    return mean - half, mean + half


def over_seeds(values: dict[str, float], published: float | None = None, *, scale: float = 1) -> dict:
    """One figure: by seed, mean, sample standard deviation (None for one seed), and how it stands to the paper.

    scale: from the unit of evaluation.json to that of the table.
    """
    values = {seed: scale * value for seed, value in values.items()}
    mean = statistics.mean(values.values())
    std = statistics.stdev(values.values()) if len(values) > 1 else None
    figure = {"seeds": values, "mean": mean, "std": std}
    if published is not None:
        published *= scale
        figure |= {"published": published, "difference": mean - published}
        if len(values) >= ENOUGH:
            figure["interval"] = list(prediction_interval([*values.values()]))
        figure["off"] = is_off([*values.values()], published)
    return figure


def build(runs: Sequence[FinishedRun], label: str | None, datasets: Sequence[str]) -> dict:
    """The content of tables.json, in the units that the tables name. What was not run is not in it.

    runs: of `collect.read_runs`. label: what has to stand beside every figure, if anything.
    datasets: those of the quantitative comparison.
    """
    found = {
        "label": label,
        "quantitative": {data: _quantitative(of(runs, "quant", data), data) for data in datasets},
        "detection": _detection(runs),
        **{part: _scores(of(runs, "quant", PAPER_DATA), code) for code, part in BY_SCORE.items()},
        "codes": _codes(of(runs, "quant", PAPER_DATA)),
        "robustness": _robustness(of(runs, "quant", PAPER_DATA)),
        "signs": _signs(of(runs, "quant", PAPER_DATA)),
        "on the way": _on_the_way(of(runs, "quant", PAPER_DATA, PROPOSED)),
        "disentangling": {data: _disentangling(of(runs, "disentangling", data)) for data in with_disentangling()},
        "estimator": _estimator(of(runs, "quant", PAPER_DATA, PROPOSED)),
        "ablations": _ablations(of(runs, "ablations", PAPER_DATA)),
        "probes": _ablation(of(runs, "quant", PAPER_DATA, PROPOSED), [*PROBES, CHANCE]),
        "sweeps": {
            f"{data}/{name}{'' if swept == LAMBDA else f'/{swept}'}": [
                {"seed": run.seed, swept: run.value} | {split: point(run, split) for split in SPLITS}
                for run in points
            ]
            for (data, name, swept), points in sweeps(runs).items()
        },
        "relations": _relations(of(runs, "quant", PAPER_DATA)),
        "runs": [_record(run) for run in runs],
    }
    return found | {"claims": [] if label else claims(found, runs)}


def _quantitative(runs: Sequence[FinishedRun], data: str) -> dict[str, dict]:
    models = {}
    for model, method in METHODS.items():
        by_key = _by_key({run.seed: run.evaluation for run in runs if run.name == model})
        if method.reference and not by_key:
            continue
        models[model] = _figures(model, ROWS, by_key, flatten(method.published.get(data, {})))
        if by_key:
            models[model]["last epoch"] = {"seeds": by_key["epoch"]}
    return models


def _figures(model: str, rows: dict[str, str], by_key: dict, published: dict[str, float]) -> dict[str, dict]:
    """row -> figure, of those rows that there are."""
    found = {}
    for row, key in rows.items():
        key = key_for(model, key)
        if key in by_key:
            found[row] = over_seeds(by_key[key], published.get(key), scale=100 if row.endswith("%") else 1)
            ceilings = by_key.get(f"{key.split('/')[0]}/mi_xt_ceiling", {}) if row.startswith("I(X;T)") else {}
            if any(at_ceiling(by_key[key][seed], ceiling) for seed, ceiling in ceilings.items()):
                found[row]["at_ceiling"] = True
    return found


def at_ceiling(mi_xt: float, ceiling: float) -> bool:
    """Whether an estimate of I(X;T) has reached log N, the most that N images can show, within one percent."""
    return mi_xt >= 0.99 * ceiling


def _detection(runs: Sequence[FinishedRun]) -> dict:
    """method -> outside set -> code -> FPR at 95 % TPR, by ODIN, on the paper's data."""
    found: dict[str, dict] = {}
    for model in METHODS:
        for outside in OUTSIDE:
            kind = "held-out" if outside == "held_out" else "quant"
            for code in CODES:
                values = _measured(of(runs, kind, PAPER_DATA, model), f"ood/{outside}/fpr_at_95_tpr", code)
                if values:
                    found.setdefault(model, {}).setdefault(outside, {})[code] = over_seeds(values, scale=100)
    return found


def _measured(runs: Sequence[FinishedRun], key: str, code: str) -> dict[str, float]:
    """seed -> what evaluate.py has found with that code, or training at its end, where the code was its own."""
    found = {}
    for run in runs:
        method = METHODS.get(run.name, METHODS[PROPOSED])
        evaluation = (run.evaluation if code == method.code else {}) | run.others.get(method.evaluated(code), {})
        if key in evaluation:
            found[str(run.seed)] = evaluation[key]
    return found


def _scores(runs: Sequence[FinishedRun], code: str) -> dict:
    """method -> outside set -> score beside ODIN's -> FPR at 95 % TPR."""
    found: dict[str, dict] = {}
    for model in METHODS:
        of_model = [run for run in runs if run.name == model]
        for outside in OUTSIDE:
            for score in SCORES:
                values = _measured(of_model, f"ood/{outside}/fpr_at_95_tpr_by/{score}", code)
                if values:
                    found.setdefault(model, {}).setdefault(outside, {})[score] = over_seeds(values, scale=100)
    return found


def _estimator(runs: Sequence[FinishedRun]) -> dict[str, float]:
    """seed -> how far the density estimator's outputs lie from 0 at most, from step LATE on."""
    keys = ("train/output_real", "train/output_fake")
    late = {run.seed: [abs(line[key]) for line in run.metrics for key in keys if key in line and line["step"] >= LATE]
            for run in runs}
    return {str(seed): max(outputs) for seed, outputs in late.items() if outputs}


def _ablations(runs: Sequence[FinishedRun]) -> dict[str, dict]:
    """name -> row of ABLATION_ROWS -> figure."""
    found = {name: _ablation([run for run in runs if run.name == name], ABLATION_ROWS) for name in ABLATIONS}
    return {name: figures for name, figures in found.items() if figures}


def _ablation(runs: Sequence[FinishedRun], rows: Iterable[str]) -> dict[str, dict]:
    """row of ABLATION_ROWS -> figure, of runs of DisenIB."""
    measured = {row: _measured(runs, ABLATION_ROWS[row], METHODS[PROPOSED].code) for row in rows}
    scales = {row: 100 if row.endswith("%") else 1 for row in rows}
    return {row: over_seeds(values, scale=scales[row]) for row, values in measured.items() if values}


def _codes(runs: Sequence[FinishedRun]) -> dict:
    """method -> code -> row of BY_CODE -> figure on the test set: the same question of sampled and of mean codes."""
    found: dict[str, dict] = {}
    for model, method in METHODS.items():
        files = [method.evaluated(code) for code in CODES]  # the other code's informations, where evaluate.py has been
        measured = {
            run.seed: {key: value for file in files for key, value in run.others.get(file, {}).items()} | run.evaluation
            for run in runs if run.name == model
        }
        for code, suffix in zip(CODES, ("", "_mean_code"), strict=True):
            for row, key in BY_CODE.items():
                values = {
                    str(seed): each[f"test/{key}{suffix}"] for seed, each in measured.items()
                    if f"test/{key}{suffix}" in each
                }
                if values:
                    figure = over_seeds(values, scale=100 if row.endswith("%") else 1)
                    found.setdefault(model, {}).setdefault(code, {})[row] = figure
    return found


def _attacked(runs: Sequence[FinishedRun]) -> Iterator[tuple[str, str, dict[int, dict[str, float]]]]:
    """(method, code, seed -> what evaluate.py has measured), of those runs that it has attacked."""
    for model, method in METHODS.items():
        for code in CODES:
            file = method.evaluated(code)
            measured = {
                run.seed: run.others[file] for run in runs
                if run.name == model and "robustness/n_images" in run.others.get(file, {})
            }
            if measured:
                yield model, code, measured


def _robustness(runs: Sequence[FinishedRun]) -> dict:
    """method -> code -> "worst case", its standard error over the images, or an attack -> epsilon -> figure."""
    found: dict[str, dict] = {}
    for model, code, measured in _attacked(runs):
        for key, values in _by_key(measured).items():
            match key.split("/"):
                case ["robustness", "worst_case", epsilon]:
                    attack = WORST_CASE
                case ["robustness", "worst_case_stderr", epsilon]:
                    attack = STDERR
                case ["robustness", "by_attack", attack, epsilon]:
                    attack = attack.replace("_", " ")
                case _:
                    continue
            figures = found.setdefault(model, {}).setdefault(code, {}).setdefault(attack, {})
            figures[epsilon] = over_seeds(values, scale=100)
    return found


def _signs(runs: Sequence[FinishedRun]) -> dict:
    """method -> code -> row of SIGNS -> figure."""
    found: dict[str, dict] = {}
    for model, code, measured in _attacked(runs):
        for row, start in SIGNS.items():
            values = {
                str(seed): max(shares) for seed, evaluation in measured.items()
                if (shares := [share for key, share in evaluation.items() if key.startswith(f"robustness/{start}")])
            }
            if values:
                values = {seed: max(share, 0.0) for seed, share in values.items()}  # below 0 PGD leads, as it should
                found.setdefault(model, {}).setdefault(code, {})[row] = over_seeds(values, scale=100)
    return found


def _on_the_way(runs: Sequence[FinishedRun]) -> dict[str, dict]:
    """The proposed method at every step at which all its runs were evaluated: step -> row -> figure."""
    by_step: dict[int, dict[int, dict]] = {}
    for run in runs:
        on_its_way = [evaluation for name, evaluation in run.others.items() if name.startswith("step")]
        for evaluation in (*on_its_way, run.evaluation):
            by_step.setdefault(int(evaluation["step"]), {})[run.seed] = evaluation
    rows = {**ROWS, STYLE_ROW: "test/style_to_label_accuracy"}
    sampled = "I(X;T) of sampled codes, test"
    return {
        str(step): _figures(PROPOSED, rows, by_key := _by_key(by_step[step]), {})
        | ({sampled: over_seeds(by_key[ABLATION_ROWS[sampled]])} if ABLATION_ROWS[sampled] in by_key else {})
        for step in sorted(by_step) if len(by_step[step]) == len(runs)
    }


def _disentangling(runs: Sequence[FinishedRun]) -> dict[str, dict]:
    """set -> the name of a number -> the figure, and how many digits it is shown with."""
    found: dict[str, dict] = {}
    for name in dict.fromkeys(run.name for run in runs):
        # evaluate.py may have measured more, later.
        measured = {run.seed: run.evaluation | run.others.get("last", {}) | run.evaluation for run in runs
                    if run.name == name}
        figures = _by_key(measured)
        for key, values in figures.items():
            split, _, metric = key.partition("/")
            if metric.startswith("style_to_label") and split == "train" and f"test/{metric}" in figures:
                continue  # what S tells of the label is told of images that training never saw, where there are any
            metric, _, factor = metric.partition("/")
            if metric in METRICS:
                row = METRICS[metric].format(factor)
                scale, digits = UNITS[row.rsplit(", ", 1)[1]]
                column = split if name == PROPOSED else f"{split}, {name}"
                found.setdefault(column, {})[row] = over_seeds(values, scale=scale) | {"digits": digits}
    return found


def _by_key(by_seed: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """seed -> key -> value turned into key -> seed -> value; only keys that all the seeds have."""
    evaluations = list(by_seed.values())
    keys = [key for key in evaluations[0] if all(key in other for other in evaluations)] if by_seed else []
    return {key: {str(seed): evaluation[key] for seed, evaluation in by_seed.items()} for key in keys}


def point(run: FinishedRun, split: str) -> list[float]:
    """Where a run lies in the information plane: I(X;T), I(Y;T), of a sweep those of sampled codes."""
    keys = [f"{split}/{key}" for key in ("mi_xt", "mi_yt")]
    return [run.evaluation[key_for(run.name, key) if run.kind == "quant" else key] for key in keys]


def noise_point(run: FinishedRun) -> list[float] | None:
    """The mean std that the encoder gives to images of noise, and their false positive rate in percent; sampled codes.

    None where they were not measured.
    """
    measured = run.evaluation | run.others.get(METHODS[run.name].evaluated("sample"), {})
    keys = ("ood/gauss/encoder_std", "ood/gauss/fpr_at_95_tpr")
    return [measured[keys[0]], 100 * measured[keys[1]]] if keys[0] in measured else None


def _relations(runs: Sequence[FinishedRun]) -> dict[str, dict[str, float]]:
    """method -> row of RELATIONS -> Spearman's rank correlation over its runs, where there are ENOUGH of them."""
    from scipy.stats import rankdata  # a second, for this alone

    found: dict[str, dict[str, float]] = {}
    for model in METHODS:
        of_model = [run for run in runs if run.name == model]
        noise = [(*place, run.evaluation["epoch"]) for run in of_model if (place := noise_point(run))]
        nats = [(run.evaluation["epoch"], run.evaluation[key]) for run in of_model
                if (key := "test/mi_xt") in run.evaluation]
        for row, pairs in zip(RELATIONS, (
            [(std, rate) for std, rate, _ in noise], [(std, epoch) for std, _, epoch in noise], nats,
        ), strict=True):
            left, right = np.array(pairs).T if pairs else ((), ())
            if len(pairs) >= ENOUGH and min(len(set(left)), len(set(right))) > 1:
                found.setdefault(model, {})[row] = float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])
    return found


def _record(run: FinishedRun) -> dict:
    config = run.config
    begun_and_gone_on = [config, *config.get("sessions", [])]
    command = next(one["command"] for one in reversed(begun_and_gone_on) if one is config or "longer" in one)
    return {
        "where": run.where, "command": command.replace(" --resume", ""), "epoch": run.evaluation["epoch"],
        "step": run.evaluation["step"], "seconds": run.times or None, "data": config["data"]["source"],
        "precision": config["options"].get("precision", "fp32"), "machine": config["machine"],
        "versions": config["versions"], "code": config["code"],
    }


def cell(figure: dict | None, *, digits: int = 2, absent: str = ABSENT) -> str:
    """mean ± std (paper), with a dagger where it is off; of one seed there is no std."""
    if figure is None:
        return absent
    text = f"{figure['mean']:.{digits}f}"
    if figure["std"] is not None:
        text += f" ± {figure['std']:.{digits}f}"
    if "published" in figure:
        text += f" ({figure['published']:.2f})"
    if figure.get("at_ceiling"):
        text += " ‡"
    return f"{text} †" if figure.get("off") else text


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(r)} |" for r in rows)])


def off_by(figures: Sequence[dict]) -> str:
    """What the dagger says, of those figures that have a published one beside them."""
    n_seeds = [len(figure["seeds"]) for figure in figures if "published" in figure]
    rules = (
        (any(n >= ENOUGH for n in n_seeds),
         f"lies outside the 95 % prediction interval for one more run (from {ENOUGH} seeds on)"),
        (any(n < ENOUGH for n in n_seeds),
         "is off by more than 3 of our standard deviations and by more than 10 % of the published figure (of fewer "
         f"than {ENOUGH} seeds; a rule of thumb, which passes over small differences)"),
    )
    return ", or ".join(words for applies, words in rules if applies)


def reading(tables: dict, data: str) -> str:
    """How the table of the comparison is to be read; says nothing of what is not in it."""
    by_model = tables["quantitative"][data].values()
    figures = [figure for by_row in by_model for figure in by_row.values() if "mean" in figure]
    published = any("published" in figure for figure in figures)
    sentences = [
        "Mean ± sample standard deviation over the seeds" if any(figure["std"] is not None for figure in figures)
        else "Figures of a single seed", " and, in brackets, the paper's figure" if published else "",
        ". As published, the metrics" if published else ". The metrics", " are those of the last epoch, on sampled "
        "codes for VIB and NIB and on the mean code for DisenIB. Information is in nats.",
        f" {'† marks what' if any(figure.get('off') for figure in figures) else 'Nothing'} {off_by(figures)}."
        if published else "",
        " ‡ has reached log N, the most that N images can show: the true I(X;T) may be larger."
        if any(figure.get("at_ceiling") for figure in figures) else "",
        " What has not been run says so." if not all(by_model) else "",
    ]
    return "".join(sentences)


def comparison(tables: dict, data: str, *, absent_too: bool = True, references: bool = True) -> Table:
    """The paper's table: a column per model, with those that were not run, and that are not the paper's, or not."""
    columns = {
        model: figures for model, figures in tables["quantitative"][data].items()
        if (figures or absent_too) and (references or not METHODS[model].reference)
    }
    several = any(len(figures["last epoch"]["seeds"]) > 1 for figures in columns.values() if figures)
    corner = f"ours{' ± std' if several else ''}{' (paper)' if published_on(data) else ''}"
    rows = [[row, *(cell(f.get(row), absent="–" if f else ABSENT) for f in columns.values())] for row in ROWS]
    ends = [list(f["last epoch"]["seeds"].values()) if f else [] for f in columns.values()]
    rows.append(["runs", *(str(len(epochs)) if epochs else ABSENT for epochs in ends)])
    rows.append(["last epoch, per run", *(_several(epochs) if epochs else ABSENT for epochs in ends)])
    return Table([corner, *(METHODS[model].title for model in columns)], rows)


def _several(numbers: Sequence[int]) -> str:
    """Each of a few, and of many the range."""
    return ", ".join(map(str, numbers)) if len(numbers) <= 3 else f"{min(numbers)} to {max(numbers)}"


def one_model(tables: dict, data: str, model: str) -> Table | None:
    """All about one model: mean and std, the published figure, the difference, and every seed; None if not run."""
    figures = tables["quantitative"][data][model]
    if not figures:
        return None
    seeds = list(figures["last epoch"]["seeds"])
    several, published = len(seeds) > 1, data in METHODS[model].published
    rows = []
    for row in ROWS:
        if row not in figures:
            continue
        figure = dict(figures[row])
        paper = figure.pop("published", None)
        columns = [f"{paper:.2f}", f"{figure['difference']:+.2f}"] if paper is not None else []
        if several and columns:  # a std that rounds to 0 is no unit to measure in
            columns.append(f"{figure['difference'] / figure['std']:+.1f}" if figure["std"] >= 0.005 else "–")
        rows.append([row, cell(figure), *columns, *(f"{value:.2f}" for value in figure["seeds"].values() if several)])
    paper = ["paper", "difference", *(["in our stds"] if several else [])] if published else []
    each = [f"seed {seed}" for seed in seeds] if several else []
    return Table([METHODS[model].title, "ours ± std" if several else f"seed {seeds[0]}", *paper, *each], rows)


def detection(tables: dict) -> Table:
    """False positive rates at 95 % TPR, of sampled codes and of mean codes, against three outside sets."""
    rows = []
    measured = [outside for outside in OUTSIDE if any(outside in found for found in tables["detection"].values())]
    for model, found in tables["detection"].items():
        rows.append([METHODS[model].title, *(
            cell(found.get(outside, {}).get(code), digits=1, absent=_absent(model, code))
            for outside in measured for code in CODES
        )])
    columns = [f"{OUTSIDE[outside]}, {code}" for outside in measured for code in CODES]
    return Table(["FPR at 95 % TPR, %", *columns], rows)


def scores(tables: dict, outsides: Collection[str] = tuple(OUTSIDE), code: str = "mean") -> Table | None:
    """False positive rates at 95 % TPR by other scores than ODIN's, of one kind of code; None if not measured."""
    rows = [
        [f"{METHODS[model].title}, {OUTSIDE[outside]}", cell(tables["detection"][model][outside][code], digits=1),
         *(cell(by_score.get(score), digits=1, absent="–") for score in SCORES)]
        for model, found in tables[BY_SCORE[code]].items() for outside, by_score in found.items() if outside in outsides
    ]
    return Table(["FPR at 95 % TPR, %", "ODIN", *(score.replace("_", " ") for score in SCORES)], rows) if rows else None


def codes(tables: dict) -> Table:
    """The same question of sampled and of mean codes of the test images, of every method."""
    rows = [
        [METHODS[model].title, *(
            cell(found.get(code, {}).get(row), absent=_absent(model, code, row)) for row in BY_CODE for code in CODES
        )]
        for model, found in tables["codes"].items()
    ]
    return Table(["test set", *(f"{row}; {code}" for row in BY_CODE for code in CODES)], rows)


def _absent(model: str, code: str, row: str = "") -> str:
    """What stands where a figure of a method's code is missing: – where there can be none."""
    codes = METHODS[model].codes
    return "–" if code not in codes or (row == "I(X;T)" and len(codes) == 1) else ABSENT


def ablations(tables: dict) -> Table:
    """DisenIB with one thing changed, a row each; those that were run."""
    return Table(["DisenIB", *ABLATION_ROWS], [
        [ABLATIONS[name].title, *(cell(figures.get(row)) for row in ABLATION_ROWS)]
        for name, figures in tables["ablations"].items()
    ])


def robustness(tables: dict) -> Table:
    """Robust accuracy of all images: the worst case over all attacks, then each attack alone."""
    columns = _by_method_and_code(tables["robustness"])
    rows = [
        [f"{attack}, ε = {epsilon}", *(
            cell(each.get(attack, {}).get(epsilon), digits=1, absent=ABSENT if attack in each else "–")
            for each in columns.values()
        )]
        for attack in dict.fromkeys((
            WORST_CASE, STDERR, *(attack for attacks in columns.values() for attack in attacks)
        ))
        for epsilon in EPSILONS
    ]
    return Table(["robust accuracy, %", *columns], rows)


def worst_cases(tables: dict) -> Table:
    """What is left of all images in the worst case, and of one step along the gradient, a row a method."""
    columns = {f"one step, ε = {EPSILONS[-1]}": ("mean", ONE_STEP, EPSILONS[-1])}
    columns |= {f"worst case, ε = {epsilon}{of_code}": (code, WORST_CASE, epsilon)
                for code, of_code in (("mean", ""), ("sample", "; sample")) for epsilon in EPSILONS}
    return Table(["right, % of all; mean", *columns], [
        [METHODS[model].title, *(
            cell(by_code.get(code, {}).get(attack, {}).get(epsilon), digits=1, absent=_absent(model, code))
            for code, attack, epsilon in columns.values()
        )]
        for model, by_code in tables["robustness"].items()
    ])


def signs(tables: dict) -> Table:
    """Signs that gradients are only hidden; where nothing is hidden all are 0."""
    columns = _by_method_and_code(tables["signs"])
    return Table(["share of the images", *columns], [
        [row, *(cell(each.get(row), digits=1) for each in columns.values())] for row in SIGNS
    ])


def _by_method_and_code(found: dict[str, dict]) -> dict[str, dict]:
    """The columns of a table of attacks."""
    return {
        f"{METHODS[model].title}, {code}": figures
        for model, by_code in found.items() for code, figures in by_code.items()
    }


def on_the_way(tables: dict) -> Table:
    """The proposed method at the steps at which it was evaluated, and the paper's figures of the last one."""
    published = tables["quantitative"][PAPER_DATA][PROPOSED]
    rows = [
        [f"{int(step):,}", *(" / ".join(cell(figures.get(row)) for row in names) for names in ON_THE_WAY.values())]
        for step, figures in tables["on the way"].items()
    ]
    paper = {row: f"{figure['published']:.2f}" for row, figure in published.items() if "published" in figure}
    rows.append(["paper", *(" / ".join(paper.get(row, "–") for row in names) for names in ON_THE_WAY.values())])
    return Table(["step", *ON_THE_WAY], rows)


def disentangling(tables: dict, data: str) -> Table | None:
    """Our numbers on one data set, for which the paper has pictures only; None if not run."""
    by_split = tables["disentangling"][data]
    if not by_split:
        return None
    rows = dict.fromkeys(row for figures in by_split.values() for row in figures)
    return _side_by_side(DATA_SETS[data].title, {_set(split): figures for split, figures in by_split.items()}, rows)


def disentangling_overview(tables: dict) -> Table:
    """What matters most of the disentangling runs, a column per data set and split; without those that were not run."""
    return _side_by_side("ours", {
        f"{DATA_SETS[data].title}, {_set(split, train='training', test='unseen')}": figures
        for data, by_split in tables["disentangling"].items() for split, figures in by_split.items()
    }, OVERVIEW)


def _set(split: str, **names: str) -> str:
    """The title of a column: which images, and of a run of one's own its description too."""
    which, _, name = split.partition(", ")
    return f"{name}, {(names or SETS)[which]}" if name else (names or SETS)[which]


def _side_by_side(corner: str, columns: dict[str, dict], rows: Iterable[str]) -> Table:
    """Those of the rows that a column has, – where another one lacks it."""
    return Table([corner, *columns], [
        [row, *(cell(figures[row], digits=figures[row]["digits"]) if row in figures else "–"
                for figures in columns.values())]
        for row in rows if any(row in figures for figures in columns.values())
    ])


def claims_table(tables: dict) -> Table:
    """The paper's claims with their verdicts, one line each."""
    return Table(["claim", "here"], [
        [f"{number}. {claim['claim']}", f"**{claim['verdict']}** {claim['because']}"]
        for number, claim in enumerate(tables["claims"], 1)
    ])


def runs_table(tables: dict) -> Table:
    rows = []
    for run in tables["runs"]:
        machine = run["machine"]
        times = [duration((run["seconds"] or {}).get(name)) for name in ("training", "evaluation")]
        rows.append([
            run["where"], f"{run['epoch']} / {run['step']}", *times,
            run["precision"], f"{machine['device']}, {machine['threads']} of {machine['cores']} threads", run["data"],
            run["code"],
        ])
    return Table(["run", "epoch / step", "training", "evaluation", "precision", "on", "images", "code"], rows)


def duration(seconds: float | None) -> str:
    """1 h 02 min, 3 min 05 s, 40 s."""
    if seconds is None:
        return "not recorded"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def to_csv(tables: dict) -> str:
    """A line a figure, in the units that the names of the metrics end with."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["label", "data", "model", "metric", "mean", "std", "published", "difference", "n_seeds", "seeds"])
    for data, model, row, figure in _figures_of(tables):
        numbers = [figure.get(name) for name in ("mean", "std", "published", "difference")]
        seeds = figure.get("seeds", {})
        writer.writerow([
            tables["label"], data, model, row, *("" if number is None else f"{number:.6g}" for number in numbers),
            len(seeds), " ".join(seeds) or ABSENT,
        ])
    return buffer.getvalue()


def _figures_of(tables: dict) -> Iterator[tuple[str, str, str, dict]]:
    """(data, model, metric, figure) of all tables; the figure is empty where a run of the comparison is absent."""
    named = lambda run: f"{PROPOSED}, {run}" if run in ABLATIONS else run  # noqa: E731
    for data, models in tables["quantitative"].items():
        for model, of_model in models.items():
            yield from ((data, model, row, of_model.get(row, {})) for row in ROWS)
    fpr = "OOD FPR at 95 % TPR"
    for model, found in tables["detection"].items():
        for outside, by_code in found.items():
            for code, figure in by_code.items():
                yield PAPER_DATA, model, f"{fpr}, {OUTSIDE[outside]}, {code} code, %", figure
    for code, part in BY_SCORE.items():
        for model, found in tables[part].items():
            for outside, by_score in found.items():
                for score, figure in by_score.items():
                    by = f"by {score.replace('_', ' ')}{', sample code' * (code == 'sample')}"
                    yield PAPER_DATA, model, f"{fpr}, {OUTSIDE[outside]}, {by}, %", figure
    for name in ("codes", "signs"):
        for model, found in tables[name].items():
            for code, of_code in found.items():
                for row, figure in of_code.items():
                    quantity, percent = row.removesuffix(", %"), ", %" if row.endswith(", %") else ""
                    yield PAPER_DATA, named(model), f"{quantity}, test, {code} code{percent}", figure
    for model, found in tables["robustness"].items():
        for code, attacks in found.items():
            for attack, by_epsilon in attacks.items():
                for epsilon, figure in by_epsilon.items():
                    yield PAPER_DATA, named(model), f"robust accuracy, {attack}, ε = {epsilon}, {code} code, %", figure
    for name, of_run in {**tables["ablations"], PROPOSED: tables["probes"]}.items():
        yield from ((PAPER_DATA, named(name), row, figure) for row, figure in of_run.items())
    for data, by_split in tables["disentangling"].items():
        for split, of_split in by_split.items():
            which, _, name = split.partition(", ")
            for row, figure in of_split.items():
                yield data, name or PROPOSED, f"{row}; {SETS[which]}", figure


def to_latex(tables: dict) -> str:
    """A booktabs table per data set of the comparison, and one of the disentangling runs each."""
    parts, label = ["% \\usepackage{booktabs}"], f" ({tables['label']})" if tables["label"] else ""
    title = lambda data: DATA_SETS[data].title  # noqa: E731
    for data in tables["quantitative"]:
        parts.append(_latex(*comparison(tables, data), f"Results on {title(data)}, mean ± std over seeds{label}."))
    if tables["detection"]:
        caption = f"Detection with sampled and with mean codes on {title(PAPER_DATA)}{label}."
        parts.append(_latex(*detection(tables), caption))
    for data in tables["disentangling"]:
        if table := disentangling(tables, data):
            parts.append(_latex(*table, f"Disentangling of {title(data)}{label}."))
    return "\n\n".join(parts) + "\n"


_IN_LATEX = {
    "%": r"\%", "±": r"$\pm$", " †": r"$^\dagger$", " ‡": r"$^\ddagger$", "ε": r"$\varepsilon$", "–": "--",
    "I(X;T)": "$I(X;T)$", "I(Y;T)": "$I(Y;T)$", "I(X;S)": "$I(X;S)$",
}


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    def tex(text: str) -> str:
        for plain, command in _IN_LATEX.items():
            text = text.replace(plain, command)
        return text

    def line(cells: Sequence[str]) -> str:
        return tex(" & ".join(cells)) + r" \\"

    columns = "l" + "r" * (len(header) - 1)
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{tex(caption)}}}", rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule", line(header), r"\midrule", *map(line, rows), r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ])


def with_tables(text: str, tables: dict) -> str:
    """A text with the present tables between those marks that it has."""
    header, rows = comparison(tables, PAPER_DATA, absent_too=False, references=False)
    summary = Table(header, [row for row in rows if row[0] in SUMMARY])
    for name, table in (("summary", summary), ("claims", claims_table(tables))):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{markdown(*table)}\n{end}{rest.split(end)[1]}"
    return text
