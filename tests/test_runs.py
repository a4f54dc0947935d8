"""Runs from Python: docs/python.md does what it says, and a loaded run has the numbers of its training."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, execute, run_of, train
from PIL import Image

import dataloader
import hubconf
from custom_pkg.errors import UserError
from experiments.runs import load_run, results_frame
from reporting.grid import published_grid

PAGE = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (REPOSITORY / "docs/python.md").read_text(), re.M | re.S))


def blocks(heading: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE[heading], re.M | re.S)


@pytest.fixture
def here(copy, monkeypatch):
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("named", ["desc", "desc of a seed", "folder", "folder of seeds", "file"])
def test_a_loaded_run_gives_the_numbers_of_its_training(here, tmp_path, monkeypatch, named):
    run = run_of(here)
    if not named.startswith("desc"):
        monkeypatch.chdir(tmp_path)
    loaded = load_run({
        "desc": "a/b", "desc of a seed": "a/b/seed0", "folder": run.path, "folder of seeds": run.path.parent,
        "file": run.last,
    }[named])
    assert (loaded.options.model, loaded.options.epochs, loaded.saved["position"]["epoch"]) == ("vib", 3, 3)
    evaluation = json.loads((run.path / "evaluation.json").read_text())
    found = loaded.evaluate(["accuracy", "information"])
    assert {split: {key: evaluation[split][key] for key in found[split]} for split in found} == found
    images, labels = loaded.data.sets["test"]
    correct = (loaded.model.classifier()(images).argmax(1) == labels).double().mean()
    assert float(correct) == evaluation["test"]["accuracy_mean_code"]


def test_evaluating_leaves_the_numbers_that_are_drawn_next_as_they_were(here):
    run = load_run("a/b")
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = float(torch.rand(())), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    run.evaluate(["accuracy"], ["test"])
    assert (float(torch.rand(())), np.random.rand()) == wanted


@pytest.mark.parametrize("which, words", [
    ({"which": "nowhere"}, "nowhere is neither a file nor a run"), ({"which": "a/b", "seed": 1}, "neither"),
    ({"which": "a/b", "checkpoint": "step7"}, "no checkpoint step7: there are best, last, previous"),
    ({"which": "a/b", "device": "cuda:9"}, "cuda:9"),
    ({"which": "a/b", "device": "gpu"}, "--device=gpu: must be"),
])
def test_what_is_not_there_is_named(here, which, words):
    with pytest.raises(UserError, match=words):
        load_run(**which)


def test_a_metric_or_a_set_that_there_is_not_is_refused_and_one_needs_no_list(here):
    run = load_run("a/b")
    assert run.evaluate("accuracy", "test") == run.evaluate(["accuracy"], ["test"]) != {}
    for metrics, splits, words in (("acuracy", "test", "acuracy"), (["accuracy"], ["tset"], "tset"),
                                   ("robustness", "test", "robustness")):
        with pytest.raises(UserError, match=f"{words} cannot be evaluated: there are "):
            run.evaluate(metrics, splits)


def test_the_data_are_looked_for_where_the_run_had_them_if_that_is_here(here, tmp_path):
    saved = torch.load(run_of(here).last, weights_only=True)
    saved["options"]["data_root"] = str(tmp_path / "elsewhere")
    torch.save(saved, run_of(here).last)
    assert load_run("a/b").options.data_root == "STORAGE/datasets"
    (tmp_path / "elsewhere").mkdir()
    assert load_run("a/b").options.data_root == str(tmp_path / "elsewhere")
    assert load_run("a/b", data_root="mine").options.data_root == "mine"


def test_other_images_than_the_run_s_are_refused(here):
    saved = torch.load(run_of(here).last, weights_only=True)
    saved["data"]["sha256"] = {"images": "0"}
    torch.save(saved, run_of(here).last)
    with pytest.raises(UserError, match="last.pt was trained on other images"):
        load_run("a/b").data  # noqa: B018


def test_the_attack_of_the_page_does_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(tmp_path, "--desc=quant/mnist/vib", "--epochs=10").status == 0
    [loading], [attack] = blocks("A trained model"), blocks("An attack of your own")
    assert len(attack.splitlines()) <= 12
    names = {}
    exec(loading + attack, names)
    clean = names["run"].evaluate(["accuracy"], ["test"])["test"]["accuracy_mean_code"]
    assert names["withstood"] < clean - 0.2
    assert (names["attacked"] - names["images"]).abs().max() <= 0.3 + 1e-6


def test_a_folder_of_images_is_trained_on_and_loaded(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for which, count in (("train", 30), ("test", 10)):
        for label in ("flat", "steep"):
            folder = tmp_path / "STORAGE/datasets/my_images" / which / label
            folder.mkdir(parents=True)
            for number in range(count):
                rows = (np.arange(20) // 4 % 2)[:, None] * np.full((1, 24), 200) + random.integers(0, 50, (20, 24))
                Image.fromarray((rows if label == "flat" else rows.T).astype(np.uint8)).save(folder / f"{number}.png")
    for block in blocks("A folder of images as a data set"):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    small = "--enc_hidden_dims=16 --batch_size=20 --epochs=15 --learning_rate=0.01".split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(dataloader.DATASETS, "my_images", None)  # which the page's code enters anew
    mine = str(tmp_path / "train_my_images.py")
    outcome = execute(tmp_path, mine, "--dataset=my_images", "--desc=mine/first", *small)
    assert outcome.status == 0, outcome.err
    run = load_run("mine/first")
    assert run.data.data.n_classes == 2 and run.evaluate(["accuracy"])["test"]["accuracy_mean_code"] > 0.9


def test_the_table_of_the_page_has_a_row_for_every_finished_run(here):
    assert train(here, "--desc=c", "--rand_seed=1", "--epochs=1").status == 0
    names = {}
    exec(blocks("All runs as a table")[0], names)
    assert len(names["runs"]) == 2 + len(list((REPOSITORY / "results").rglob("evaluation.json")))
    runs = results_frame("STORAGE/experiments").set_index("desc")
    assert runs.loc["c", ["rand_seed", "epochs", "epoch", "script"]].tolist() == [1, 1, 1, "train_lagrangian"]
    evaluation = json.loads((run_of(here).path / "evaluation.json").read_text())
    assert runs.loc["a/b", "ood/gauss/auroc"] == evaluation["ood"]["gauss"]["auroc"]


def test_the_table_of_the_page_has_the_means_of_the_comparison_and_leaves_damaged_runs_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [table] = blocks("All runs as a table")
    names = {}
    exec(table, names)
    means = names["compared"].groupby("desc")[["test/accuracy", "test/mi_xt"]].mean()
    figures = json.loads((REPOSITORY / "results/tables.json").read_text(encoding="utf-8"))["quantitative"]["mnist"]
    for model in ("vib", "squared-nib"):
        assert means.loc[f"quant/mnist/{model}", "test/mi_xt"] == pytest.approx(figures[model]["I(X;T), test"]["mean"])
    assert "quant/mnist/disenib" in means.index
    broken = tmp_path / "runs/a/seed0"
    shutil.copytree(REPOSITORY / "results/quant/mnist/vib/seed0", broken)
    shutil.copytree(broken, tmp_path / "runs/b/seed0")
    (broken / "config.json").write_text('{"options": null}')
    with pytest.warns(UserWarning, match="runs/a/seed0 is left out"):
        assert results_frame("runs")["desc"].tolist() == ["b"]


def test_without_pandas_the_table_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        results_frame()


def test_of_weights_that_are_not_there_torch_hub_says_what_to_give(monkeypatch, tmp_path):
    monkeypatch.setattr(hubconf, "_MODELS", tmp_path)
    with pytest.raises(FileNotFoundError, match="^disentangling-shapes: no weights in .*; path=.* checkpoint"):
        hubconf.disentangling_shapes()


def test_torch_hub_loads_from_a_folder(here, tmp_path):
    """In a process that knows the project from nowhere else."""
    script = (
        "import torch\n"
        f"model = torch.hub.load({str(REPOSITORY)!r}, 'vib', source='local', path={str(run_of(here).last)!r})\n"
        "print(tuple(model(torch.zeros(5, 64)).shape))"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "(5, 10)\n"
    entry_points = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")}
    assert entry_points == {run.name.replace("-", "_") for run in published_grid([], (0,), "mnist")}


def test_an_installation_adds_what_the_page_says_and_hides_nobody_s_module(tmp_path):
    project, theirs, here = (tmp_path / name for name in ("project", "theirs", "here"))
    for folder in (project / "built", theirs, here):
        folder.mkdir(parents=True)
    for file in (*REPOSITORY.glob("*.py"), *(REPOSITORY / name for name in ("pyproject.toml", "README.md", "LICENSE"))):
        shutil.copy(file, project)
    for package in ("custom_pkg", "dataloader", "experiments", "modellib", "reporting", "tests"):
        shutil.copytree(REPOSITORY / package, project / package, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    (theirs / "dataloader.py").write_text("")
    script = (
        "import importlib.util, os, site, sys, zipfile, setuptools.build_meta as backend\n"
        "zipfile.ZipFile(f'built/{backend.build_editable(\"built\")}').extractall('built')\n"
        "site.addsitedir(os.path.abspath('built')), site.addsitedir(os.path.abspath('../theirs'))\n"
        "os.chdir('../here')\n"
        "names = 'experiments.runs modellib custom_pkg reporting train_disenib dataloader evaluate reproduce tests'\n"
        "found = map(importlib.util.find_spec, names.split())\n"
        "print('found', *(spec and os.path.relpath(spec.origin, '..').split('/')[0] for spec in found))"
    )
    ended = subprocess.run([sys.executable, "-Pc", script], cwd=project, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].split() == ["found", *["project"] * 5, "theirs", *["None"] * 3]
