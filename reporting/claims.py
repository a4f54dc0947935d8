"""The paper's claims and how each fared here: verdicts that follow from the runs, one line each.

They stand in tables.json, and from there in the README and on the report's page. A claim whose runs are missing is
open and says what to run. The words follow the numbers: other runs, another verdict.
"""

import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from experiments.catalogue import DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on, with_disentangling
from reporting.collect import FinishedRun, of

LEVEL = 0.5  # points of accuracy within which methods are level
APART = 3.0  # points of robust accuracy by which one method has to lead
LARGEST = "0.3"  # ε of the attacks, where the paper's lead is largest
SMALLEST = "0.1"  # ε at which robustness is compared: at larger ones nearly all are at 0
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
    judged = (_compression(found, quant), _generalization(found, quant), _robustness(found), _detection(found),
              _disentangling(found))
    return [claim._asdict() for claim in judged]


def _mean(runs: Sequence[FinishedRun], model: str, key: str) -> float:
    return statistics.mean(run.evaluation[key] for run in runs if run.name == model)


def _title(model: str) -> str:
    return METHODS[model].title


def _missing(models: Sequence[str], there: Collection[str]) -> str | None:
    lacking = [_title(model) for model in models if model not in there]
    return f"Not run: {_listed(lacking)}." if lacking else None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _compression(found: dict, quant: Sequence[FinishedRun]) -> Claim:
    claim = "The most compression without loss of accuracy, nothing to tune"
    missing = _missing(list(published_on(PAPER_DATA)), {run.name for run in quant})
    curve = np.array(sorted((p["test"] for p in found["sweeps"].get(f"{PAPER_DATA}/vib-none", ())), key=lambda p: p[1]))
    if missing or not len(curve):
        return Claim(claim, "Open.", missing or "VIB's curve has not been run (--sweep).")
    figures = {model: found["quantitative"][PAPER_DATA][model] for model in published_on(PAPER_DATA)}
    most = min(figures, key=lambda model: figures[model].get("I(X;T), test", {}).get("mean", np.inf)) == PROPOSED
    most &= max(figures, key=lambda model: figures[model].get("I(Y;T), test", {}).get("mean", 0)) == PROPOSED
    of_image, of_label = (
        {code: _mean(quant, PROPOSED, f"test/{key}{end}") for code, end in (("mean", "_mean_code"), ("sample", ""))}
        for key in ("mi_xt", "mi_yt")
    )
    needed = {code: float(np.interp(y, curve[:, 1], curve[:, 0], right=np.inf)) for code, y in of_label.items()}
    curves = "tells as much of the label nowhere" if min(needed.values()) == np.inf else (
        f"needs {min(needed.values()):.2f} for as much of the label")
    holds = most and all(of_image[code] < needed[code] for code in needed)
    because = (
        f"DisenIB keeps {of_image['mean']:.2f} nats of a test image on its mean code and {of_image['sample']:.2f} on "
        f"sampled codes; VIB's curve, of sampled codes, {curves}. "
        f"{_tuning(found)}"
    )
    return Claim(claim, "Compression holds." if holds else "Does not hold.", because)


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
    of_mean = {model: 100 * _mean(quant, model, "test/accuracy_mean_code") for model in models}
    published = {model: found["quantitative"][PAPER_DATA][model]["accuracy test, %"]["mean"] for model in models}
    others = max(accuracy for model, accuracy in of_mean.items() if model != PROPOSED)
    lead = of_mean[PROPOSED] - others
    first = max(published, key=published.__getitem__) == PROPOSED
    best = _title(max(of_mean, key=of_mean.__getitem__))
    low, high = min(of_mean.values()), max(of_mean.values())
    because = f"On mean codes the test accuracies go from {low:.2f} to {high:.2f} %, {best} first."
    if first and lead < LEVEL:
        return Claim(claim, "Holds only against sampled codes.",
                     f"The paper scores VIB and NIB on these and DisenIB on the mean code. {because}")
    return Claim(claim, "Holds." if first else "Does not hold.", because)


def _robustness(found: dict) -> Claim:
    claim = "Robustness to attacks"
    worst = {
        model: by_code["mean"]["worst case"][SMALLEST]["mean"] for model, by_code in found["robustness"].items()
        if SMALLEST in by_code.get("mean", {}).get("worst case", {})
    }
    needed = {PROPOSED: _title(PROPOSED), "plain": "a plain network"}
    if lacking := [title for model, title in needed.items() if model not in worst]:
        return Claim(claim, "Open.", "FGSM, a weak attack of one step, gives the paper's numbers and does not settle "
                     f"it. Strong ones (`--with=robustness`) have not been run on {' and '.join(lacking)}."
                     f"{_early(found, worst)}")
    ours = worst.pop(PROPOSED)
    rivals = {model: value for model, value in worst.items() if METHODS[model].published or model == "plain"}
    best = max(rivals, key=rivals.__getitem__)
    because = (f"In the worst case over many attacks of ε = {SMALLEST} on mean codes, {ours:.1f} % of the test images "
               f"stay right with DisenIB, {rivals[best]:.1f} % with {_title(best)}, the next best.")
    if ours <= rivals[best]:
        because = because.replace("the next best", "the best")
    because += _hidden(found["quantitative"][PAPER_DATA][PROPOSED], found["robustness"][PROPOSED]["mean"]["worst case"])
    return Claim(claim, "Holds." if ours > rivals[best] + APART else "Does not hold.", because)


def _hidden(published: dict, worst: dict) -> str:
    """How much of what FGSM leaves at the paper's largest epsilon the worst case leaves."""
    row = f"FGSM test, ε = {LARGEST}, %"
    if row not in published or LARGEST not in worst:
        return ""
    return (f" At ε = {LARGEST}, where FGSM leaves {published[row]['mean']:.1f} % of the right ones, "
            f"{worst[LARGEST]['mean']:.1f} % of all are left.")


def _early(found: dict, worst: dict[str, float]) -> str:
    """What attacks have done to a run that was stopped early, as long as no full one has been attacked."""
    run = found["ablations"].get("default", {})
    rows = *(f"worst case, ε = {epsilon}, %" for epsilon in (SMALLEST, LARGEST)), f"FGSM test, ε = {LARGEST}, %"
    if PROPOSED in worst or "plain" not in worst or not all(row in run for row in rows):
        return ""
    small, large, fgsm = (run[row]["mean"] for row in rows)
    return (f" On a run stopped at a quarter of its training, {small:.1f} % of the test images stay right in the worst "
            f"case of ε = {SMALLEST}, on a plain network {worst['plain']:.1f} %. At ε = {LARGEST}, where FGSM leaves "
            f"{fgsm:.1f} % of the right ones, it is {large:.1f} %.")


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

    ahead = better("gauss", "mean")
    if better("gauss"):
        return Claim(claim, "Does not hold.", f"{_listed(better('gauss'))} tell noise from digits better.")
    pictures = [name for name in rates[PROPOSED] if name in DATA_SETS
                and all("mean" in rates[model].get(name, {}) for model in models)]
    behind = {DATA_SETS[name].title: len(better(name, "mean")) for name in pictures}
    places = "".join(f" On images of {name} DisenIB is {'first' if not n else f'number {n + 1}'} of {len(models)}."
                     for name, n in behind.items())
    if ahead or any(behind.values()):
        on_means = f"on mean codes {_listed(ahead)} {'does' if len(ahead) == 1 else 'do'} better." if ahead else (
            "and on mean codes, too.")
        return Claim(claim, "Holds only against sampled codes, and for noise." if ahead else "Holds only for noise.",
                     f"As published, DisenIB tells noise from digits best; {on_means}{places}")
    return Claim(claim, "Holds.", f"DisenIB tells noise from digits best with either code.{places}")


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
        DATA_SETS[data].title for data in numbers
        if max(value(data, row) or 0 for row in PROBES) > value(data, "label by chance, %") + READS_MORE
    ]
    misplaced = [DATA_SETS[data].title for data in swap if swap[data] > MISPLACED * plain[data]]
    text = (f"{recognised or 0:.1f} % of the swaps of unseen digits are recognised as intended; those of "
            f"{_listed([DATA_SETS[data].title for data in swap])} are {'' if works else 'not all '}nearer to the truth "
            "than the class's mean image.")
    if tells:
        text += f" The style code still tells something of the class on {_listed(tells)}."
    if misplaced:
        text += f" On {_listed(misplaced)}, swaps get the look right but not the place."
    return Claim(claim, ("Holds in part." if tells or misplaced else "Holds.") if works else "Does not hold.", text)
