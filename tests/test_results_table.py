import importlib.util
import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results_table():
    spec = importlib.util.spec_from_file_location("results_table", ROOT / "results" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_tables_of_the_committed_runs(results_table):
    readme = (ROOT / "README.md").read_text()
    assert results_table.with_tables(readme) == readme


def test_a_cell_is_mean_and_std_over_the_seeds_beside_the_paper_s_figure(results_table):
    files = [ROOT / "results/quant/mnist/vib" / f"seed{seed}" / "evaluation.json" for seed in (0, 1, 2)]
    values = [json.loads(file.read_text())["test"]["accuracy"] for file in files]
    mean, std = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    [row] = [line for line in results_table.table().split("\n") if line.startswith("| accuracy test")]
    assert row.split(" | ")[1] == f"{mean:.2f} ± {std:.2f} (97.59)"


def test_a_dagger_needs_more_than_three_stds_and_more_than_ten_percent(results_table):
    assert results_table.is_off(12.0, 0.5, 10.0)
    assert not results_table.is_off(12.0, 0.7, 10.0)  # within 3 stds
    assert not results_table.is_off(10.9, 0.01, 10.0)  # within 10 %
    assert results_table.is_off(12.0, float("nan"), 10.0)  # one seed: 10 % decides


def test_a_model_without_runs_shows_as_absent(results_table, tmp_path):
    results_table.RESULTS = tmp_path
    row = results_table.table().split("\n")[2]
    assert row.split(" | ")[1:] == ["absent"] * 3 + ["absent |"]
    run = tmp_path / "quant/mnist/nib/seed4/evaluation.json"
    run.parent.mkdir(parents=True)
    run.write_bytes((ROOT / "results/quant/mnist/nib/seed0/evaluation.json").read_bytes())
    cells = results_table.table().split("\n")[2].split(" | ")
    assert cells[1] == "absent" and "± nan (2.90)" in cells[2]
