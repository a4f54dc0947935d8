"""The paper's five claims, and what our runs say of each: one source for README, pages and docs/report.md.

Every verdict is worked out from tables.json by the rule that stands in its function; what was not run leaves it open.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.catalogue import DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on
from experiments.run_table import ROWS
from reporting.tables import EPSILONS, OUTSIDE, WORST_CASE, Table

HOLDS, ONLY_FOR, FAILS, OPEN = "holds", "holds only for", "does not hold", "open"
LEVEL = 0.5  # points of accuracy within which models count as level
SHIFT = 0.25  # nats of I(X;T) that another loss weight may change
LEGIBLE = 5  # points above chance from which on a label counts as legible in a code
PROBES = ("style_to_label_accuracy", "style_to_label_knn_accuracy", "style_to_label_mlp_accuracy")
SWAPS = ("swap_recognised", "swap_shows_label")
CODES = {"sample": "sampled codes", "mean": "mean codes"}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper. verdict: HOLDS, ONLY_FOR (only: what), FAILS or OPEN; because: the numbers behind it.

    figures: names of pictures in results/figures that show it, without .png.
    """

    number: int
    title: str
    verdict: str
    because: str
    only: str = ""
    figures: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict in words, without a full stop."""
        return f"{self.verdict[0].upper()}{self.verdict[1:]} {self.only}".strip()


def claims(found: dict) -> list[Claim]:
    """found: the content of tables.json."""
    return [
        Claim(number, title, *_judged(rule, found), figures=figures)
        for number, (title, rule, figures) in enumerate(CLAIMS, 1)
    ]


def table(found: dict) -> Table:
    rows = [[f"{claim.number}. {claim.title}", f"**{claim.headline}.** {claim.because}"] for claim in claims(found)]
    return Table(["the paper's claim", "here"], rows)


Judgement = tuple[str, str, str]  # verdict, because, only


def _judged(rule: Callable[[dict], Judgement], found: dict) -> Judgement:
    """Open where what the rule looks at was not run."""
    try:
        return rule(found)
    except (KeyError, ValueError):
        return OPEN, "What it takes has not all been run.", ""


def compression(found: dict) -> Judgement:
    """Holds if DisenIB keeps the least of X and the most of Y, with sampled codes lies beyond VIB's curve in every
    seed, and moves by less than SHIFT and LEVEL with other weights of its I(S;T) term."""
    kept, told = (_published(found, f"I({of};T), test") for of in "XY")
    if min(kept, key=kept.__getitem__) != PROPOSED or max(told, key=told.__getitem__) != PROPOSED:
        others = ", ".join(f"{METHODS[m].title} {kept[m]:.2f} and {told[m]:.2f}" for m in kept if m != PROPOSED)
        return FAILS, f"I(X;T) is {kept[PROPOSED]:.2f}, I(Y;T) {told[PROPOSED]:.2f}; {others}.", ""
    beyond, tuning = beyond_the_curve(found), _tuning(found)
    because = (
        f"I(X;T) is {kept[PROPOSED]:.2f} nats and I(Y;T) {told[PROPOSED]:.2f}, the least and the most of the paper's "
        f"methods; with sampled codes it {'lies' if beyond else 'does not lie'} beyond VIB's curve. "
    )
    if tuning is None:
        because += "That nothing is to be tuned is untested: no other loss weights were run."
        return (ONLY_FOR, because, "compression" if beyond else "compression of mean codes")
    because += "Other weights of the I(S;T) term move I(X;T) by {:.2f} nats and accuracy by {:.2f} points at most."
    tuned = tuning[0] < SHIFT and tuning[1] < LEVEL
    only = " and ".join(filter(None, ("" if beyond else "mean codes", "" if tuned else "tuned weights")))
    return ONLY_FOR if only else HOLDS, because.format(*tuning), only


def beyond_the_curve(found: dict, code: str = "sample") -> bool:
    """Whether every seed of DisenIB keeps less of X than VIB does with the λ that gives the same I(Y;T)."""
    figures = found["codes"][PROPOSED][code]
    curve = sorted((point["test"] for point in found["sweeps"][f"{PAPER_DATA}/vib-none"]), key=lambda point: point[1])
    kept, told = np.array(curve).T
    seeds = figures["I(X;T)"]["seeds"]
    return all(seeds[seed] < np.interp(figures["I(Y;T)"]["seeds"][seed], told, kept) for seed in seeds)


def _tuning(found: dict) -> list[float] | None:
    """The largest change of I(X;T), nats, and of accuracy, points, with another weight of the I(S;T) term."""
    ablations = found.get("ablations", {})
    others = [of for name, of in ablations.items() if name.startswith("lambda-est")]
    if not others or "default" not in ablations:
        return None
    rows = ("I(X;T), test", "accuracy test, %")
    return [max(abs(of[row]["mean"] - ablations["default"][row]["mean"]) for of in others) for row in rows]


def generalization(found: dict) -> Judgement:
    """Holds if DisenIB is the best by more than LEVEL where both codes are sampled, and where both are means."""
    leads = {code: _lead(_of_code(found, code, "accuracy, %")) for code in CODES}
    because = (
        "Compared as in the paper, its mean code with sampled ones, its accuracy is "
        f"{_ahead(_lead(_published(found, 'accuracy test, %')))}. "
        f"Compared alike it is {' and '.join(f'{_ahead(leads[code])} with {name}' for code, name in CODES.items())}."
    )
    accuracy = _of_code(found, "mean", "accuracy, %")
    if "plain" in accuracy:
        because += f" A plain network of the same layers has {accuracy['plain']:.2f} %, it {accuracy[PROPOSED]:.2f}."
    best = [name for code, name in CODES.items() if leads[code] > LEVEL]
    return (HOLDS, because, "") if len(best) == 2 else (ONLY_FOR, because, best[0]) if best else (FAILS, because, "")


def robustness(found: dict) -> Judgement:
    """Holds if for every ε more images survive all attacks in every seed than in every seed of the plain network."""
    because = f"After the paper's attack of one step {_published(found, 'FGSM test, ε = 0.3, %')[PROPOSED]:.0f} % of " \
              "the correct images stay so at ε = 0.3. "
    worst = {model: codes["mean"][WORST_CASE] for model, codes in found["robustness"].items() if "mean" in codes}
    if PROPOSED not in worst or "plain" not in worst:
        lacking = " and ".join(METHODS[model].title for model in (PROPOSED, "plain") if model not in worst)
        return OPEN, f"{because}That attack is weak; stronger ones have not been run on {lacking}.", ""
    ours, plain = worst[PROPOSED], worst["plain"]
    because += "Of all images there survive the worst of many attacks: " + ", ".join(
        f"{ours[epsilon]['mean']:.1f} % at ε = {epsilon} (plain network {plain[epsilon]['mean']:.1f})"
        for epsilon in EPSILONS
    )
    above = [e for e in EPSILONS if min(ours[e]["seeds"].values()) > max(plain[e]["seeds"].values())]
    verdict = HOLDS if len(above) == len(EPSILONS) else ONLY_FOR if above else FAILS
    return verdict, f"{because}.", f"ε = {', '.join(above)}" if verdict == ONLY_FOR else ""


def detection(found: dict) -> Judgement:
    """Holds if DisenIB has the lowest rate of the paper's methods for every outside set, whichever code is used."""
    sets = {outside: name for outside, name in OUTSIDE.items() if outside in found["detection"][PROPOSED]}

    def is_lowest(outside: str, code: str) -> bool:
        rates = {model: found["detection"][model][outside][code]["mean"] for model in published_on(PAPER_DATA)}
        return min(rates, key=rates.__getitem__) == PROPOSED

    lowest = {words: [name for outside, name in sets.items() if is_lowest(outside, code)]
              for code, words in CODES.items()}
    won = [f"{' and '.join(names)} with {words}" for words, names in lowest.items() if names]
    because = f"Of {' / '.join(sets.values())}, its false positive rate is the lowest for " + " and ".join(
        f"{' and '.join(names) or 'none'} with {words}" for words, names in lowest.items()
    )
    verdict = HOLDS if all(len(names) == len(sets) for names in lowest.values()) else ONLY_FOR if won else FAILS
    return verdict, f"{because}.", " and ".join(won) if verdict == ONLY_FOR else ""


def disentangling(found: dict) -> Judgement:
    """Holds if no probe reads the class off the style code, on every data set. What swaps show stands beside it."""
    clean, read, swapped = [], [], []
    for data, by_split in found["disentangling"].items():
        figures = by_split.get("test") or by_split["train"]
        means = {key: figures[row]["mean"] for key, row in ROWS.items() if row in figures}
        best, chance = max(means[key] for key in PROBES if key in means), means["style_to_label_chance"]
        clean += [DATA_SETS[data].title] if best <= chance + LEGIBLE else []
        read.append(f"{DATA_SETS[data].title} {best:.0f} % (by chance {chance:.0f})")
        swapped += [f"{DATA_SETS[data].title} {means[key]:.1f} %" for key in SWAPS if key in means]
    because = f"The best probe reads the class off the style code: {', '.join(read)}. " \
              f"Swaps show the wanted class: {', '.join(swapped) or 'not measured'}."
    verdict = HOLDS if len(clean) == len(read) else ONLY_FOR if clean else FAILS
    return verdict, because, " and ".join(clean) if verdict == ONLY_FOR else ""


CLAIMS = (  # title, rule, figures
    ("The most compression without loss of accuracy, with nothing to tune", compression,
     ("information-plane", f"ib-curve-{PAPER_DATA}-vib-none")),
    ("Better generalization", generalization, ()),
    ("Robustness to attacks", robustness, ("robustness",)),
    ("Detection of out-of-distribution images", detection, ("detection", "detection-and-noise")),
    ("Supervised disentangling", disentangling, ()),
)


def _published(found: dict, row: str) -> dict[str, float]:
    """A row of the paper's table: method of the paper -> our mean. Raises KeyError where one was not run."""
    return {model: found["quantitative"][PAPER_DATA][model][row]["mean"] for model in published_on(PAPER_DATA)}


def _of_code(found: dict, code: str, row: str) -> dict[str, float]:
    """method -> our mean with that code."""
    return {model: of[code][row]["mean"] for model, of in found["codes"].items() if row in of.get(code, {})}


def _lead(figures: dict[str, float]) -> float:
    """By how much DisenIB lies above the best of the paper's other methods."""
    return figures[PROPOSED] - max(figures[model] for model in published_on(PAPER_DATA) if model != PROPOSED)


def _ahead(lead: float) -> str:
    if abs(lead) <= LEVEL:
        return f"level ({lead:+.2f} points)"
    return f"{abs(lead):.2f} points {'ahead' if lead > 0 else 'behind'}"
