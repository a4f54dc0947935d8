"""Numbers that are none: in losses, gradients, weights, images and labels."""

import math

import pytest
import torch
from conftest import execute, run_of, train, train_disenib

from custom_pkg import checkpoints
from dataloader import DatasetError, ImageDataset, Split


def poisoned_step(monkeypatch, at: int, value: float) -> None:
    """The `at`-th gradient that an Adam of this process sees holds `value`."""
    calls, original = iter(range(1, at + 1)), torch.optim.Adam.step

    def step(self, *arguments):
        if next(calls, None) == at:
            self.param_groups[0]["params"][0].grad.view(-1)[0] = value
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", step)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("run, desc, at", [
    (train, "a/b", 1), (train, "a/b", 20), (train, "a/b", 26),  # the last one of an epoch: no loss has seen it
    (train_disenib, "d", 1), (train_disenib, "d", 17), (train_disenib, "d", 36),  # the last one before a checkpoint
])
def test_a_gradient_that_is_no_number_stops_the_run_by_name_and_step_with_every_checkpoint_good(
    tmp_path, monkeypatch, run, desc, at, value
):
    poisoned_step(monkeypatch, at, value)
    outcome = run(tmp_path)
    words = outcome.err.splitlines()[-1]
    assert outcome.status == 1 and "Traceback" not in outcome.err, outcome
    assert ("became" in words or "is not finite at step" in words) and "--learning_rate" in words, words
    assert "last.pt is as it was before" in words
    kept = list((run_of(tmp_path, desc).path / "checkpoints").iterdir())
    assert kept and all(checkpoints.load_run(path) for path in kept)  # which refuses what is not finite


@pytest.mark.parametrize("at", [13, 26])
def test_a_weight_that_became_no_number_is_named_with_the_step(tmp_path, monkeypatch, at):
    poisoned_step(monkeypatch, at, math.nan)
    outcome = train(tmp_path)
    assert f"state.encoder.layers.0.weight is not finite at step {at}: nothing was saved" in outcome.err
    assert checkpoints.load_run(run_of(tmp_path).last)["position"]["step"] == at - 13


def data(image=0.5, label=3, n_labels=4):
    images = torch.full((4, 1, 2, 2), 0.5)
    labels = torch.arange(4)[:n_labels]
    images[1, 0, 1, 1] = image
    labels[2] = label
    good = Split(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.long))
    return [("training", (Split(images, labels), good)), ("test", (good, Split(images, labels)))]


@pytest.mark.parametrize("wrong, words", [
    ({"image": math.nan}, "image has the value nan"), ({"image": math.inf}, "image has the value inf"),
    ({"image": -math.inf}, "image has the value -inf"), ({"image": -0.25}, "image has the value -0.25"),
    ({"image": 1.5}, "image has the value 1.5"), ({"label": -1}, "label has the value -1"),
    ({"label": 5}, "label has the value 5, outside 0 to 4"), ({"n_labels": 3}, "have 3 labels"),
])
def test_images_and_labels_out_of_range_are_refused_when_they_are_loaded(wrong, words):
    for which, splits in data(**wrong):
        with pytest.raises(DatasetError, match=f"toy: .*{which} .*{words}"):
            ImageDataset("toy", 5, *splits, "made up", {})


def test_good_images_and_an_empty_test_set_are_accepted():
    for _, splits in data():
        ImageDataset("toy", 5, *splits, "made up", {})
    empty = Split(torch.zeros(0, 1, 2, 2), torch.zeros(0, dtype=torch.long))
    ImageDataset("toy", 5, splits[0], empty, "made up", {})


@pytest.mark.parametrize("metric", ["accuracy", "information", "attack", "detection", "robustness"])
def test_no_metric_is_made_of_outputs_that_are_no_numbers(copy, metric):
    saved = torch.load(run_of(copy).last, weights_only=True)
    saved["state"]["encoder"]["layers.2.weight"].fill_(3e38)  # finite itself
    torch.save(saved, run_of(copy).last)
    flags = ["--n_images=5"] if metric == "robustness" else []
    outcome = execute(copy, "evaluate.py", "--desc=a/b", f"--metrics={metric}", *flags)
    assert outcome.status == 2 and "not finite); nothing was written" in outcome.err.splitlines()[-1], outcome
    assert not (run_of(copy).path / "evaluation-last.json").exists()
