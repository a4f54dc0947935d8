"""The expected calibration error, where it is known."""

import math

import pytest
import torch

from modellib.evaluations.calibration import BINS, calibration, expected_calibration_error


def predictions(confidence: float, n: int, n_right: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n images whose class 0 has that probability, and of which so many are of class 0."""
    probabilities = torch.tensor([confidence, 1 - confidence], dtype=torch.float64).expand(n, 2)
    return probabilities, (torch.arange(n) >= n_right).long()


def test_a_model_that_is_right_as_often_as_it_is_sure_has_no_error():
    parts = [predictions(confidence, 100, round(100 * confidence)) for confidence in (0.55, 0.7, 0.83, 0.95, 1.0)]
    probabilities, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    error, reliability = expected_calibration_error(probabilities, labels)
    assert error == pytest.approx(0, abs=1e-12)
    assert sum(each["images"] for each in reliability.values()) == 500
    assert all(each["accuracy"] == pytest.approx(each["confidence"]) for each in reliability.values())


def test_the_error_is_the_mean_gap_weighted_by_the_images_of_a_bin():
    parts = [predictions(0.9, 300, 150), predictions(0.6, 100, 80)]  # 0.4 too sure, and 0.2 too unsure
    probabilities, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    error, reliability = expected_calibration_error(probabilities, labels)
    assert error == pytest.approx((300 * 0.4 + 100 * 0.2) / 400)
    assert list(reliability) == ["0.600", "0.933"] and reliability["0.933"]["images"] == 300
    assert BINS == 15
    always_wrong = expected_calibration_error(torch.tensor([[1.0, 0.0]] * 5).double(), torch.ones(5).long())
    assert always_wrong == (1.0, {"1.000": {"images": 5.0, "confidence": 1.0, "accuracy": 0.0}})


def test_the_code_that_is_drawn_is_the_one_that_is_judged_and_batches_do_not_matter():
    images, labels = torch.tensor([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]), torch.tensor([0, 1, 1])
    found = [
        calibration(lambda x: (x, torch.tensor(1.0)), torch.nn.Identity(), images, labels,
                    draw=lambda mean, std, scale=scale: scale * mean, batch_size=batch_size)[0]
        for scale, batch_size in ((1.0, 1), (1.0, 3), (0.0, 2))
    ]
    sure = 1 / (1 + math.exp(-4))
    assert found[0] == found[1] == pytest.approx(sure - 2 / 3, abs=1e-6)
    assert found[2] == pytest.approx(abs(0.5 - 1 / 3))  # all classes alike, and the first is taken
