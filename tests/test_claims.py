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


def robust(disenib: float, plain: float):
    def change(found):
        for model, value in (("disenib", disenib), ("plain", plain)):
            found["robustness"][model] = {"mean": {"worst case": {"0.1": {"mean": value}}}}
    return change


def test_as_long_as_no_full_run_was_attacked_one_that_stopped_early_is_told_of():
    def change(found):
        found["robustness"] = {"plain": {"mean": {"worst case": {"0.1": {"mean": 70.0}}}}}
        found["ablations"]["default"] = {row: {"mean": value} for row, value in (
            ("worst case, ε = 0.1, %", 60.0), ("worst case, ε = 0.3, %", 2.0), ("FGSM test, ε = 0.3, %", 40.0),
        )}
    claim = judged(change)[2]
    assert claim["verdict"] == "Open."
    assert claim["because"].endswith(
        "On a run stopped at a quarter of its training they leave 60.0 % of the test images at ε = 0.1 (a plain "
        "network 70.0), and 2.0 % at ε = 0.3, where FGSM leaves 40.0 % of the right ones."
    )
    robust(10, 20)(found := {"robustness": {}})
    found["robustness"]["disenib"]["mean"]["worst case"]["0.3"] = {"mean": 1.0}
    text = judged(lambda tables: tables.update(found))[2]["because"]
    assert text.endswith("At ε = 0.3, where FGSM leaves 70.2 % of the right ones, 1.0 % of all are left.")


def rate(model: str, outside: str, value: float):
    def change(found):
        for code in ("sample", "mean"):
            found["detection"][model][outside][code]["mean"] = value
    return change


def all_first(found):
    for outside in ("gauss", "fashion_mnist"):
        rate("disenib", outside, -1)(found)


def disentangled(data: str, row: str, value: float):
    return lambda found: found["disentangling"][data]["test"][row].update(mean=value)


@pytest.mark.parametrize("number, change_tables, change_run, verdict", [
    (1, None, of_disenib(mi_xt=9.5), "Does not hold."),
    (1, lambda found: found["quantitative"]["mnist"]["nib"]["I(X;T), test"].update(mean=1.0), None, "Does not hold."),
    (1, None, of_disenib(mi_xt=3.0), "Compression holds only by the paper's I(Y;T)."),
    (2, None, of_disenib(accuracy=0.985, accuracy_mean_code=0.995), "Holds."),
    (2, lambda found: found["quantitative"]["mnist"]["disenib"]["accuracy test, %"].update(mean=90), None,
     "Does not hold."),
    (3, robust(80, 20), None, "Holds."),
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
