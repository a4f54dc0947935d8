"""Verdicts on the paper's claims follow the numbers: other runs, another verdict."""

import json
from dataclasses import replace
from functools import cache

import pytest
from conftest import REPOSITORY

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


def judged(change_tables=None, change_run=None) -> list[dict]:
    """The claims of the committed results, with changes made to the tables and to each run's evaluation."""
    found = json.loads((RESULTS / "tables.json").read_text(encoding="utf-8"))
    runs = committed_runs()
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


def robust(disenib: float, plain: float, largest: float = 60.0):
    def change(found):
        found["robustness"].clear()
        for model, value in (("disenib", disenib), ("plain", plain)):
            found["robustness"][model] = {"mean": {"worst case": {
                "0.1": {"mean": value}, "0.3": {"mean": largest},
            }}}
    return change


def test_a_network_trained_against_attacks_is_no_rival_in_robustness():
    def change(found):
        robust(80, 20)(found)
        found["robustness"]["pgd-trained"] = {"mean": {"worst case": {"0.1": {"mean": 95.0}}}}
    claim = judged(change)[2]
    assert claim["verdict"] == "Holds." and "(next best: plain network 20.0)" in claim["because"]
    assert claim["because"].endswith("At ε = 0.3, where FGSM leaves 70.2 % of the right ones, 60.0 % of all are left.")


def rate(model: str, outside: str, value: float):
    def change(found):
        for code in ("sample", "mean"):
            found["detection"][model][outside][code]["mean"] = value
    return change


def all_first(found):
    for outside in ("gauss", "fashion_mnist"):
        rate("disenib", outside, -1)(found)


def test_a_lead_by_another_score_is_told():
    def change(found):
        found["scores"]["nib"]["fashion_mnist"]["class_means"]["mean"] = -1
    ends = [judged(how)[3]["because"].partition(" By their distance")[2] for how in (None, change)]
    assert ends[0].startswith(" to the class means it takes 3.9 % (") and ends[1] == ""


def disentangled(data: str, row: str, value: float):
    return lambda found: found["disentangling"][data]["test"][row].update(mean=value)


@pytest.mark.parametrize("number, change_tables, change_run, verdict", [
    (1, None, of_disenib(mi_xt=9.5), "Does not hold."),
    (1, lambda found: found["quantitative"]["mnist"]["nib"]["I(X;T), test"].update(mean=1.0), None, "Does not hold."),
    (1, None, of_disenib(mi_xt=3.0), "Compression holds only by the paper's I(Y;T)."),
    (1, lambda found: found["codes"]["squared-nib"]["mean"]["I(X;T)"].update(mean=3.0), None, "Compression holds."),
    (1, lambda found: found["codes"]["squared-nib"]["mean"]["accuracy, %"].update(mean=90), None, "Compression holds."),
    (2, None, of_disenib(accuracy=0.985, accuracy_mean_code=0.995), "Holds."),
    (2, lambda found: found["quantitative"]["mnist"]["disenib"]["accuracy test, %"].update(mean=90), None,
     "Does not hold."),
    (3, robust(80, 20), None, "Holds."),
    (3, lambda found: found["robustness"].pop("plain"), None, "Open."),
    (3, robust(21, 20), None, "Does not hold."),
    (3, robust(10, 20), None, "Does not hold."),
    (4, rate("nib", "gauss", -1), None, "Does not hold."),
    (4, all_first, None, "Holds."),
    (4, rate("disenib", "gauss", -1), None, "Holds only for noise."),
    (5, disentangled("mnist", "swaps recognised as intended, %", 60), None, "Does not hold."),
    (5, disentangled("sprites", "swaps against the true image, MSE", 1), None, "Does not hold."),
    (5, lambda found: found["disentangling"]["shapes"].clear(), None, "Open."),
])
def test_a_verdict_follows_the_numbers(number, change_tables, change_run, verdict):
    before, after = judged(), judged(change_tables, change_run)
    assert after[number - 1]["verdict"] == verdict != before[number - 1]["verdict"]
