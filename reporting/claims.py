"""The paper's claims and how each fared here: verdicts that follow from the runs, one line each.

They stand in tables.json, and from there in the README and on the report's page. A claim whose runs are missing is
open and says what to run. The words follow the numbers: other runs, another verdict.
"""

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from experiments.catalogue import DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on, with_disentangling
from reporting.collect import FinishedRun, of

LEVEL = 0.5  # points of accuracy within which methods are level
APART = 3.0  # points of robust accuracy by which one method has to lead
LARGEST = "0.3"  # ε of the attacks, where the paper's lead is largest
SHRUNK = 0.5  # the share of what FGSM leaves there under which its lead is not of the paper's size
SMALLEST = "0.1"  # ε at which robustness is compared: at larger ones nearly all are at 0
AGAINST_ATTACKS = ("pgd-trained",)  # trained against them, and so no rival of what is robust without
DISTANCE = "class_means"  # a score of mean codes beside the published ODIN
READS_MORE = 5.0  # points above chance from which on a style code tells of the class
PROBES = [f"label from the style code{probe}, %" for probe in ("", ", neighbours", ", MLP")]
MISPLACED = 10  # how many times the error of a reconstruction a swap's is where it is not in place


class Claim(NamedTuple):
    """claim: what the paper says. verdict: how it fared. because: the numbers that say so."""

    claim: str
    verdict: str
    because: str


def claims(found: dict, runs: Sequence[FinishedRun]) -> list[dict]:
    """The claims in the paper's order, as tables.json holds them. found: its other parts."""
    quant = [run for run in of(runs, "quant", PAPER_DATA) if run.name in published_on(PAPER_DATA)]
    judged = (_compression(found, quant, runs), _generalization(found, quant), _robustness(found), _detection(found),
              _disentangling(found))
    return [claim._asdict() for claim in judged]


def _mean(runs: Sequence[FinishedRun], model: str, key: str) -> float:
    return statistics.mean(run.evaluation[key] for run in runs if run.name == model)


def _title(model: str) -> str:
    return METHODS[model].title


def _missing(models: Sequence[str], there: Collection[str]) -> str | None:
    lacking = [_title(model) for model in models if model not in there]
    return f"Not run: {_listed(lacking)}." if lacking else None


def _best_other(value: dict[str, float], best: Callable, digits: int = 2) -> str:
    """Which method beside the proposed one is best, and its value."""
    model = best((model for model in value if model != PROPOSED), key=value.__getitem__)
    return f"{_title(model)} {value[model]:.{digits}f}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _compression(found: dict, quant: Sequence[FinishedRun], runs: Sequence[FinishedRun]) -> Claim:
    claim = "The most compression without loss of accuracy, nothing to tune"
    missing = _missing(list(published_on(PAPER_DATA)), {run.name for run in quant})
    curve = [run.evaluation for run in of(runs, "sweep", PAPER_DATA, "vib-none")]
    if missing or not curve:
        return Claim(claim, "Open.", missing or "VIB's curve has not been run (--sweep).")
    figures = {model: found["quantitative"][PAPER_DATA][model] for model in published_on(PAPER_DATA)}
    most = min(figures, key=lambda model: figures[model].get("I(X;T), test", {}).get("mean", np.inf)) == PROPOSED
    most &= max(figures, key=lambda model: figures[model].get("I(Y;T), test", {}).get("mean", 0)) == PROPOSED

    def needed(key: str) -> float:
        """The nats at which VIB's curve, which rises with them, tells as much of the label as sampled codes do."""
        points = sorted((point["test/mi_xt"], point[f"test/{key}"]) for point in curve)
        nats, told = np.array(points).T
        return float(np.interp(_mean(quant, PROPOSED, f"test/{key}"), np.maximum.accumulate(told), nats, right=np.inf))

    sampled, of_mean = (_mean(quant, PROPOSED, f"test/mi_xt{end}") for end in ("", "_mean_code"))
    as_published, bound = needed("mi_yt"), needed("mi_yt_lower_bound")
    on_means = {model: found["codes"][model]["mean"]["I(X;T)"]["mean"] for model in figures
                if "I(X;T)" in found["codes"].get(model, {}).get("mean", {})}
    rival = f" ({_best_other(on_means, min)})" if on_means.keys() - {PROPOSED} else ""
    to = lambda nats: "more than it reaches" if nats == np.inf else f"{nats:.2f}"  # noqa: E731
    because = (
        f"DisenIB keeps {sampled:.2f} nats of a test image on sampled codes, {of_mean:.2f} by the paper's formula for "
        f"mean codes{rival}. For as much of the label VIB needs {to(as_published)} by the paper's I(Y;T), which "
        f"rewards confident mistakes, {to(bound)} by the bound that punishes them. {_tuning(found)}"
    )
    if not most or sampled >= as_published:
        return Claim(claim, "Does not hold.", because)
    if sampled >= bound:
        return Claim(claim, "Compression holds only by the paper's I(Y;T).", because)
    accurate = {model: found["codes"][model]["mean"]["accuracy, %"]["mean"] for model in on_means}
    level = [model for model in on_means if accurate[model] > accurate.get(PROPOSED, np.inf) - LEVEL]
    beaten = any(on_means[model] < on_means[PROPOSED] for model in level)
    return Claim(claim, f"Compression holds{' only on sampled codes' * beaten}.", because)


def _tuning(found: dict) -> str:
    """What other weights of the I(S;T) term change, as the ablations found it."""
    default = found["ablations"].get("default")
    others = [of for name, of in found["ablations"].items() if name in ("lambda-est-0.1", "lambda-est-2")]
    if not default or not others:
        return "“Nothing to tune” is untested: it has loss weights too."
    rows = ("I(X;T), test", "accuracy test, %")
    nats, points = (max(abs(of[row]["mean"] - default[row]["mean"]) for of in others) for row in rows)
    return (f"“Nothing to tune”: a fifth and four times the weight of its I(S;T) term change I(X;T) by {nats:.2f} nats "
            f"and accuracy by {points:.2f} points at most.")


def _generalization(found: dict, quant: Sequence[FinishedRun]) -> Claim:
    claim = "Better generalization"
    models = list(published_on(PAPER_DATA))
    if missing := _missing(models, {run.name for run in quant}):
        return Claim(claim, "Open.", missing)
    published = {model: found["quantitative"][PAPER_DATA][model]["accuracy test, %"]["mean"] for model in models}
    by_code = {code: {model: 100 * _mean(quant, model, f"test/accuracy{end}") for model in models}
               for code, end in (("mean", "_mean_code"), ("sampled", ""))}
    lead = [accuracy[PROPOSED] - max(value for model, value in accuracy.items() if model != PROPOSED)
            for accuracy in by_code.values()]
    because = ". ".join(
        f"{code.capitalize()} codes: DisenIB {accuracy[PROPOSED]:.2f} %, {_best_other(accuracy, max)}"
        for code, accuracy in by_code.items()
    ) + "."
    if max(published, key=published.__getitem__) != PROPOSED:
        return Claim(claim, "Does not hold.", because)
    if min(lead) >= LEVEL:
        return Claim(claim, "Holds.", because)
    because += " The paper sets DisenIB's mean code beside sampled ones."
    return Claim(claim, "Does not hold on equal codes.", because)


def _robustness(found: dict) -> Claim:
    claim = "Robustness to attacks"
    worst = {
        model: by_code["mean"]["worst case"][SMALLEST]["mean"] for model, by_code in found["robustness"].items()
        if {SMALLEST, LARGEST} <= by_code.get("mean", {}).get("worst case", {}).keys()
    }
    needed = {PROPOSED: _title(PROPOSED), "plain": "a plain network"}
    if lacking := [title for model, title in needed.items() if model not in worst]:
        return Claim(claim, "Open.", "FGSM, one weak step, gives the paper's numbers and settles nothing; strong "
                     f"attacks (`reproduce.py --with=robustness`) have not met {' and '.join(lacking)}.")
    ours = worst.pop(PROPOSED)
    rivals = {model: value for model, value in worst.items() if model not in AGAINST_ATTACKS}
    lead = ours - max(rivals.values())
    fgsm = found["quantitative"][PAPER_DATA][PROPOSED][f"FGSM test, ε = {LARGEST}, %"]["mean"]
    left = found["robustness"][PROPOSED]["mean"]["worst case"][LARGEST]["mean"]
    because = (f"In the worst case over many attacks of ε = {SMALLEST} on mean codes, {ours:.1f} % of the test images "
               f"stay right with DisenIB ({'next ' if lead > 0 else ''}best: {_best_other(rivals, max, 1)}). At "
               f"ε = {LARGEST}, where FGSM leaves {fgsm:.1f} % of the right ones, {left:.1f} % of all are left.")
    if lead <= APART:
        return Claim(claim, "Does not hold.", because)
    return Claim(claim, "The lead holds, its size does not." if left < SHRUNK * fgsm else "Holds.", because)


def _detection(found: dict) -> Claim:
    claim = "Detection of out-of-distribution images"
    rates = found["detection"]
    models = list(published_on(PAPER_DATA))
    measured = [model for model in models if {"sample", "mean"} <= rates.get(model, {}).get("gauss", {}).keys()]
    if missing := _missing(models, measured):
        return Claim(claim, "Open.", missing.replace("run:", "measured with both codes:"))

    def better(outside: str, code: str | None = None) -> list[str]:
        """Who tells it from the test set better than the proposed method; code None: each its published one."""
        rate = {model: rates[model][outside][code or METHODS[model].code]["mean"] for model in models}
        return [_title(model) for model in models if rate[model] < rate[PROPOSED]]

    def shown(outside: str) -> str:
        """The proposed method's rate, and the best other one's, by code."""
        words = []
        for code, name in (("sample", "sampled"), ("mean", "mean")):
            rate = {model: rates[model][outside][code]["mean"] for model in models}
            words.append(f"{rate[PROPOSED]:.1f} % on {name} codes ({_best_other(rate, min, 1)})")
        return " and ".join(words)

    pictures = [name for name in rates[PROPOSED] if name in DATA_SETS
                and all({"sample", "mean"} <= rates[model].get(name, {}).keys() for model in models)]
    because = " ".join((f"Of noise, DisenIB takes for digits {shown('gauss')}.",
                        *(f"Of {DATA_SETS[name].title}, {shown(name)}." for name in pictures)))
    for name in pictures:
        distance = {model: of[name][DISTANCE]["mean"] for model, of in found["scores"].items()
                    if model in models and DISTANCE in of.get(name, {})}
        if len(distance) > 1 and min(distance, key=distance.__getitem__) == PROPOSED:
            because += (f" By their distance to the class means it takes {distance[PROPOSED]:.1f} % "
                        f"({_best_other(distance, min, 1)}).")
    if better("gauss"):
        return Claim(claim, "Does not hold.", because)
    noise = [words for code, words in (("sample", "sampled"), ("mean", "mean")) if not better("gauss", code)]
    images = not any(better(name, code) for name in pictures for code in ("sample", "mean"))
    if len(noise) == 2 and images:
        return Claim(claim, "Holds.", because)
    on = f" on {noise[0]} codes" if len(noise) == 1 else "" if noise else " across codes"
    return Claim(claim, f"Holds only for noise{on}.", because)


def _disentangling(found: dict) -> Claim:
    claim = "Supervised disentangling"
    numbers = {data: found["disentangling"].get(data, {}).get("test", {}) for data in with_disentangling()}
    value = lambda data, row: numbers[data].get(row, {}).get("mean")  # noqa: E731
    if lacking := [DATA_SETS[data].title for data, figures in numbers.items() if not figures]:
        return Claim(claim, "Open.", f"Not run: {_listed(lacking)}.")
    swap, plain, no_style = (
        {data: value(data, row) for data in numbers if value(data, row) is not None} for row in (
            "swaps against the true image, MSE", "reconstructions, MSE", "mean image of the class, MSE")
    )
    recognised = value("mnist", "swaps recognised as intended, %")
    works = (recognised or 0) > 95 and all(swap[data] < no_style[data] for data in swap)
    tells = [
        data for data in numbers
        if max(value(data, row) or 0 for row in PROBES) > value(data, "label by chance, %") + READS_MORE
    ]
    misplaced = [DATA_SETS[data].title for data in swap if swap[data] > MISPLACED * plain[data]]
    text = (f"{recognised or 0:.1f} % of the swaps of unseen digits are recognised; those of "
            f"{_listed([DATA_SETS[data].title for data in swap])} are {'' if works else 'not all '}nearer to the truth "
            "than the class's mean image.")
    if tells:
        readings = (
            f"{max(value(data, row) or 0 for row in PROBES):.1f} % on {DATA_SETS[data].title} "
            f"(chance {value(data, 'label by chance, %'):.1f})" for data in tells
        )
        text += f" But probes read the class off the style code of unseen images: {_listed([*readings])}."
    if misplaced:
        text += f" On {_listed(misplaced)} swaps miss the place and tilt of the style image."
    return Claim(claim, ("Holds in part." if tells or misplaced else "Holds.") if works else "Does not hold.", text)
