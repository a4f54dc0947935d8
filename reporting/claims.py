"""The paper's claims and how each fared here: verdicts that follow from the runs, one line each.

They stand in tables.json, and from there in the README and on the report's page. A claim whose runs are missing is
open and says what to run. The words follow the numbers: other runs, another verdict.
"""

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from experiments.catalogue import ABLATIONS, DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on, with_disentangling
from reporting.collect import FinishedRun, of

LEVEL = 0.5  # points of accuracy, or of a rate of detection, within which methods are level
LEVEL_NATS = 0.05  # and nats of I(X;T)
APART = 3.0  # points of robust accuracy by which one method has to lead
LARGEST = "0.3"  # ε of the attacks, where the paper's lead is largest
SHRUNK = 0.5  # the share of what FGSM leaves there under which its lead is not of the paper's size
SMALLEST = "0.1"  # ε at which robustness is compared: at larger ones most are at 0
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
    others = {model: of for model, of in value.items() if model != PROPOSED}
    if not others:
        return "alone"
    model = best(others, key=others.__getitem__)
    return f"{_title(model)} {others[model]:.{digits}f}"


def _fares(value: dict[str, float], best: Callable, level: float) -> str:
    """How the proposed method's value lies to the best of the others: it leads, is level or behind.

    best: min or max, which of two values is the better one. level: a smaller distance tells nothing.
    """
    others = [of for model, of in value.items() if model != PROPOSED]
    lead = (value[PROPOSED] - best(others)) * (1 if best is max else -1) if others else np.inf
    return "leads" if lead >= level else "level" if lead > -level else "behind"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _compression(found: dict, quant: Sequence[FinishedRun], runs: Sequence[FinishedRun]) -> Claim:
    claim = "The most compression without loss of accuracy, nothing to tune"
    missing = _missing(list(published_on(PAPER_DATA)), {run.name for run in quant})
    curve = [run.evaluation for run in of(runs, "sweep", PAPER_DATA, "vib-none")]
    if missing or not curve:
        return Claim(claim, "Open.", missing or "VIB's curve has not been run (--sweep).")
    kept = {code: _kept(found, code) for code in ("sample", "mean")}
    if lacking := _missing(list(published_on(PAPER_DATA)), kept["sample"].keys() & kept["mean"].keys()):
        return Claim(claim, "Open.", lacking.replace("run:", "measured with both codes:"))
    nats, fares = {}, {}
    for code, of_all in kept.items():
        enough = of_all[PROPOSED][1] - LEVEL
        accurate = {model: told for model, (told, accuracy) in of_all.items() if accuracy > enough}
        nats[code] = f"{accurate[PROPOSED]:.2f} ({_best_other(accurate, min)})"
        fares[code] = _fares(accurate, min, LEVEL_NATS)

    def needed(key: str) -> str:
        """The nats at which VIB's curve, which rises with them, tells as much of the label as sampled codes do."""
        points = sorted((point["test/mi_xt"], point[f"test/{key}"]) for point in curve)
        of_image, told = np.array(points).T
        at = np.interp(_mean(quant, PROPOSED, f"test/{key}"), np.maximum.accumulate(told), of_image, right=np.inf)
        return "more than it reaches" if at == np.inf else f"{at:.2f}"

    because = (
        "Nats of a test image that DisenIB keeps, and the next of the methods as accurate: "
        f"{nats['sample']} on sampled codes, {nats['mean']} on mean codes. To tell as much of the label VIB needs "
        f"{needed('mi_yt')} by the paper's I(Y;T), which rewards confident mistakes, {needed('mi_yt_lower_bound')} by "
        f"the bound that punishes them. {_tuning(found)}"
    )
    return Claim(claim, _on_both_codes(fares), because)


def _kept(found: dict, code: str) -> dict[str, tuple[float, float]]:
    """method -> I(X;T) of the test set and accuracy in percent, of those that were measured with that code."""
    rows = {model: found["codes"].get(model, {}).get(code, {}) for model in published_on(PAPER_DATA)}
    return {
        model: (row["I(X;T)"]["mean"], row["accuracy, %"]["mean"]) for model, row in rows.items()
        if {"I(X;T)", "accuracy, %"} <= row.keys()
    }


def _on_both_codes(fares: dict[str, str]) -> str:
    """The verdict on how the proposed method fares by code, "sample" and "mean"."""
    if fares["sample"] == fares["mean"] != "behind":
        return "Holds." if fares["mean"] == "leads" else "Does not hold: level on equal codes."
    names = {"sample": "sampled", "mean": "mean"}
    for code, other in (("sample", "mean"), ("mean", "sample")):
        if fares[code] == "leads":
            return f"Holds on {names[code]} codes, {fares[other]} on {names[other]} codes."
    return "Does not hold."


def _tuning(found: dict) -> str:
    """What other weights and noise change the most, as the ablations found it."""
    tuned = ("lambda-est-0.1", "lambda-est-2", "class-std-0.3", "class-std-3")
    nats = {name: of["I(X;T), test"]["mean"] for name, of in found["ablations"].items() if name in ("default", *tuned)}
    if "default" not in nats or len(nats) == 1:
        return "“Nothing to tune” is untested: it has loss weights too."
    default = nats.pop("default")
    furthest = max(nats, key=lambda name: abs(nats[name] - default))
    title = ABLATIONS[furthest].title
    return f"There is something to tune: with {title} T keeps {nats[furthest]:.2f}, not {default:.2f}."


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
    if "leads" not in fares.values():
        because += " The paper sets DisenIB's mean code beside sampled ones."
    return Claim(claim, _on_both_codes(fares), because)


def _robustness(found: dict) -> Claim:
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
    small = {model: of[SMALLEST]["mean"] for model, of in worst.items() if not METHODS[model].adversarial}
    rivals = {model: value for model, value in small.items() if model not in controls}
    published = found["quantitative"][PAPER_DATA][PROPOSED].get(f"FGSM test, ε = {LARGEST}, %")
    if published is None:
        return Claim(claim, "Open.", f"DisenIB was not measured under FGSM of ε = {LARGEST}.")
    fgsm = published["mean"]
    long = ", ".join(f"{_title(model)} {small[model]:.1f}" for model in controls)
    because = (f"In the worst case over many attacks of ε = {SMALLEST} on mean codes, {small[PROPOSED]:.1f} % of the "
               f"test images stay right with DisenIB ({_best_other(rivals, max, 1)}; {long}). At ε = {LARGEST}, where "
               f"FGSM leaves {fgsm:.1f} % of the right ones, {left:.1f} % of all are left.")
    fares = _fares(small, max, APART)
    if fares != "leads":
        level = fares == "level"
        return Claim(claim, "Does not hold: level under strong attacks." if level else "Does not hold.", because)
    return Claim(claim, "The lead holds, its size does not." if left < SHRUNK * fgsm else "Holds.", because)


def _detection(found: dict) -> Claim:
    claim = "Detection of out-of-distribution images"
    rates = found["detection"]
    models = list(published_on(PAPER_DATA))
    measured = [model for model in models if {"sample", "mean"} <= rates.get(model, {}).get("gauss", {}).keys()]
    if missing := _missing(models, measured):
        return Claim(claim, "Open.", missing.replace("run:", "measured with both codes:"))

    def fares(outside: str, code: str | None = None) -> str:
        """How the proposed method's rate lies to the others'; code None: each its published one."""
        rate = {model: rates[model][outside][code or METHODS[model].code]["mean"] for model in models}
        return _fares(rate, min, LEVEL)

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
    behind = [name for name in pictures if "behind" in (fares(name, "sample"), fares(name, "mean"))]
    for name in behind:
        distance = {model: of[name][DISTANCE]["mean"] for model, of in found["scores"].items()
                    if model in models and DISTANCE in of.get(name, {})}
        if len(distance) == len(models) and min(distance, key=distance.__getitem__) == PROPOSED:
            because += (f" By the distance of mean codes to the class means it is first there: "
                        f"{distance[PROPOSED]:.1f} % ({_best_other(distance, min, 1)}).")
    by_code = {name: fares("gauss", code) for code, name in (("sample", "sampled"), ("mean", "mean"))}
    if fares("gauss") == "behind" or "leads" not in by_code.values():
        return Claim(claim, "Does not hold.", because)
    fine = [name for name, how in by_code.items() if how != "behind"]
    on = f" on {fine[0]} codes" if len(fine) == 1 else ""
    if not pictures:
        return Claim(claim, f"Holds for noise{on}; images are untested.", because)
    return Claim(claim, f"Holds for noise{on}, not for other images." if behind else f"Holds{on}.", because)


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
    if fully_connected := [found["probes"][row]["mean"] for row in PROBES if row in found["probes"]]:
        text += f" Off that of the DisenIB of claims 1 to 4: {max(fully_connected):.1f} %."
    if misplaced:
        text += f" On {_listed(misplaced)} swaps miss the place and tilt of the style image."
    return Claim(claim, ("Holds in part." if tells or misplaced else "Holds.") if works else "Does not hold.", text)
