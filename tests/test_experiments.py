from dataclasses import replace

import pytest
import torch

import dataloader
from custom_pkg.errors import UserError
from experiments import quantitative, run_table
from modellib import published
from modellib.evaluations.protocol import Evaluation, EvaluationSettings, evaluate
from modellib.evaluations.style import label_from_code
from train_lagrangian import Options

SETTINGS = EvaluationSettings(batch_size=16, attack_epsilons=(0.1,), odin_temperature=1000.0, odin_epsilon=0.0014)
VIB = Options(desc="x", dataset="mnist", model="vib", hfunc="none", hfunc_param=1.0, lambda_kl=0.01)


def generator(*names):
    return torch.Generator().manual_seed(sum(map(ord, "".join(names))))


def toy_sets(n=60, classes=3):
    """Noisy one-hot images."""
    labels = torch.arange(n) % classes
    random = torch.Generator().manual_seed(0)
    images = (torch.eye(classes)[labels] + 0.3 * torch.randn(n, classes, generator=random)).clamp(-1, 1)
    return {"train": (images, labels), "test": (images[:30] * 0.9, labels[:30])}


def toy_encoder(images):
    return images, torch.full_like(images, 0.5)


def evaluate_toy(sets=None, outside=None, **changes):
    outside = {"gauss": None} if outside is None else outside
    asked = {name: changes.pop(name) for name in ("metrics", "splits") if name in changes}
    return evaluate(Evaluation(
        toy_encoder, torch.nn.Identity(), sets or toy_sets(), outside, settings=SETTINGS, generator=generator, **changes
    ), **asked)


def test_a_metric_is_the_same_whatever_else_is_asked_for():
    whole = evaluate_toy(style_encoder=toy_encoder)
    for metric in ("accuracy", "information", "attack"):
        for split in ("train", "test"):
            part = evaluate_toy(style_encoder=toy_encoder, metrics=(metric,), splits=(split,))
            assert list(part) == [split] and part[split].items() <= whole[split].items()
    assert evaluate_toy(metrics=("detection",), splits=("test",))["ood"] == whole["ood"]


def test_figures_of_the_mean_code_stand_beside_those_of_a_sample_and_attacks_see_the_mean():
    sampled, of_mean = evaluate_toy(), evaluate_toy(code="mean")
    assert of_mean["train"]["mi_xt"] == sampled["train"]["mi_xt"]
    assert of_mean["train"]["mi_xt_mean_code"] != of_mean["train"]["mi_xt"]
    assert "mi_xt_mean_code" not in sampled["train"]
    assert of_mean["train"]["fgsm"] != sampled["train"]["fgsm"]
    assert of_mean["ood"] != sampled["ood"]
    # Without noise, robust accuracy and share are tied by the accuracy of the mean code.
    share, robust = of_mean["train"]["fgsm"]["0.1"], of_mean["train"]["fgsm_robust_accuracy"]["0.1"]
    assert robust == pytest.approx(share * of_mean["train"]["accuracy_mean_code"])


def test_detection_holds_the_outside_against_the_test_set():
    sets = toy_sets()
    same = evaluate_toy(sets, {"copy": sets["test"][0]}, code="mean")["ood"]["copy"]
    assert same["auroc"] == pytest.approx(0.5)  # the same images on both sides, whatever the training set is
    other = evaluate_toy(sets, {"train": sets["train"][0]}, code="mean")["ood"]["train"]
    assert abs(other["auroc"] - 0.5) > 1e-3


def test_classes_that_are_held_out_are_in_neither_set_and_lie_outside(tmp_path):
    whole = dataloader.load("digits", tmp_path)
    options = replace(VIB, dataset="digits", held_out_classes=(9, 3), eval_odin_out_data=("gauss",))
    data, sets, outside = quantitative.load(options, torch.device("cpu"))
    assert data.n_classes == 8 and data.record()["n_classes"] == 8 and "without the classes 9, 3" in data.source
    left = torch.isin(whole.test.labels, torch.tensor([3, 9]), invert=True)
    images, labels = sets["test"]
    assert torch.equal(images, whole.test.flat()[left])
    assert torch.equal(labels, whole.test.labels[left] - (whole.test.labels[left] > 3).long())
    assert torch.equal(outside["held_out"], whole.test.flat()[~left]) and outside["gauss"] is None
    for classes in ((10,), tuple(range(9))):
        with pytest.raises(UserError, match="two must be left"):
            whole.without(classes)


def test_the_label_is_found_in_a_style_code_that_holds_it_and_not_in_noise():
    random = torch.Generator().manual_seed(0)
    labels = {"train": torch.arange(300) % 3, "test": torch.arange(90) % 3}
    telling = [(torch.eye(3)[labels[name]], labels[name]) for name in labels]
    silent = [(torch.randn(len(labels[name]), 3, generator=random), labels[name]) for name in labels]

    def measure(sets):
        return label_from_code(
            "style_to_label", lambda x: (x, torch.tensor(0.1)), *sets, draw=lambda mean, std: mean, batch_size=50,
        )

    assert measure(telling) == {"style_to_label_accuracy": 1.0, "style_to_label_chance": pytest.approx(1 / 3)}
    assert measure(silent)["style_to_label_accuracy"] < 0.5


@pytest.mark.parametrize("change, column", [
    ({}, "vib"), ({"model": "nib"}, "nib"), ({"hfunc": "pow", "lambda_kl": 0.001}, "squared-vib"),
    ({"model": "nib", "hfunc": "pow", "lambda_kl": 0.001}, "squared-nib"), ({"epochs": 3, "batch_size": 7}, None),
    ({"epochs": 2}, None), ({"emb_dim": 8}, None), ({"learning_rate": 1e-3}, None), ({"eval_odin_epsilon": 0.0}, None),
    ({"rand_seed": 7, "eval_batch_size": 5, "desc": "y", "eval_odin_out_data": ("uniform",)}, "vib"),
    ({"model": "plain"}, None), ({"train_attack": "pgd"}, None),
    ({"dataset": "digits"}, None), ({"lambda_kl": 0.1}, None), ({"hfunc": "pow"}, None), ({"hfunc": "exp"}, None),
    ({"hfunc": "pow", "lambda_kl": 0.001, "hfunc_param": 2.0}, None),
])
def test_the_paper_s_column_stands_beside_runs_of_its_settings_only(change, column):
    found, departures = run_table.nearest_published("train_lagrangian", replace(VIB, **change))
    assert (None if departures else found) == (published.MNIST[column] if column else None)


@pytest.mark.parametrize("change, words", [
    ({"epochs": 2, "emb_dim": 8}, "--emb_dim=8 in place of 16, --epochs=2 in place of 100"),
    ({"lambda_kl": 0.1}, "--lambda_kl=0.1 in place of 0.01"), ({"hfunc": "pow", "lambda_kl": 0.01}, "place of none"),
    ({"model": "nib", "hfunc": "pow", "lambda_kl": 0.002}, "--lambda_kl=0.002 in place of 0.001"),
    ({"dataset": "digits", "epochs": 2}, None), ({"model": "plain"}, None), ({}, None),
])
def test_what_keeps_the_paper_s_figures_away_is_said(change, words):
    measured = {"epoch": 3, "step": 7, "test": {"accuracy": 0.25}}
    said = run_table.beside_the_paper(measured, "train_lagrangian", replace(VIB, **change))
    assert said.endswith(words) if words else "paper's figures" not in said
    assert ("97.59" in said) == (not change)


def test_nothing_is_shown_as_minus_zero():
    measured = {"epoch": 3, "step": 7, "test": {"accuracy": -1e-9, "mi_xt": -1e-5}}
    assert "-0.0" not in run_table.results_table(measured, None)


def test_an_outside_set_must_be_another_one_with_images_of_the_same_size(tmp_path):
    digits = dataloader.load("digits", tmp_path)
    assert quantitative.load_outside(("gauss", "uniform"), digits, tmp_path, "cpu") == {"gauss": None, "uniform": None}

    def stand_in(name):
        split = dataloader.Split(torch.rand(500, 1, 8, 8), torch.zeros(500, dtype=torch.long))
        return dataloader.ImageDataset(name, 10, split, split, "made up", {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataloader, "load", lambda name, root: stand_in(name))
        images = quantitative.load_outside(("mnist",), digits, tmp_path, "cpu")["mnist"]
        assert images.shape == (450, 64) and images.min() < -0.9  # as many as the test set has, in [-1, 1]
    for names, dataset in ((("mnist",), "mnist"), (("gauss", "mnist"), "digits"), (("fashion_mnist",), "digits")):
        with pytest.raises(UserError, match="another data set.*same size"):
            quantitative.check_outside(names, dataset)
    quantitative.check_outside(("fashion_mnist", "uniform"), "mnist")


@pytest.mark.parametrize("name", ["digits", "shapes", "sprites"])  # the others may not be to be had
def test_what_is_known_of_a_data_set_by_its_name_is_so(name):
    choices = {"data_source": "rendered", "holdout": 0} if name in dataloader.FACTORED else {}
    data = dataloader.load(name, ".", **choices)
    known = (dataloader.DATASETS | dataloader.FACTORED)[name]
    assert (len(data.train.labels), *data.train.images.shape[2:]) == (known.n_train, known.side, known.side)


def test_the_table_shows_what_was_measured_beside_the_paper_s_figures_and_nothing_else():
    measured = {"epoch": 3, "step": 7, "train": {"accuracy": 0.5, "mi_xt": 2.0}, "test": {"accuracy": 0.25}}
    lines = run_table.results_table(measured, published.MNIST["vib"]).split("\n")
    assert [line.split() for line in lines if "-" not in line] == [
        ["epoch", "3,", "step", "7", "train", "paper", "test", "paper"],
        ["accuracy,", "%", "50.00", "99.79", "25.00", "97.59"],
        ["I(X;T),", "nats", "2.000", "3.900", "4.070"],
    ]
    detection = {"epoch": 3, "step": 7, "test": {}, "ood": {"gauss": {"auroc": 0.9}, "uniform": {"auroc": 0.8}}}
    lines = run_table.results_table(detection, published.MNIST["vib"]).split("\n")
    assert [line.split() for line in lines if "--" not in line] == [
        ["detection", "of", "gauss", "paper", "uniform"], ["AUROC,", "%", "90.00", "95.70", "80.00"],
    ]
