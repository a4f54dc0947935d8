"""The figures of the report. The same runs give the same bytes."""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import LogNorm  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

from custom_pkg.terminal import flatten  # noqa: E402
from experiments.catalogue import DATA_SETS, METHODS, PROPOSED, published_on  # noqa: E402
from reporting.collect import FinishedRun, of, sweeps, title_of_curve  # noqa: E402
from reporting.drawing import Drawing, as_drawing  # noqa: E402
from reporting.grid import LAMBDA  # noqa: E402
from reporting.tables import EPSILONS, OUTSIDE, SPLITS, at_ceiling, key_for, noise_point, point  # noqa: E402

BOUND = "mi_yt_lower_bound"
SET_NAMES = {"train": "training set", "test": "test set"}


class Figure(NamedTuple):
    """A picture of the report. text: what it shows, for captions and for those who do not see it.

    drawing: the same as lines and text, if it is a drawing; without it, path is a captioned picture, and aspect the
    height by the width of what lies below the caption.
    """

    title: str
    path: Path
    text: str
    drawing: Drawing | None = None
    aspect: float = 1
    kind = "figure"  # as the templates ask for it


def draw_all(runs: Sequence[FinishedRun], datasets: Sequence[str], folder: Path, label: str | None) -> list[Figure]:
    """Draw what the runs allow into `folder`. label: what has to stand in every picture, if anything."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []

    def add(name: str, title: str, text: str, draw: Callable, *arguments) -> None:
        with plt.rc_context({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3,
                             "axes.spines.top": False, "axes.spines.right": False}):
            figure = draw(*arguments)
            heading = f"{title}: {label}" if label else title
            figure.suptitle(heading, fontweight="bold")
            figure.canvas.draw()
            figure.set_layout_engine("none")  # which would be found anew for every file
            figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight", metadata={"Software": None})
            drawing = as_drawing(figure, f"{name}-")
            plt.close(figure)
        figures.append(Figure(title, folder / f"{name}.png", text, drawing))

    for data in datasets:
        quant = of(runs, "quant", data)
        if not quant:
            continue
        end, on = ("" if data == datasets[0] else f"-{data}"), DATA_SETS[data].title
        papers = published_on(data)
        paper = " Hollow marks are the paper's." if papers else ""
        lying = [run for run in quant if key_for(run.name, "train/mi_xt") in run.evaluation]
        lacking = list(dict.fromkeys(METHODS[run.name].title for run in quant if run not in lying))
        if lying:
            add(
                f"information-plane{end}", f"Information plane, {on}",
                "I(X;T) against I(Y;T), one mark a run (of DisenIB: of the mean code, as published)." + paper +
                " All of the information about the label and nothing else lies where the line I(Y;T) = I(X;T) meets "
                "H(Y); nothing can lie in the grey."
                + (f" Codes without noise have no place in it: {', '.join(lacking)}." if lacking else ""),
                information_plane, lying, data,
            )
        under_fgsm = [
            run for run in quant
            if all(f"{split}/fgsm/{epsilon}" in run.evaluation for split in SPLITS for epsilon in EPSILONS)
        ]
        if under_fgsm:
            add(
                f"robustness{end}", f"Adversarial robustness, {on}",
                "Share of the images classified correctly at first that stay correct under FGSM of size ε, mean and "
                "standard deviation over seeds (none where there is one seed)."
                + (" Dashed: the paper." if papers else ""),
                robustness, under_fgsm, data,
            )
        met = [run for run in quant if "robustness/clean_accuracy" in _of_mean_code(run)]
        if met:
            add(
                f"worst-case{end}", f"Robustness in the worst case over many attacks, {on}",
                "Mean codes; share of all attacked test images that are classified correctly, mean and standard "
                "deviation over seeds (none where there is one seed). Left: dashed, under one step along the gradient "
                "of the margin (FGSM); solid, under the worst of all attacks for each image. Right: under APGD on the "
                "margin in 20 steps, for ε up to where nothing is hidden any more: no network can be robust there.",
                worst_case, met,
            )
        with_curves = [run for run in quant if "gauss" in run.curves]
        if with_curves:
            lacking = [run.where for run in quant if run not in with_curves]
            add(
                f"detection{end}", f"Detection of Gaussian noise with ODIN, {on}",
                "Left: ROC of every run. Right: the scores of the test set and of the noise, each on a scale of its "
                "own, of one run a model (the median by AUROC); where they overlap, they cannot be told apart. Of "
                "sampled codes, but of DisenIB's mean code, as published."
                + (f" No curves were kept of {', '.join(lacking)}." if lacking else ""),
                detection, with_curves,
            )
        sampled = [run for run in quant if METHODS[run.name].code == "sample"]
        noisy = {run.where: point for run in sampled if (point := noise_point(run))}
        if len(noisy) > 2:  # fewer show no relation
            add(
                f"detection-and-noise{end}", f"Detection of noise and the noise of codes, {on}",
                "One mark is one run; codes are sampled. Upwards the rate at which images of Gaussian noise are "
                "accepted, to the right the mean std that the encoder gives to them. NIB and squared-NIB have one std "
                "for all images. The others choose it image by image, and no loss sees it of noise. DisenIB's is 1."
                + (" Dashed: the paper's single runs." if papers else ""),
                detection_and_noise, [run for run in quant if run.where in noisy], noisy, data,
            )
        lagrangian = [run for run in quant if METHODS[run.name].script == "train_lagrangian" and run.metrics]
        if lagrangian:
            add(
                f"training-lagrangian{end}", f"Training of the Lagrangian models, {on}",
                "One line a run: accuracy of sampled codes on the test set after every epoch; means over the epoch of "
                "the cross entropy and of the KL term, which NIB estimates otherwise than VIB.",
                training_lagrangian, lagrangian,
            )
    disenib = [run for run in runs if run.kind != "sweep" and "train/loss_rec" in (run.metrics or [{}])[0]]
    if disenib:
        add(
            "training-disenib", "Training of DisenIB",
            "A line a run (right: two): means over 10 steps, at most 300 of them. The nearer the estimator's outputs "
            "on independent and on joint pairs are to each other, the more independent S and T look to it.",
            training_disenib, disenib,
        )
    for (data, name, swept), points in sweeps(runs).items():
        single = of(runs, "quant", data, PROPOSED)
        title = title_of_curve(name)
        line = "the line joins " + ("their means" if any(run.seed for run in points) else "them, of one seed")
        if swept != LAMBDA:
            add(
                f"sweep-{data}-{name}-{swept}",
                f"{title}, over {swept}, {DATA_SETS[data].title}",
                "A mark a run, on sampled codes; the lines join the means. Nothing else is changed.",
                sweep, points, swept,
            )
            continue
        add(
            f"ib-curve-{data}-{name}", f"IB curve of {title}, {DATA_SETS[data].title}",
            f"The information that sampled codes keep at every λ, by its colour; {line}. Nothing can lie in the grey. "
            "At ln N, where there is such a line, every code tells its image from all N of the set, and the true "
            "I(X;T) may be larger."
            + (" The stars are DisenIB's runs: full, of the mean code, as published; hollow, of sampled codes, as the "
               "curve's." if single else " DisenIB has not been run on this data set."),
            ib_curve, points, single,
        )
        if all(f"test/{BOUND}" in run.evaluation for run in points):
            add(
                f"ib-bound-{data}-{name}", f"IB curve of {title} by the variational bound, {DATA_SETS[data].title}",
                "The same runs; upwards H(Y) less the cross entropy, which I(Y;T) is not below. Confident mistakes "
                "lower it, where they raise the published I(Y;T).",
                ib_curve, points, single, BOUND,
            )
    for old in {*folder.glob("*.png")} - {figure.path for figure in figures}:  # of runs that may be gone
        old.unlink()
    return figures


def _limits(runs: Sequence[FinishedRun], split: str) -> tuple[float, float, float]:
    """H(Y) of the set, ln K of its K classes, and ln N of its N images."""
    data = runs[0].config["data"]
    return runs[0].evaluation[f"{split}/mi_yt_ceiling"], math.log(data["n_classes"]), math.log(data[f"n_{split}"])


def _plane(
    axes, split: str, h_of_y: float, ln_k: float, ln_n: float, points: Sequence[Sequence[float]], *,
    line_named: bool = True, upwards: str = "I(Y;T), nats",
) -> None:
    """The frame of an information plane around the points. line_named: write beside the line what it is."""
    x = [point[0] for point in points]
    y = [point[1] for point in points]
    left, right = min(*x, h_of_y) - 0.25, max(*x, h_of_y) + 0.25
    bottom, top = min(y) - 0.1 * (ln_k - min(y)) - 0.02, ln_k + 0.12 * (ln_k - min(y)) + 0.02
    axes.plot([0, right], [0, right], color="0.35", lw=1)
    axes.fill_between([0, top], [0, top], [top, top], color="0.9", lw=0)
    axes.axhline(h_of_y, color="0.35", lw=1, ls="--")
    axes.axhline(ln_k, color="0.35", lw=1, ls=":")
    full = at_ceiling(max(x), ln_n)
    at, side = ((left + right) / 2, "center") if full else (right, "right")
    axes.annotate(f"ln K = {ln_k:.3f}", (at, ln_k), (-2, 2), textcoords="offset points", ha=side, va="bottom",
                  fontsize=8, color="0.35")
    axes.annotate(f"H(Y) = {h_of_y:.3f}", (at, h_of_y), (-2, -3), textcoords="offset points", ha=side, va="top",
                  fontsize=8, color="0.35")
    if full:
        axes.axvline(ln_n, color="0.35", lw=1, ls="-.")
        axes.annotate(f"ln N = {ln_n:.2f}", (ln_n, bottom), (-3, 4), textcoords="offset points", ha="right",
                      va="bottom", rotation=90, fontsize=8, color="0.35")
    at = max(left, bottom + 0.6 * (h_of_y - bottom))
    if line_named:
        axes.annotate("I(Y;T) = I(X;T)", (at, at), (6, 0), textcoords="offset points", fontsize=8, color="0.35")
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="I(X;T), nats", ylabel=upwards,
             title=SET_NAMES[split])


def _size(model: str, star: float = 130, other: float = 45) -> float:
    """Of a mark: a star looks smaller than it is."""
    return star if METHODS[model].marker == "*" else other


def information_plane(runs: Sequence[FinishedRun], data: str):
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    models = _models(runs)
    for axes, split in zip(panels, SPLITS, strict=True):
        points = {run.where: point(run, split) for run in runs}
        flat = {model: flatten(column) for model, column in published_on(data).items()}
        papers = {
            model: [flat[model][key_for(model, f"{split}/{key}")] for key in ("mi_xt", "mi_yt")] for model in flat
        }
        _plane(axes, split, *_limits(runs, split), [*points.values(), *papers.values()])
        for model, published in papers.items():
            axes.scatter(*published, s=_size(model) * 1.6, marker=METHODS[model].marker, facecolors="none",
                         edgecolors=METHODS[model].colour, linewidths=1.3, zorder=3,
                         label=f"_{METHODS[model].title}, paper")
        for run in runs:
            axes.scatter(*points[run.where], s=_size(run.name), marker=METHODS[run.name].marker,
                         color=METHODS[run.name].colour, alpha=0.85, lw=0, zorder=4, label=_label(run))
    handles = [
        Line2D([], [], ls="", marker=method.marker, ms=_size(model, 11, 7), color=method.colour,
               markerfacecolor=method.colour if model in models else "none",
               label=method.title + ("" if model in models else " (paper only: not run)"))
        for model, method in METHODS.items() if model in models or model in papers
    ]
    if papers:
        handles.append(Line2D([], [], ls="", marker="o", ms=8, color="0.3", mfc="none", label="hollow: paper"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _models(runs: Sequence[FinishedRun]) -> list[str]:
    return list(dict.fromkeys(run.name for run in runs))


def _label(run: FinishedRun) -> str:
    """What a reader who points at a mark is told; the underscore keeps it out of legends."""
    return f"_{METHODS[run.name].title}, seed {run.seed}"


def _lines_of(runs: Sequence[FinishedRun]) -> list[Line2D]:
    """For a legend: a line in the colour of each model."""
    return [Line2D([], [], color=METHODS[model].colour, label=METHODS[model].title) for model in _models(runs)]


def robustness(runs: Sequence[FinishedRun], data: str):
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    epsilons = [0.0, *map(float, EPSILONS)]
    papers = published_on(data)
    for axes, split in zip(panels, SPLITS, strict=True):
        for model, method in METHODS.items():
            style = {"color": method.colour, "marker": method.marker, "ms": _size(model, 8, 5)}
            if model in papers:
                fgsm = papers[model][split]["fgsm"]
                axes.plot(epsilons, [100, *(100 * fgsm[epsilon] for epsilon in EPSILONS)], ls="--", lw=1, alpha=0.7,
                          color=method.colour, label=f"_{method.title}, paper")
            of_model = [run.evaluation for run in runs if run.name == model]
            if not of_model:
                if model in papers:
                    axes.plot([], [], ls="--", lw=1, color=method.colour, label=f"{method.title} (paper; not run)")
                continue
            values = [[100 * run[f"{split}/fgsm/{epsilon}"] for run in of_model] for epsilon in EPSILONS]
            means = [100, *map(statistics.mean, values)]
            stds = [0, *(statistics.stdev(v) if len(v) > 1 else 0 for v in values)]
            bars = axes.errorbar(epsilons, means, yerr=stds, capsize=3, lw=1.6, label=method.title, **style)
            bars.lines[0].set_label(f"_{method.title}")  # for those who point at it; the legend has the container's
        axes.set(xlabel="ε, for images in [-1, 1]", title=SET_NAMES[split], ylim=(0, 103), xticks=epsilons)
    panels[0].set_ylabel("still correct, %")
    panels[1].tick_params(labelleft=True)  # on a phone it stands alone
    order = [method.title for method in METHODS.values()]
    handles = zip(*panels[1].get_legend_handles_labels(), strict=True)
    handles = sorted(handles, key=lambda pair: order.index(pair[1].split(" (")[0]))
    if papers:
        handles.append((Line2D([], [], ls="--", lw=1, color="0.3"), "dashed: paper"))
    panels[1].legend(*zip(*handles, strict=True), frameon=False, fontsize=9)
    return figure


def _of_mean_code(run: FinishedRun) -> dict[str, float]:
    """The evaluation of its mean code; empty where evaluate.py has made none."""
    return run.others.get(METHODS[run.name].evaluated("mean"), {})


def worst_case(runs: Sequence[FinishedRun]):
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    shown = ((0, "by_attack/fgsm_margin", "--"), (0, "worst_case", "-"), (1, "curve", "-"))
    for model in _models(runs):
        method, found = METHODS[model], [_of_mean_code(run) for run in runs if run.name == model]
        for panel, part, dashes in shown:
            start = f"robustness/{part}/"
            keys = [key for key in found[0] if key.startswith(start) and all(key in each for each in found)]
            by_epsilon = {0.0: [100 * each["robustness/clean_accuracy"] for each in found]}
            by_epsilon |= {float(key.removeprefix(start)): [100 * each[key] for each in found] for key in keys}
            epsilons, values = zip(*sorted(by_epsilon.items()), strict=True)
            bars = panels[panel].errorbar(
                epsilons, [statistics.mean(v) for v in values], color=method.colour, ls=dashes, lw=1.4, capsize=2,
                yerr=[statistics.stdev(v) if len(v) > 1 else 0 for v in values], marker=method.marker,
                ms=8 if method.marker == "*" else 4, label=method.title if dashes == "-" else None,
                alpha=0.5 if dashes == "--" else 1,
            )
            bars.lines[0].set_label(f"_{method.title}")
    panels[0].set(xlabel="ε, for images in [-1, 1]", ylabel="robust accuracy, %", title="one step, and worst case",
                  ylim=(-2, 103))
    panels[1].set(xlabel="ε, for images in [-1, 1]", title="APGD, until nothing is left")
    panels[1].tick_params(labelleft=True)
    handles, labels = panels[1].get_legend_handles_labels()
    panels[1].legend(
        [*handles, *(Line2D([], [], ls=dashes, color="0.3") for dashes in ("--", "-"))],
        [*labels, "FGSM on the margin", "worst case"], frameon=False, fontsize=9,
    )
    return figure


def detection(runs: Sequence[FinishedRun]):
    models = _models(runs)
    figure = plt.figure(figsize=(11, max(4.5, 1.3 * len(models))), layout="constrained")
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.15))
    axes = left.subplots()
    for run in runs:
        fpr, tpr = zip(*run.curves["gauss"]["roc"], strict=True)
        axes.plot([100 * v for v in fpr], [100 * v for v in tpr], color=METHODS[run.name].colour, lw=1.4, alpha=0.85,
                  label=_label(run))
    axes.plot([0, 100], [0, 100], color="0.6", lw=1, ls=":")
    axes.axhline(95, color="0.6", lw=0.8)
    axes.annotate("95 %", (80, 95), (0, -3), textcoords="offset points", ha="right", va="top", fontsize=8, color="0.4")
    axes.set(xlabel=f"{OUTSIDE['gauss']} accepted, % (FPR)", ylabel="test images accepted, % (TPR)",
             xlim=(-1, 101), ylim=(-1, 101), title="ROC")
    axes.legend(handles=_lines_of(runs), frameon=False, fontsize=9, loc="lower right")
    panels = right.subplots(len(models), 1, squeeze=False)[:, 0]
    for panel, model in zip(panels, models, strict=True):
        of_model = [run for run in runs if run.name == model]
        run = sorted(of_model, key=lambda run: run.evaluation["ood/gauss/auroc"])[(len(of_model) - 1) // 2]
        curve, k = run.curves["gauss"], run.config["data"]["n_classes"]
        low, high = (1000 * (score - 1 / k) for score in curve["range"])
        n = len(curve["inside"])
        edges = [low + i * (high - low) / n for i in range(n + 1)]
        own = METHODS[model].colour
        for name, colour, what in (("inside", own, "test set"), ("outside", "0.45", OUTSIDE["gauss"])):
            total = sum(curve[name])
            panel.stairs([100 * count / total for count in curve[name]], edges, fill=True, alpha=0.5, color=colour,
                         label=what)
        panel.set_ylabel("images, %", fontsize=9)
        panel.tick_params(labelsize=9)
        panel.legend(frameon=False, fontsize=9, title=f"{METHODS[model].title}, seed {run.seed}", title_fontsize=9)
    panels[0].set_title("ODIN scores")
    panels[-1].set_xlabel("(score − 1/K) · 1000")
    return figure


def detection_and_noise(runs: Sequence[FinishedRun], points: dict[str, list[float]], data: str):
    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    papers = published_on(data)
    for run in runs:
        if (place := noise_point(run)) is not None:
            method = METHODS[run.name]
            axes.scatter(*place, s=_size(run.name), marker=method.marker, color=method.colour, alpha=0.85, lw=0,
                         label=_label(run))
    for model in _models(runs):
        if model in papers:
            rate = 100 * papers[model]["ood"]["gauss"]["fpr_at_95_tpr"]
            axes.axhline(rate, color=METHODS[model].colour, lw=1, ls="--", alpha=0.7)
    axes.set(xlabel="mean std of the code of noise images", ylabel="FPR at 95 % TPR, %", ylim=(-2, 102))
    axes.legend(frameon=False, fontsize=9, handles=[
        Line2D([], [], ls="", marker=METHODS[model].marker, color=METHODS[model].colour, label=METHODS[model].title)
        for model in _models(runs)
    ])
    return figure


def training_lagrangian(runs: Sequence[FinishedRun]):
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    shown = (("eval/test/accuracy", 100, "test accuracy, %"), ("train/loss_dec", 1, "cross entropy, nats"),
             ("train/loss_kl", 1, "KL term, nats"))
    for axes, (key, scale, name) in zip(panels, shown, strict=True):
        for run in runs:
            axes.plot([line["epoch"] for line in run.metrics if key in line],
                      [scale * line[key] for line in run.metrics if key in line], lw=1.1, alpha=0.85,
                      color=METHODS[run.name].colour, label=_label(run))
        axes.set(xlabel="epoch", ylabel=name)
    panels[0].set_ylim(bottom=_floor(runs))
    panels[1].set_yscale("log")
    panels[0].legend(handles=_lines_of(runs), frameon=False, fontsize=9, loc="lower right")
    return figure


def _floor(runs: Sequence[FinishedRun]) -> float:
    """From where on accuracies are worth seeing: what a tenth of them lies below, at the most."""
    values = sorted(100 * line["eval/test/accuracy"] for run in runs for line in run.metrics
                    if "eval/test/accuracy" in line)
    return max(0, values[len(values) // 10] - 5)


def training_disenib(runs: Sequence[FinishedRun]):
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.1), layout="constrained")
    labels = [
        f"{run.kind.replace('quant', 'quantitative')}, {DATA_SETS[run.data].title}" if run.name == PROPOSED
        else run.name for run in runs
    ]
    names = list(dict.fromkeys(labels))
    colours = plt.get_cmap("tab10")
    for run, label in zip(runs, labels, strict=True):
        lines = [line for line in run.metrics if "train/loss_rec" in line]
        steps = [line["step"] for line in lines]
        style = {"lw": 1, "color": colours(names.index(label) % 10), "label": f"_{label}, seed {run.seed}"}
        for axes, key in zip(panels, ("train/loss_dec", "train/loss_rec"), strict=False):
            axes.plot(steps, [line[key] for line in lines], **style)
        for key, dashes in (("train/output_real", "-"), ("train/output_fake", "--")):
            panels[2].plot(steps, [line[key] for line in lines], ls=dashes, **style)
    shown = ("cross entropy, nats", "reconstruction error, MSE", "estimator's output")
    for axes, what in zip(panels, shown, strict=True):
        axes.set(xlabel="step", ylabel=what)
    for axes in panels[:2]:
        axes.set_yscale("log")
    panels[2].legend(handles=[Line2D([], [], color="0.3", label="independent pairs"),
                              Line2D([], [], color="0.3", ls="--", label="joint pairs")], frameon=False, fontsize=8)
    handles = [Line2D([], [], color=colours(number % 10), label=name) for number, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


CURVE = "#8c6bb1"


def sweep(runs: Sequence[FinishedRun], swept: str):
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    values = sorted({run.value for run in runs})
    shown = (("accuracy", 100, "accuracy, %"), ("mi_xt", 1, "I(X;T), nats"), ("mi_yt", 1, "I(Y;T), nats"))
    for axes, (key, scale, name) in zip(panels, shown, strict=True):
        for split, colour in zip(SPLITS, ("0.6", CURVE), strict=True):
            at = [[scale * run.evaluation[f"{split}/{key}"] for run in runs if run.value == value] for value in values]
            axes.plot(values, [statistics.mean(each) for each in at], color=colour, lw=1.5, label=SET_NAMES[split])
            marks = [(value, y) for value, each in zip(values, at, strict=True) for y in each]
            axes.scatter(*zip(*marks, strict=True), color=colour, s=30, label=f"_{SET_NAMES[split]}")
        wide = values[0] > 0 and values[-1] >= 10 * values[0]
        axes.set(xlabel=swept, ylabel=name, xscale="log" if wide else "linear")
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def ib_curve(runs: Sequence[FinishedRun], disenib: Sequence[FinishedRun], told: str = "mi_yt"):
    """told: the key of what is known of the label."""
    upwards = "I(Y;T), nats" if told != BOUND else "bound of I(Y;T), nats"
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
    by_lambda: dict[float, list[FinishedRun]] = {}
    for run in runs:
        by_lambda.setdefault(run.value, []).append(run)
    values = sorted(by_lambda)
    low, *_, high = [value for value in values if value > 0] * 2 or (1, 1)
    norm = LogNorm(low, high if high > low else 10 * low, clip=True)  # λ = 0 has the colour of the smallest other one
    own = METHODS[PROPOSED].colour
    for axes, split in zip(panels, SPLITS, strict=True):

        def place(run: FinishedRun, code: str = "", split=split) -> list[float]:
            return [run.evaluation[f"{split}/{key}{code}"] for key in ("mi_xt", told)]

        at_lambda = [[place(run) for run in by_lambda[value]] for value in values]
        means = [[statistics.mean(part) for part in zip(*points, strict=True)] for points in at_lambda]
        full, hollow = ([place(run, code) for run in disenib] for code in ("_mean_code", ""))
        marks = [place(run) for run in runs]
        _plane(axes, split, *_limits(runs, split), [*marks, *full, *hollow], line_named=False, upwards=upwards)
        axes.plot(*zip(*means, strict=True), color=CURVE, lw=1.5, zorder=2)
        for run, mark in zip(runs, marks, strict=True):
            # An edge, for the darkest colour is hard to see on a dark page.
            colours = axes.scatter(*mark, c=run.value, norm=norm, cmap="viridis", s=45, zorder=3, edgecolors="0.45",
                                   linewidths=0.8, label=f"_λ = {run.value:g}, seed {run.seed}")
        for code, stars, inside, edge, width in (
            ("sampled", hollow, "none", own, 1.2), ("mean", full, own, "black", 0.8),
        ):
            for run, star in zip(disenib, stars, strict=True):
                axes.scatter(*star, s=150, marker="*", color=inside, edgecolors=edge, linewidths=width, zorder=4,
                             label=f"{_label(run)}, {code} code")
    bar = figure.colorbar(colours, ax=panels, label="λ", location="bottom", shrink=0.5, aspect=40)
    if bar.solids:
        bar.solids.set_rasterized(True)  # not hundreds of stripes in the page
    model = METHODS[runs[0].name.partition("-")[0]].title
    handles = [Line2D([], [], color="0.35", lw=1, label="I(Y;T) = I(X;T)"),
               Line2D([], [], color=CURVE, lw=1.5, marker="o", ms=6, label=f"{model}, sampled codes")]
    if disenib:
        star = {"ls": "", "marker": "*", "ms": 12, "color": own}
        handles += [Line2D([], [], mec="black", label="DisenIB, mean code", **star),
                    Line2D([], [], mfc="none", label="DisenIB, sampled codes", **star)]
    panels[0].legend(handles=handles, frameon=False, loc="lower center")
    return figure
