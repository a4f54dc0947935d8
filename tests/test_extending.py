"""docs/extending.md does what it says: its code is run as it stands, and none of the project's files is changed."""

import contextlib
import importlib
import json
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY, execute, run_of, subprocess_environment

import dataloader
from experiments import catalogue, run_table
from modellib import ib_lagrangian
from modellib.evaluations import attacks, protocol
from reporting import grid, tables
from reporting.grid import QUICK_LABEL
from reporting.report import report

SMALL = "--enc_hidden_dims=[16] --learning_rate=0.01 --epochs=3".split()
PAGE = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (REPOSITORY / "docs/extending.md").read_text(), re.M | re.S))


def blocks(heading: str) -> list[str]:
    found = re.findall(r"^```python\n(.*?)^```", PAGE[heading], re.M | re.S)
    assert found
    return found


@pytest.fixture(autouse=True)
def registries():
    """Whatever a recipe enters is taken out again."""
    all_of_them = (
        ib_lagrangian.MODELS, catalogue.METHODS, catalogue.DATA_SETS, dataloader.DATASETS, attacks.ATTACKS,
        protocol.METRICS, run_table.ROWS,
    )
    before = [dict(registry) for registry in all_of_them]
    yield
    for registry, content in zip(all_of_them, before, strict=True):
        registry.clear()
        registry.update(content)


def carry_out(heading: str) -> None:
    for block in blocks(heading):
        exec(compile(block, heading, "exec"), {"__name__": "recipe"})


def finished(outcome, cwd, desc) -> dict:
    assert outcome.status == 0, outcome.err
    return json.loads((run_of(cwd, desc).path / "evaluation.json").read_text())


def test_a_rate_term_trains_evaluates_and_has_a_column_in_the_report(tmp_path):
    carry_out("A rate term")
    desc = "quick/quant/digits/short"
    flags = ["--model=short", "--dataset=digits", f"--desc={desc}", *SMALL]

    def trained(*more):
        return finished(execute(tmp_path, "train_lagrangian.py", *flags, *more), tmp_path, desc)

    weak, strong = trained("--lambda_kl=0.1"), trained("--lambda_kl=10", "--overwrite")
    assert strong["test"]["mi_yt"] < weak["test"]["mi_yt"]  # the term counts
    assert execute(tmp_path, "evaluate.py", f"--desc={desc}", "--metrics=accuracy").status == 0
    [run] = grid.published_grid(["short"], (0,), "mnist")
    assert " ".join(run.command()) == (
        "python train_lagrangian.py --model=short --dataset=mnist --lambda_kl=0.1 --desc=quant/mnist/short"
    )
    report(tmp_path / "STORAGE/experiments/quick", tmp_path / "report", label=QUICK_LABEL)
    found = json.loads((tmp_path / "report/tables.json").read_text())
    accuracy = found["quantitative"]["digits"]["short"]["accuracy test, %"]["mean"]
    assert accuracy == pytest.approx(100 * strong["test"]["accuracy"])
    assert "short codes" in (tmp_path / "report/tables.tex").read_text()
    assert (tmp_path / "report/figures/information-plane.png").exists()


def test_a_data_set_is_trained_on_and_compared(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module, registration = blocks("A data set")
    (tmp_path / "stripes.py").write_text(module)
    importlib.invalidate_caches()
    exec(registration, {})
    flags = ["--dataset=stripes", "--desc=mine/stripes", *SMALL, "--batch_size=50", "--epochs=5"]
    evaluation = finished(execute(tmp_path, "train_lagrangian.py", *flags), tmp_path, "mine/stripes")
    assert evaluation["test"]["accuracy"] > 0.9
    config = json.loads((run_of(tmp_path, "mine/stripes").path / "config.json").read_text())
    assert (config["data"]["n_classes"], config["data"]["image_shape"]) == (2, [1, 8, 8])
    assert "stripes" in catalogue.compared()


def test_an_attack_counts_in_the_worst_case(tmp_path):
    carry_out("An attack")
    flags = ["--model=plain", "--dataset=digits", "--desc=mine/plain", *SMALL]
    finished(execute(tmp_path, "train_lagrangian.py", *flags), tmp_path, "mine/plain")
    asked = ["--metrics=robustness", "--attacks=corners", "--n_images=100", "--eval_attack_epsilons=0.1,1"]
    outcome = execute(tmp_path, "evaluate.py", "--desc=mine/plain", *asked)
    assert outcome.status == 0, outcome.err
    evaluation = json.loads((run_of(tmp_path, "mine/plain").path / "evaluation-last.json").read_text())
    figures = evaluation["robustness"]
    by_attack = figures["by_attack"]["corners"]
    assert by_attack["1.0"] < by_attack["0.1"] <= figures["clean_accuracy"]
    assert figures["worst_case"] == by_attack


def test_a_metric_is_part_of_every_evaluation_and_has_a_row(tmp_path):
    carry_out("A metric")
    flags = ["--dataset=digits", "--desc=mine/vib", *SMALL]
    outcome = execute(tmp_path, "train_lagrangian.py", *flags)
    evaluation = finished(outcome, tmp_path, "mine/vib")
    shown = f"{100 * evaluation['test']['confidence']:.2f}"
    assert 10 < float(shown) < 100
    assert re.search(rf"^mean confidence, % +[\d.]+ +{shown}$", outcome.out, re.M)
    again = execute(tmp_path, "evaluate.py", "--desc=mine/vib", "--metrics=confidence", "--split=test")
    assert again.status == 0 and shown in again.out
    assert "mean confidence, %" not in tables.ROWS


def test_a_file_of_one_s_own_runs_a_recipe_without_a_change_to_the_project(tmp_path):
    ending = re.search(r"(?:^    .*\n)+", (REPOSITORY / "docs/extending.md").read_text(), re.M)[0]
    ending = "".join(line.removeprefix("    ") for line in ending.splitlines(keepends=True))
    assert "run_script(train_lagrangian.main)" in ending
    mine = tmp_path / "mine.py"
    mine.write_text("\n".join([*blocks("A rate term"), ending]))
    command = [sys.executable, mine, "--model=short", "--dataset=digits", "--desc=mine/short", *SMALL]
    with contextlib.chdir(tmp_path):
        ended = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "SHORT, h = none, lambda_kl = 0.01" in ended.stdout and run_of(tmp_path, "mine/short").last.exists()
