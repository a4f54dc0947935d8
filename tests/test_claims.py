"""Verdicts on the paper's claims follow the numbers: other runs, another verdict."""

import json
import re
from dataclasses import replace
from functools import cache

import pytest
from conftest import REPOSITORY

from experiments.catalogue import published_on
from reporting.claims import claims
from reporting.collect import FinishedRun, read_runs

RESULTS = REPOSITORY / "results"


@cache
def committed_runs() -> list[FinishedRun]:
    return read_runs(RESULTS)


def test_without_vib_s_curve_the_first_claim_is_open():
    found = json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))
    first = claims(found, [run for run in committed_runs() if run.kind != "sweep"])[0]
    assert first["verdict"] == "Open." and "--sweep" in first["because"]


def test_a_sweep_of_another_option_is_no_curve_over_lambda():
    found = json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))
    others = [replace(run, swept="emb_dim") if run.kind == "sweep" else run for run in committed_runs()]
    assert claims(found, others)[0]["because"] == "VIB's curve has not been run (--sweep)."


def judged(change_tables=None, change_run=None) -> list[dict]:
    """The claims of the committed results, with changes made to the tables and to each run's evaluation.

    Then without what evaluate.py has measured of points of curves, which no change of the tables changes.
    """
    found = json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))
    runs = committed_runs()
    if change_run or change_tables:
        runs = [replace(run, others={}) if run.kind == "sweep" else run for run in runs]
    if change_run:
        runs = [replace(run, evaluation=run.evaluation | change_run(run)) for run in runs]
    if change_tables:
        change_tables(found)
    return claims(found, runs)


def test_the_committed_verdicts_are_those_in_tables_json():
    assert judged() == json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))["claims"]
    assert len(judged()) == 5


def test_without_runs_every_claim_is_open_and_says_what_is_missing():
    nothing = {"quantitative": {"mnist": {}}, "sweeps": {}, "robustness": {}, "detection": {}, "disentangling": {},
               "ablations": {}}
    assert [claim["verdict"] for claim in claims(nothing, [])] == ["Open."] * 5
    assert claims(nothing, [])[1]["because"] == "Not run: VIB, NIB, squared-VIB, squared-NIB and DisenIB."


def of_disenib(**values):
    return lambda run: {f"test/{key}": value for key, value in values.items()} if run.name == "disenib" else {}


CONTROLS = ("plain-long", "squared-nib-long")
FGSM = 70.0  # what one step of ε = 0.3 leaves


def robust(disenib: float, other: float, largest: float = 60.0, **changes: float):
    """Robust accuracies at ε = 0.1 of DisenIB, of all the others, and of some of them; largest: at ε = 0.3."""
    def change(found):
        values = dict.fromkeys((*published_on("mnist"), "plain", *CONTROLS), other) | {"disenib": disenib} | changes
        found["robustness"] = {
            model: {"mean": {"worst case": {"0.1": {"mean": value, "seeds": {"0": value}}, "0.3": {"mean": largest}},
                             "fgsm margin": {"0.3": {"mean": FGSM}}}}
            for model, value in values.items()
        }
    return change


def without(change, model: str):
    def both(found):
        change(found)
        del found["robustness"][model]
    return both


def test_a_network_trained_against_attacks_is_no_rival_in_robustness():
    claim = judged(robust(80, 20, **{"pgd-trained": 95}))[2]
    assert claim["verdict"] == "Holds."
    assert "0.1. The best other not trained against attacks: VIB 20.0. At ε = 0.3 at most 60.0 %" in claim["because"]
    assert claim["because"].endswith("at most 60.0 % stay right, where one step (FGSM on the margin) leaves 70.0 %.")
    assert claim["more"] == ("DisenIB's runs: 80.0 to 80.0 %. Trained for as many epochs, with ε = 0.1: plain for 213 "
                             "epochs 20.0 % and squared-NIB for 213 epochs 20.0 %. A lead is 3 points or more of the "
                             "mean.")


def test_a_lead_that_shrinks_to_less_than_half_of_what_fgsm_leaves_is_not_of_the_paper_s_size():
    verdicts = [judged(robust(80, 20, largest=share * FGSM))[2]["verdict"] for share in (0.49, 0.51)]
    assert verdicts == ["The lead holds, its size does not.", "Holds."]


def code(model: str, which: str, row: str, value: float):
    return lambda found: found["codes"][model][which][row].update(mean=value)


def rate(model: str, outside: str, value: float, *codes: str):
    def change(found):
        for code in codes or ("sample", "mean"):
            found["detection"][model][outside][code]["mean"] = value
    return change


def all_first(found):
    for outside in ("gauss", "fashion_mnist"):
        rate("disenib", outside, -9)(found)


def test_a_control_is_a_rival_in_robustness():
    claim = judged(robust(80, 20, **{"squared-nib-long": 30}))[2]
    assert "The best other not trained against attacks: squared-NIB for 213 epochs 30.0." in claim["because"]


def test_a_lead_by_another_score_is_told():
    def change(found):
        found["scores"]["nib"]["fashion_mnist"]["class_means"]["mean"] = -1
    ends = [judged(how)[3]["more"].partition(" By the distance of mean codes ")[2] for how in (None, change)]
    assert ends[0].startswith("to the class means DisenIB is first on Fashion-MNIST: 3.9 % (") and ends[1] == ""


def test_a_reference_is_named_beside_the_best_of_the_paper_s_and_changes_no_verdict():
    def change(found):
        code("ceb", "sample", "I(X;T)", 2.0)(found)
        code("ceb", "sample", "accuracy, %", 98.0)(found)
        code("squared-vib", "sample", "I(X;T)", 2.9)(found)
        rate("ceb", "gauss", 1.0, "sample")(found)
    compression, _, _, detection, _ = judged(change)
    assert "accurate: CEB 2.00, of the paper's at its published λ squared-VIB 2.90." in compression["because"]
    assert compression["verdict"].startswith("Holds in part: leads on sampled codes")
    assert re.search(r"sampled codes \(CEB 1.0, of the paper's NIB \d+.\d\)", detection["because"])
    assert detection["verdict"].startswith("Holds for noise on sampled codes")


def test_runs_of_a_reference_that_are_ahead_of_some_of_the_proposed_method_s_are_told():
    def apart(found):
        found["detection"]["ceb"]["gauss"]["sample"]["seeds"] = {"0": 99.0}
    told = [" every run of CEB." in judged(how)[3]["more"] for how in (None, apart)]
    assert told == [True, False]


def test_nats_at_equal_accuracy_are_read_off_the_curves():
    def as_accurate(accuracy: float) -> str:
        return re.search("right as often: (.*?)[.] To tell", judged(None, of_disenib(accuracy=accuracy))[0]["more"])[1]

    assert as_accurate(0.9769).endswith(" and CEB 2.71")  # a point of the curve
    assert as_accurate(1.0) == "VIB more than it reaches and CEB more than it reaches"


AT_A_LOSS, TUNED = "on sampled codes, where accuracy is lost", "on mean codes; there is something to tune."


def some_runs_keep_more(found):
    found["codes"]["squared-nib"]["mean"]["I(X;T)"]["seeds"]["0"] = 2.5
    found["codes"]["squared-nib-long"]["mean"]["I(X;T)"]["seeds"] = {"0": 0.0, "1": 0.0, "2": 0.0}  # a control


def of_one_seed(found):
    for of in found["codes"].values():
        for row in of["mean"].values():
            row["seeds"] = {"0": row["seeds"]["0"]}


def fine_and_untuned(found):
    """The first claim as the paper has it."""
    code("squared-nib", "mean", "I(X;T)", 3.0)(found)
    code("plain", "mean", "accuracy, %", 90)(found)
    found["ablations"] = {"default": found["ablations"]["default"]}


def disentangled(data: str, row: str, value: float):
    return lambda found: found["disentangling"][data]["test"][row].update(mean=value)


@pytest.mark.parametrize("number, change_tables, change_run, verdict", [
    (1, code("disenib", "sample", "I(X;T)", 9.5), None,
     f"Does not hold: behind {AT_A_LOSS}; not ahead {TUNED}"),
    (1, code("squared-nib", "mean", "I(X;T)", 3.0), None,
     f"Holds in part: leads {AT_A_LOSS}; leads {TUNED}"),
    (1, code("squared-nib", "mean", "accuracy, %", 90), None,
     f"Holds in part: leads {AT_A_LOSS}; leads {TUNED}"),
    (1, code("squared-nib", "mean", "I(X;T)", 1.0), None,
     f"Holds in part: leads {AT_A_LOSS}; behind {TUNED}"),
    (1, code("plain", "mean", "accuracy, %", 90), None,
     f"Holds in part: leads on sampled codes; not ahead {TUNED}"),
    (1, some_runs_keep_more, None, f"Holds in part: leads {AT_A_LOSS}; level {TUNED}"),
    (1, of_one_seed, None, f"Holds in part: leads {AT_A_LOSS}; level {TUNED}"),
    (1, fine_and_untuned, None, "Holds."),
    (1, lambda found: found["codes"]["nib"]["mean"].clear(), None, "Open."),
    (2, None, of_disenib(accuracy=0.985, accuracy_mean_code=0.995), "Holds."),
    (2, None, of_disenib(accuracy=0.99), "Holds on sampled codes, level on mean codes."),
    (2, None, of_disenib(accuracy=0.9), "Does not hold."),
    (2, lambda found: found["quantitative"]["mnist"]["disenib"]["accuracy test, %"].update(mean=90), None,
     "Does not hold."),
    (3, robust(80, 20), None, "Holds."),
    (3, robust(21, 20), None, "Does not hold: level under strong attacks."),
    (3, robust(10, 20), None, "Does not hold."),
    (3, robust(80, 20, **{"plain-long": 90}), None, "Does not hold."),
    (3, without(robust(80, 20), "squared-nib"), None, "Open."),
    (3, without(robust(80, 20), "plain-long"), None, "Open."),
    (4, rate("nib", "gauss", -9), None, "Does not hold."),
    (4, all_first, None, "Holds."),
    (4, rate("nib", "gauss", -9, "mean"), None,
     "Holds for noise on sampled codes at the published λ, behind on mean codes; not for other images."),
    (4, rate("nib", "gauss", 5, "sample"), None, "Does not hold."),
    (5, disentangled("mnist", "swaps recognised as intended, %", 60), None, "Does not hold."),
    (5, disentangled("sprites", "swaps against the true image, MSE", 1), None, "Does not hold."),
    (5, lambda found: found["disentangling"]["shapes"].clear(), None, "Open."),
    (5, lambda found: found["disentangling"]["mnist"]["test"].pop("swaps recognised as intended, %"), None, "Open."),
])
def test_a_verdict_follows_the_numbers(number, change_tables, change_run, verdict):
    before, after = judged(), judged(change_tables, change_run)
    assert after[number - 1]["verdict"] == verdict != before[number - 1]["verdict"]


def test_a_lead_in_detection_that_another_weight_of_a_rival_undoes_is_one_at_the_published_weight():
    words = "codes as often right accept less than any run of DisenIB: VIB with λ = 1e"
    assert words in judged()[3]["more"]
    for spoilt in ({"ood/gauss/fpr_at_95_tpr": 0.9}, {"test/accuracy": 0.5}):
        claim = judged(None, lambda run, spoilt=spoilt: spoilt if run.kind == "sweep" else {})[3]
        assert claim["verdict"].startswith("Holds for noise on sampled codes, level") and words not in claim["more"]


def with_measured_point(value: float = 0.1, *seeds: int, **measured: float) -> list[dict]:
    """The claims, after evaluate.py has measured mean codes of squared-VIB with that λ alone; seeds: of other runs."""
    found = json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))
    runs = [
        replace(run, others={"last-mean-code": measured} if (run.name, run.value) == ("vib-pow", value) else {})
        if run.kind == "sweep" else run for run in committed_runs()
    ]
    twice = {key: 2 * figure for key, figure in measured.items()}
    runs += [replace(run, seed=seed, others={"last-mean-code": twice}) for seed in seeds for run in runs
             if (run.name, run.value) == ("vib-pow", value)]
    return claims(found, runs)


def test_a_rival_of_another_weight_counts_in_robustness():
    weak, strong = (with_measured_point(**{"robustness/worst_case/0.1": share})[2] for share in (0.25, 0.95))
    assert weak["more"].endswith("At another λ, of one seed and stopped early: squared-VIB with λ = 0.1 25.0 %.")
    assert weak["verdict"] == "The lead holds, its size does not." and strong["verdict"] == "Does not hold."
    assert "not trained against attacks: squared-VIB with λ = 0.1 95.0." in strong["because"]
    of_two, published = (with_measured_point(*which, **{"robustness/worst_case/0.1": 0.2})[2]["more"]
                         for which in ((0.1, 1), (0.001,)))
    assert of_two.endswith("At another λ, of 2 seeds and stopped early: squared-VIB with λ = 0.1 30.0 %.")
    assert "At another λ" not in published


def test_less_nats_of_mean_codes_at_another_weight_are_told():
    told = [with_measured_point(**{"test/mi_xt_mean_code": nats})[0]["more"] for nats in (1.5, 2.5)]
    assert "At another λ less still is kept of mean codes: squared-VIB with λ = 0.1 keeps 1.50 and is right" in told[0]
    assert "At another λ" not in told[1]
