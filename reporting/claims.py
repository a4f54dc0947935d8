"""The paper's claims and how each fared here: verdicts that follow from the runs, one line each.

They stand in tables.json, and from there in the README and on the report's page. A claim whose runs are missing is
open and says what to run. The words follow the numbers: other runs, another verdict.
"""

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from experiments.catalogue import (
    ABLATION_STEPS,
    ABLATIONS,
    DATA_SETS,
    METHODS,
    PAPER_DATA,
    PROPOSED,
    published_on,
    with_disentangling,
)
from experiments.run_table import ROWS as METRICS
from reporting.collect import FinishedRun, of, title_of_curve
from reporting.grid import LAMBDA

LEVEL = 0.5  # points of accuracy, or of a rate of detection, within which methods are level
LEVEL_NATS = 0.05  # and nats of I(X;T)
SEVERAL = 3  # runs, of which one says that all of them differ
APART = 3.0  # points of robust accuracy by which one method has to lead
ONE_STEP = "fgsm margin"  # the attack that is the published FGSM, of all images and not of the right ones
LARGEST = "0.3"  # ε of the attacks, where the paper's lead is largest
SHRUNK = 0.5  # the share of what FGSM leaves there under which its lead is not of the paper's size
SMALLEST = "0.1"  # ε at which robustness is compared: at larger ones most are at 0
DISTANCE = "class_means"  # a score of mean codes beside the published ODIN
PLAIN = "plain"  # the network that loses no accuracy to a bottleneck
CODES = {"sample": "sampled", "mean": "mean"}  # as evaluations call them -> as texts do
PROBES = {METRICS[f"style_to_label_{probe}accuracy"]: name for probe, name in (
    ("", "logistic regression"), ("knn_", "neighbours"), ("mlp_", "a trained network"))}
CHANCE = METRICS["style_to_label_chance"]
READS_MORE = 5.0  # points above chance from which on a style code tells of the class
MISPLACED = 10  # how many times the error of a reconstruction a swap's is where it is not in place


class Claim(NamedTuple):
    """claim: what the paper says. verdict: how it fared. because: in a line, the numbers that say so. more: others."""

    claim: str
    verdict: str
    because: str
    more: str = ""


def claims(found: dict, runs: Sequence[FinishedRun]) -> list[dict]:
    """The claims in the paper's order, as tables.json holds them. found: its other parts."""
    quant = [run for run in of(runs, "quant", PAPER_DATA) if run.name in published_on(PAPER_DATA)]
    swept = [run for run in of(runs, "sweep", PAPER_DATA) if run.swept == LAMBDA]
    judged = (_compression(found, quant, swept), _generalization(found, quant), _robustness(found, swept),
              _detection(found, quant, swept), _disentangling(found))
    return [claim._asdict() for claim in judged]


def _mean(runs: Sequence[FinishedRun], model: str, key: str) -> float:
    return statistics.mean(run.evaluation[key] for run in runs if run.name == model)


def _title(model: str) -> str:
    return METHODS[model].title


def _at_other_weights(curves: Sequence[FinishedRun], *keys: str) -> dict[str, list[float]]:
    """Of the points of curves with another λ than the method's own: title -> those figures, means over the seeds.

    Only where training or a later evaluation of mean codes has measured all of them.
    """
    own = {(method.title, method.lambda_kl) for method in METHODS.values()}
    points: dict[str, list[list[float]]] = {}
    for run in curves:
        measured = run.others.get("last-mean-code", {}) | run.evaluation
        if (title_of_curve(run.name), run.value) not in own and all(key in measured for key in keys):
            title = f"{title_of_curve(run.name)} with λ = {run.value:g}"
            points.setdefault(title, []).append([measured[key] for key in keys])
    return {title: [*map(statistics.mean, zip(*of_seeds, strict=True))] for title, of_seeds in points.items()}


def _seeds(runs: Sequence[FinishedRun]) -> str:
    n_seeds = len({run.seed for run in runs})
    return "one seed" if n_seeds == 1 else f"{n_seeds} seeds"


def _missing(models: Sequence[str], there: Collection[str]) -> str | None:
    lacking = [_title(model) for model in models if model not in there]
    return f"Not run: {_listed(lacking)}." if lacking else None


def _best_other(value: dict[str, float], best: Callable, digits: int = 2) -> str:
    """Which method beside the proposed one is best, and its value."""
    others = {model: of for model, of in value.items() if model != PROPOSED}
    if not others:
        return "alone"
    model = best(others, key=others.__getitem__)
    title = _title(model) if model in METHODS else model  # or a point of a curve
    return f"{title} {others[model]:.{digits}f}"


def _of_paper(value: dict[str, float]) -> dict[str, float]:
    """Without the references: whom the paper leads, or does not."""
    return {model: of for model, of in value.items() if not METHODS[model].reference}


def _best_others(value: dict[str, float], best: Callable, digits: int = 2, of_paper: str = "of the paper's") -> str:
    """The best beside the proposed one and, where it is a reference, the best `of_paper` too."""
    any_other, papers = (_best_other(values, best, digits) for values in (value, _of_paper(value)))
    return any_other if papers in (any_other, "alone") else f"{any_other}, {of_paper} {papers}"


def _fares(value: dict[str, float], best: Callable, level: float) -> str:
    """How the proposed method's value lies to the best of the others: it leads, is level or behind.

    best: min or max, which of two values is the better one. level: a smaller distance tells nothing.
    """
    others = [of for model, of in value.items() if model != PROPOSED]
    lead = (value[PROPOSED] - best(others)) * (1 if best is max else -1) if others else np.inf
    return "leads" if lead >= level else "level" if lead > -level else "behind"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _compression(found: dict, quant: Sequence[FinishedRun], curves: Sequence[FinishedRun]) -> Claim:
    claim = "The most compression without loss of accuracy, nothing to tune"
    missing = _missing(list(published_on(PAPER_DATA)), {run.name for run in quant})
    swept = {model: of(curves, "sweep", PAPER_DATA, f"{model}-none") for model in ("vib", "ceb")}
    seeds = _seeds([run for of_model in swept.values() for run in of_model])
    if missing or not swept["vib"]:
        return Claim(claim, "Open.", missing or "VIB's curve has not been run (--sweep).")
    kept = {code: _kept(found, code) for code in ("sample", "mean")}
    if lacking := _missing(list(published_on(PAPER_DATA)), kept["sample"].keys() & kept["mean"].keys()):
        return Claim(claim, "Open.", lacking.replace("run:", "measured with both codes:"))
    nats, fares, accuracy = {}, {}, {code: of_all[PROPOSED][1] for code, of_all in kept.items()}
    for code, of_all in kept.items():
        accurate = {model: told for model, (told, as_right) in of_all.items() if as_right > accuracy[code] - LEVEL}
        others = _best_others(accurate, min, of_paper="of the paper's at its published λ")
        nats[code] = f"{accurate[PROPOSED]:.2f}", others
        fares[code] = _fares(_of_paper(accurate), min, LEVEL_NATS)
    without = found["codes"].get(PLAIN, {}).get("mean", {}).get("accuracy, %", {}).get("mean")
    lost = {code: without is not None and of < without - LEVEL for code, of in accuracy.items()}

    def needed(key: str, model: str = "vib") -> str:
        """The nats at which a curve, which rises with them, has as much of something as sampled codes have."""
        points = sorted((run.evaluation["test/mi_xt"], run.evaluation[f"test/{key}"]) for run in swept[model])
        of_image, told = np.array(points).T
        at = np.interp(_mean(quant, PROPOSED, f"test/{key}"), np.maximum.accumulate(told), of_image, right=np.inf)
        if at == np.inf:
            return "more than it reaches"
        return f"{'at least ' if at > max(of_image) - LEVEL_NATS else ''}{at:.2f}"  # there the estimate ends

    as_accurate = _listed([f"{_title(model)} {needed('accuracy', model)}" for model in swept if swept[model]])
    by_bound = {model: needed("mi_yt_lower_bound", model) for model, points in swept.items()
                if points and all("test/mi_yt_lower_bound" in run.evaluation for run in points)}
    tuned, tuning = _tuning(found)
    (sampled, other_sampled), (mean, other_mean) = nats["sample"], nats["mean"]
    because = (f"I(X;T) of a test image on sampled codes: {sampled} nats. The best other as accurate: {other_sampled}. "
               f"On mean codes: {mean} ({other_mean}).")
    by_seed = {model: list(found["codes"][model]["mean"]["I(X;T)"]["seeds"].values()) for model, (_, as_right)
               in kept["mean"].items() if as_right > accuracy["mean"] - LEVEL and not METHODS[model].reference}
    less = [f"{_title(model)} ({statistics.mean(of):.2f})" for model, of in by_seed.items()
            if max(of) < min(by_seed[PROPOSED]) and min(len(of), len(by_seed[PROPOSED])) >= SEVERAL]
    larger = [
        f"{title} keeps {told:.2f} and is right on {100 * right:.2f} %" for title, (told, right)
        in _at_other_weights(curves, "test/mi_xt_mean_code", "test/accuracy_mean_code").items()
        if 100 * right > accuracy["mean"] - LEVEL and told < kept["mean"][PROPOSED][0] - LEVEL_NATS
    ]
    more = (
        f"Level are methods within {LEVEL_NATS} nats" +
        (f"; on mean codes every run of {_listed(less)} keeps less" if less else "") + ". " +
        (f"At another λ less still is kept of mean codes: {_listed(larger)} ({_seeds(curves)}). " if larger else "") +
        f"As accurate are methods within {LEVEL} points of its {accuracy['sample']:.2f} % on sampled and "
        f"{accuracy['mean']:.2f} % on mean codes" +
        (f"; the {_title(PLAIN)} has {without:.2f} %" if without is not None else "") +
        f". Read off curves of {seeds}, the nats of sampled codes that are right as often: {as_accurate}. To tell as "
        f"much of the label VIB needs {needed('mi_yt')} nats by the paper's I(Y;T), which rewards confident mistakes; "
        f"by the bound that punishes them {_listed([f'{_title(model)} {nats}' for model, nats in by_bound.items()])}. "
        f"{tuning}"
    )
    if set(fares.values()) == {"leads"} and not any(lost.values()) and not tuned:
        return Claim(claim, "Holds.", because, more)
    if less and fares["mean"] == "level":  # by little, but in every one of several runs
        fares["mean"] = "not ahead"
    parts = [f"{fares[code]} on {name} codes{', where accuracy is lost' * lost[code]}" for code, name in CODES.items()]
    in_part = "Holds in part" if "leads" in fares.values() else "Does not hold"
    return Claim(claim, f"{in_part}: {'; '.join(parts)}{'; there is something to tune' * tuned}.", because, more)


def _kept(found: dict, code: str) -> dict[str, tuple[float, float]]:
    """method -> I(X;T) of the test set and accuracy in percent, of those that were measured with that code."""
    rows = {model: found["codes"].get(model, {}).get(code, {}) for model, method in METHODS.items()
            if not method.control}
    return {
        model: (row["I(X;T)"]["mean"], row["accuracy, %"]["mean"]) for model, row in rows.items()
        if {"I(X;T)", "accuracy, %"} <= row.keys()
    }


def _on_both_codes(fares: dict[str, str]) -> str:
    """The verdict on how the proposed method fares by code, "sample" and "mean"."""
    if fares["sample"] == fares["mean"] != "behind":
        return "Holds." if fares["mean"] == "leads" else "Does not hold: level on equal codes."
    for code, other in (("sample", "mean"), ("mean", "sample")):
        if fares[code] == "leads":
            return f"Holds on {CODES[code]} codes, {fares[other]} on {CODES[other]} codes."
    return "Does not hold."


def _tuning(found: dict) -> tuple[bool, str]:
    """Whether other weights or noise change I(X;T), and which the most, as the ablations found it."""
    tuned = ("lambda-est-0.1", "lambda-est-2", "class-std-0.3", "class-std-3")
    nats = {name: of["I(X;T), test"]["mean"] for name, of in found["ablations"].items() if name in ("default", *tuned)}
    if "default" not in nats or len(nats) == 1:
        return False, "“Nothing to tune” is untested: it has loss weights too."
    default = nats.pop("default")
    furthest = max(nats, key=lambda name: abs(nats[name] - default))
    return abs(nats[furthest] - default) >= LEVEL_NATS, (
        f"With one thing changed ({ABLATIONS[furthest].title}) T keeps {nats[furthest]:.2f} in place of {default:.2f}, "
        f"after {ABLATION_STEPS:,} steps."
    )


def _generalization(found: dict, quant: Sequence[FinishedRun]) -> Claim:
    claim = "Better generalization"
    models = list(published_on(PAPER_DATA))
    if missing := _missing(models, {run.name for run in quant}):
        return Claim(claim, "Open.", missing)
    published = {model: found["quantitative"][PAPER_DATA][model]["accuracy test, %"]["mean"] for model in models}
    by_code = {code: {model: 100 * _mean(quant, model, f"test/accuracy{end}") for model in models}
               for code, end in (("mean", "_mean_code"), ("sample", ""))}
    because = ". ".join(
        f"{name} codes: DisenIB {by_code[code][PROPOSED]:.2f} %, {_best_other(by_code[code], max)}"
        for code, name in (("mean", "Mean"), ("sample", "Sampled"))
    ) + "."
    if max(published, key=published.__getitem__) != PROPOSED:
        return Claim(claim, "Does not hold.", because)
    fares = {code: _fares(accuracy, max, LEVEL) for code, accuracy in by_code.items()}
    more = "The paper sets DisenIB's mean code beside sampled ones." if "leads" not in fares.values() else ""
    return Claim(claim, _on_both_codes(fares), because, more)


def _robustness(found: dict, curves: Sequence[FinishedRun]) -> Claim:
    claim = "Robustness to attacks"
    worst = {
        model: by_code["mean"]["worst case"] for model, by_code in found["robustness"].items()
        if {SMALLEST, LARGEST} <= by_code.get("mean", {}).get("worst case", {}).keys()
    }
    controls = [name for name, method in METHODS.items() if method.control]
    if lacking := [_title(model) for model in (*published_on(PAPER_DATA), *controls) if model not in worst]:
        return Claim(claim, "Open.", "FGSM, one weak step, gives the paper's numbers and settles nothing; strong "
                     f"attacks (`reproduce.py --with=robustness`) have not met {_listed(lacking)}.")
    left = worst[PROPOSED][LARGEST]["mean"]
    by_run = worst[PROPOSED][SMALLEST]["seeds"].values()
    small = {model: of[SMALLEST]["mean"] for model, of in worst.items() if not METHODS[model].adversarial}
    other_weights = {title: 100 * share for title, [share]
                     in _at_other_weights(curves, f"robustness/worst_case/{SMALLEST}").items()}
    rivals = small | other_weights
    fgsm = found["robustness"][PROPOSED]["mean"][ONE_STEP][LARGEST]["mean"]
    because = (f"In the worst case of many attacks, on mean codes, {small[PROPOSED]:.1f} % of the images stay right at "
               f"ε = {SMALLEST}. The best other not trained against attacks: {_best_other(rivals, max, 1)}. At "
               f"ε = {LARGEST} at most {left:.1f} % stay right, where one step (FGSM on the margin) leaves "
               f"{fgsm:.1f} %.")
    long = _listed([f"{_title(model)} {small[model]:.1f} %" for model in controls])
    more = (f"DisenIB's runs: {min(by_run):.1f} to {max(by_run):.1f} %. Trained for as many epochs, with ε = "
            f"{SMALLEST}: {long}. A lead is {APART:g} points or more of the mean.")
    if other_weights:
        more += (f" At another λ, of {_seeds(curves)} and stopped early: " +
                 _listed([f"{title} {value:.1f} %" for title, value in other_weights.items()]) + ".")
    fares = _fares(rivals, max, APART)
    if fares != "leads":
        level = fares == "level"
        return Claim(claim, "Does not hold: level under strong attacks." if level else "Does not hold.", because, more)
    return Claim(claim, "The lead holds, its size does not." if left < SHRUNK * fgsm else "Holds.", because, more)


def _detection(found: dict, quant: Sequence[FinishedRun], curves: Sequence[FinishedRun]) -> Claim:
    claim = "Detection of out-of-distribution images"
    rates = found["detection"]
    models = list(published_on(PAPER_DATA))
    measured = [model for model in models if {"sample", "mean"} <= rates.get(model, {}).get("gauss", {}).keys()]
    if missing := _missing(models, measured):
        return Claim(claim, "Open.", missing.replace("run:", "measured with both codes:"))
    bottlenecks = [name for name, method in METHODS.items()
                   if name in models or (method.code == "sample" and not method.control)]

    def fares(outside: str, code: str | None = None) -> str:
        """How the proposed method's rate lies to the others'; code None: each its published one."""
        rate = {model: rates[model][outside][code or METHODS[model].code]["mean"] for model in models}
        return _fares(rate, min, LEVEL)

    def shown(outside: str) -> str:
        """The proposed method's rate, and the best other one's, by code."""
        words = []
        for code, name in CODES.items():
            rate = {model: rates[model][outside][code]["mean"] for model in bottlenecks
                    if code in rates.get(model, {}).get(outside, {})}
            words.append(f"{rate[PROPOSED]:.1f} % on {name} codes ({_best_others(rate, min, 1)})")
        return ", ".join(words)

    pictures = [name for name in rates[PROPOSED] if name in DATA_SETS
                and all({"sample", "mean"} <= rates[model].get(name, {}).keys() for model in models)]
    because = ". ".join((f"Noise taken for digits (in brackets: by the best other): {shown('gauss')}",
                         *(f"{DATA_SETS[name].title}: {shown(name)}" for name in pictures))) + "."
    others = [f"{_title(model)} {rates[model]['gauss']['mean']['mean']:.1f} %" for model in rates
              if METHODS[model].reference and "mean" in rates[model].get("gauss", {})]
    more = f"Level are methods within {LEVEL} points." + (
        f" Of noise, on mean codes, beside the paper's methods: {_listed(others)}." if others else "")
    by_run = {model: rates.get(model, {}).get("gauss", {}).get("sample", {}).get("seeds", {})
              for model in bottlenecks}
    mixed = [_title(model) for model, seeds in by_run.items() if METHODS[model].reference and seeds
             and min(seeds.values()) < max(by_run[PROPOSED].values())]
    if mixed:
        more += f" On sampled codes not every run of DisenIB is ahead of every run of {_listed(mixed)}."
    best_run = min(by_run[PROPOSED].values(), default=0.0)
    least = 100 * _mean(quant, PROPOSED, "test/accuracy") - LEVEL
    ahead = [f"{title} {100 * rate:.1f} %" for title, (rate, right)
             in _at_other_weights(curves, "ood/gauss/fpr_at_95_tpr", "test/accuracy").items()
             if 100 * right > least and 100 * rate < best_run]
    if ahead:
        more += (f" With another λ, of {_seeds(curves)}, sampled codes as often right accept less than any run of "
                 f"DisenIB: {_listed(ahead)}.")
    behind = [name for name in pictures if "behind" in (fares(name, "sample"), fares(name, "mean"))]
    for name in behind:
        distance = {model: of[name][DISTANCE]["mean"] for model, of in found["scores"].items()
                    if model in models and DISTANCE in of.get(name, {})}
        if len(distance) == len(models) and min(distance, key=distance.__getitem__) == PROPOSED:
            more += (f" By the distance of mean codes to the class means DisenIB is first on {DATA_SETS[name].title}: "
                     f"{distance[PROPOSED]:.1f} % ({_best_other(distance, min, 1)}).")
    by_code = {code: fares("gauss", code) for code in CODES}
    if fares("gauss") == "behind" or "leads" not in by_code.values():
        return Claim(claim, "Does not hold.", because, more.strip())
    on = _on_both_codes(by_code).removeprefix("Holds").removesuffix(".")
    if ahead:
        on = on.replace(" on sampled codes", " on sampled codes at the published λ", 1)
    images = "; images are untested" if not pictures else "; not for other images" if behind else ""
    return Claim(claim, f"Holds{' for noise' * bool(images)}{on}{images}.", because, more.strip())


def _disentangling(found: dict) -> Claim:
    claim = "Supervised disentangling"
    numbers = {data: found["disentangling"].get(data, {}).get("test", {}) for data in with_disentangling()}
    value = lambda data, row: numbers[data].get(row, {}).get("mean")  # noqa: E731
    if lacking := [DATA_SETS[data].title for data, figures in numbers.items() if not figures]:
        return Claim(claim, "Open.", f"Not run: {_listed(lacking)}.")
    swap, plain, no_style = (
        {data: value(data, METRICS[key]) for data in numbers if value(data, METRICS[key]) is not None}
        for key in ("swap_mse", "reconstruction_mse", "class_mean_mse")
    )
    recognised = value("mnist", METRICS["swap_recognised"])
    with_truth = numbers.keys() - {"mnist"}
    if recognised is None or not swap.keys() == plain.keys() == no_style.keys() == with_truth:
        return Claim(claim, "Open.", "Swaps have not been measured on all of them.")
    works = recognised > 95 and all(swap[data] < no_style[data] for data in swap)
    tells = [
        data for data in numbers
        if max(value(data, row) or 0 for row in PROBES) > value(data, CHANCE) + READS_MORE
    ]
    misplaced = [DATA_SETS[data].title for data in swap if swap[data] > MISPLACED * plain[data]]
    because = f"{recognised:.1f} % of the swaps of unseen digits are recognised"
    more = (f"The swaps of {_listed([DATA_SETS[data].title for data in swap])} are {'' if works else 'not all '}nearer "
            "to the truth than the class's mean image.")
    if tells:
        readings = (
            f"{_best_reading(numbers[data])} on {DATA_SETS[data].title} "
            f"(chance {value(data, CHANCE):.1f})" for data in tells
        )
        because += f"; but probes read the class off the style code: {_listed([*readings])}"
    if any(row in found["probes"] for row in PROBES):
        more += f" Off the style code of the DisenIB of claims 1 to 4: {_best_reading(found['probes'])}."
    if misplaced:
        more += f" On {_listed(misplaced)} swaps miss the place and tilt of the style image."
    verdict = ("Holds in part." if tells or misplaced else "Holds.") if works else "Does not hold."
    return Claim(claim, verdict, f"{because}.", more)


def _best_reading(figures: dict) -> str:
    """What the strongest of the probes that were tried reads of the label, and which it is."""
    best = max((row for row in PROBES if row in figures), key=lambda row: figures[row]["mean"])
    return f"{figures[best]['mean']:.1f} % by {PROBES[best]}"
